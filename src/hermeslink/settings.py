"""What Link can be told: config.json in its home, by the names that `hermeslink config` takes.

Three of them have a variable, which beats the file: HERMESLINK_LISTEN_HOST, HERMESLINK_LANG, HERMESLINK_LOG_LEVEL.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import urllib.parse
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from hermes.core.errors import ConfigError, InvalidInput
from hermes.home.files import write_private
from hermes.home.locks import file_lock
from hermeslink.home import LinkHome

DEFAULT_PORT = 18642

VARIABLES = {
    "listen-host": "HERMESLINK_LISTEN_HOST",
    "language": "HERMESLINK_LANG",
    "log-level": "HERMESLINK_LOG_LEVEL",
}

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*")


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _host(value: str) -> str:
    """A name or an address, lower case, without a port; IPv6 without brackets."""
    bare = value.strip().removeprefix("[").removesuffix("]").lower()
    try:
        return ipaddress.ip_address(bare).compressed
    except ValueError:
        if len(bare) > 253 or _HOST.fullmatch(bare) is None or re.fullmatch(r"[\d.]+", bare):
            raise ValueError(f"{value!r} is no host: write a name or an address, without a port") from None
        return bare


def _host_or_none(value: str) -> str | None:
    return _host(value) if value.strip() else None


def _proxy(value: str) -> str:
    try:
        return ipaddress.ip_network(value.strip()).compressed
    except ValueError:
        raise ValueError(f"{value!r} is no address or network: write 192.168.1.2 or 10.0.0.0/8") from None


def _origin(value: str) -> str:
    parts = urllib.parse.urlsplit(value.strip().rstrip("/"))
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query or parts.fragment:
        raise ValueError(f"{value!r} is no origin: write https://name or http://name:port")
    if parts.username is not None or parts.password is not None:
        raise ValueError("an origin has no user name in it")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _language(value: object) -> object:
    """As a locale may be written: zh, zh_CN.UTF-8, en_GB."""
    if not isinstance(value, str):
        return value
    word = value.strip().lower().partition(".")[0].replace("_", "-")
    if word in ("c", "posix", "en") or word.startswith("en-"):
        return "en"
    return "zh-CN" if word == "zh" or word.startswith("zh-") else value


def _number(value: object) -> object:
    """pydantic takes true for 1."""
    if isinstance(value, bool):
        raise ValueError("not true or false")
    return value


def _yes_or_no(value: object) -> object:
    """pydantic takes 1, 0, y and more for them."""
    known = {"true": True, "false": False}
    word = value.strip().lower() if isinstance(value, str) else value
    if isinstance(word, str) and word in known:
        return known[word]
    if not isinstance(value, bool):
        raise ValueError("use true or false")
    return value


def _level(value: object) -> object:
    return {"warning": "warn"}.get(value.strip().lower(), value.strip().lower()) if isinstance(value, str) else value


Host = Annotated[str, AfterValidator(_host)]
Hosts = Annotated[list[Host], BeforeValidator(_split)]
Language = Literal["auto", "en", "zh-CN"]
Number = Annotated[int, BeforeValidator(_number)]
LogLevel = Literal["debug", "info", "warn", "error"]


class LinkSettings(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=lambda name: name.replace("_", "-"),
        populate_by_name=True,
        serialize_by_alias=True,
    )

    port: Number = Field(DEFAULT_PORT, ge=0, le=65_535, description="Where it listens; 0 takes any that is free.")
    listen_host: Host = Field("0.0.0.0", description="0.0.0.0: every network. 127.0.0.1: this machine alone.")  # noqa: S104 as published: a phone on the network can pair
    lan_host: Annotated[str, AfterValidator(_host_or_none)] | None = Field(
        None, description="The address that devices are told. Unset: found by itself; in a container it has to be set."
    )
    language: Annotated[Language, BeforeValidator(_language)] = Field(
        "auto", description="auto: as the terminal or the browser wants it."
    )
    log_level: Annotated[LogLevel, BeforeValidator(_level)] = Field("info", description="What the log keeps.")
    allowed_hosts: Hosts = Field([], description="More names by which it may be called, such as of a reverse proxy.")
    trusted_proxies: Annotated[list[Annotated[str, AfterValidator(_proxy)]], BeforeValidator(_split)] = Field(
        [], description="Addresses or networks of proxies whose X-Forwarded-* headers are believed."
    )
    cors_origins: Annotated[list[Annotated[str, AfterValidator(_origin)]], BeforeValidator(_split)] = Field(
        [], description="Web pages of other origins that may call it."
    )
    access_token_minutes: Number = Field(15, ge=1, le=1440, description="How long an access token is good for.")
    update_check: Annotated[bool, BeforeValidator(_yes_or_no)] = Field(
        True, description="false: the package index is asked when somebody asks for it, and at no other time."
    )


NAMES = tuple(name.replace("_", "-") for name in LinkSettings.model_fields)


def load_settings(home: LinkHome, environ: Mapping[str, str] | None = None) -> LinkSettings:
    """Raises ConfigError for a file that is no JSON object, an unknown name or a wrong value, with all of them."""
    environ = os.environ if environ is None else environ
    kept = _kept(home)
    places = dict.fromkeys(kept, str(home.config_file))
    for name, variable in VARIABLES.items():
        if environ.get(variable, "").strip():
            kept[name], places[name] = environ[variable], variable
    try:
        return LinkSettings.model_validate(kept)
    except ValidationError as error:
        raise ConfigError("; ".join(_told(one, places) for one in error.errors())) from None


def set_setting(home: LinkHome, name: str, text: str) -> LinkSettings:
    """Writes one value; an empty text empties a list. Raises InvalidInput for an unknown name or a wrong value."""
    name = known_name(name)
    try:
        checked = LinkSettings.model_validate({name: text})
    except ValidationError as error:
        raise InvalidInput("; ".join(_told(one, {}) for one in error.errors()), param=name) from None
    value = checked.model_dump()[name]
    home.make()
    with file_lock(home.run_dir / "config.lock"):
        kept = _kept(home)
        kept[name] = value
        write_private(home.config_file, json.dumps(kept, indent=2, ensure_ascii=False) + "\n")
    return checked


def known_name(name: str) -> str:
    """The name as it is kept: lan_host and lanHost are lan-host. Raises InvalidInput for an unknown one."""
    kebab = _kebab(name)
    if kebab not in NAMES:
        raise InvalidInput(f"there is no setting {name!r}; there are: {', '.join(NAMES)}", param=name)
    return kebab


def _kept(home: LinkHome) -> dict[str, Any]:
    try:
        text = home.config_file.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{home.config_file} cannot be read: {error}") from error
    try:
        kept = json.loads(text)
    except ValueError as error:
        raise ConfigError(
            f"{home.config_file} is no JSON: {error}. Mend it, or remove it: what is not set has its default"
        ) from None
    if not isinstance(kept, dict):
        raise ConfigError(f'{home.config_file} has to hold an object, such as {{"port": {DEFAULT_PORT}}}')
    return {_kebab(name): value for name, value in kept.items()}


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).replace("_", "-").lower()


def _told(error: Any, places: Mapping[str, str]) -> str:
    name = str(error["loc"][0]) if error["loc"] else ""
    where = f"{places[name]}: " if name in places else ""
    if error["type"] == "extra_forbidden":
        return f"{where}there is no setting {name!r}; there are: {', '.join(NAMES)}"
    return f"{where}{name} cannot be {_shown(error['input'])}: {_wanted(name, error['msg'])}"


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _wanted(name: str, message: str) -> str:
    """For a person: pydantic's own words where they say it, else the values that there are."""
    field = LinkSettings.model_fields[name.replace("-", "_")]
    if get_origin(field.annotation) is Literal:
        return f"use {', '.join(get_args(field.annotation))}"
    if field.annotation is int:
        low, high = (next(getattr(one, key) for one in field.metadata if hasattr(one, key)) for key in ("ge", "le"))
        return f"a whole number from {low} to {high}"
    return message.removeprefix("Value error, ")
