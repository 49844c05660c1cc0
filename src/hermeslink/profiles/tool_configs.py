"""The services that a profile's tools ask: their settings in config.yaml, their keys in .env and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermes.core.errors import Conflict, InvalidInput, NotFound
from hermes.core.redact import Redactor
from hermes.home.edit import change_settings
from hermes.home.names import PROVIDER_NAMES
from hermes.home.paths import Home
from hermes.home.profiles import OWN_PREFIXES
from hermes.home.sections import (
    EndpointSettings,
    HomeAssistantSettings,
    ImageGenSettings,
    Section,
    SttSettings,
    TtsSettings,
    WebSettings,
)
from hermes.home.services import EXAMPLES, HOME, OPENAI, OPENAI_KEY, lacking
from hermes.home.settings import Settings
from hermeslink.core.caller import Caller
from hermeslink.profiles.files import ProfileFiles, readable_settings, without_paths
from hermeslink.profiles.model_edits import MADE_NAME

AVAILABLE: dict[str, type[Section]] = {
    "web": WebSettings,
    "image_gen": ImageGenSettings,
    "stt": SttSettings,
    "tts": TtsSettings,
    HOME: HomeAssistantSettings,
}
UNAVAILABLE = ("messaging", "rl")
"""Known by name: clients have pages for them, and the agent has no such tool."""
INVALID = "profile_tool_config_invalid"
MOST_KEY_CHARACTERS = 4096
HOME_VARIABLES = {"HASS_URL": "url", "HASS_TOKEN": "token"}

_KEY_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,127}")
_WITH_PASSWORD = re.compile(r"https?://[^/?#]*@")


@dataclass(frozen=True, slots=True)
class ToolConfig:
    """`values`: settings by their names in config.yaml, none of them a secret. `keys`: name in .env → whether it is
    set. `missing`: what the toolset waits for, empty when nothing; not `is_available`: the agent has no such tool."""

    profile: str
    config_file: Path
    tool: str
    is_available: bool
    values: Mapping[str, Any]
    keys: Mapping[str, bool]
    missing: str


class ToolConfigs:
    """Errors are those of `ProfileFiles`, NotFound `tool_config_unknown`, and those that are named."""

    def __init__(self, files: ProfileFiles, environ: Mapping[str, str]) -> None:
        self._files = files
        self._environ = environ

    async def show(self, profile: str, tool: str) -> ToolConfig:
        return await self._files.read(profile, lambda home: of(home, tool, self._environ))

    async def change(
        self, caller: Caller, profile: str, tool: str, values: Mapping[str, Any], keys: Mapping[str, str | None]
    ) -> ToolConfig:
        """`values` by their names in config.yaml, `keys` by those in .env; None takes one away.

        Raises Conflict `tool_not_available`, InvalidInput `profile_tool_config_update_empty` and
        `profile_tool_config_invalid`, which names the field.
        """
        shown = await self.show(profile, tool)
        if not shown.is_available:
            raise Conflict(f"the agent has no tools for {tool}: there is nothing to set", code="tool_not_available")
        if not values and not keys:
            raise InvalidInput("say in values or env what to change", code="profile_tool_config_update_empty")

        def work(home: Home) -> list[str]:
            return _changed(home, tool, values, keys)

        changed = await self._files.write(profile, work)
        if changed:
            await self._files.note(caller, profile, "tool_config.changed", {"tool": tool, "changed": changed})
        return await self.show(profile, tool)


def of(home: Home, tool: str, environ: Mapping[str, str]) -> ToolConfig:
    """As the files say; `environ` speaks for the default profile. Raises NotFound, ConfigUnreadable."""
    if tool not in AVAILABLE:
        if tool not in UNAVAILABLE:
            there = ", ".join((*AVAILABLE, *UNAVAILABLE))
            raise NotFound(f"no tool {tool[:64]!r} with settings; there are {there}", code="tool_config_unknown")
        return ToolConfig(home.name, home.config_file, tool, False, {}, {}, "")
    settings = readable_settings(home, environ)
    section = getattr(settings, tool)
    hide = Redactor()  # an address may have a password in it, that somebody wrote by hand
    return ToolConfig(
        profile=home.name,
        config_file=home.config_file,
        tool=tool,
        is_available=True,
        values={name: hide.value(getattr(section, name)) for name in _names(tool)},
        keys=_keys(tool, settings),
        missing=lacking(tool, settings, settings.environ, home.command),
    )


def _names(tool: str) -> list[str]:
    """Of the settings that are no secrets."""
    return [name for name in AVAILABLE[tool].model_fields if name not in ("api_key", "token")]


def _keys(tool: str, settings: Settings) -> dict[str, bool]:
    if tool == HOME:
        home = settings.homeassistant
        return {name: bool(getattr(home, field)) for name, field in HOME_VARIABLES.items()}
    if tool not in EXAMPLES:
        return {}
    section: EndpointSettings = getattr(settings, tool)
    names = dict.fromkeys([*([section.key_env] if section.key_env else []), own_key(tool), OPENAI_KEY])
    is_set = {name: bool(settings.environ.get(name, "").strip()) for name in names}
    return is_set | {own_key(tool): is_set[own_key(tool)] or bool(section.api_key)}


def own_key(tool: str) -> str:
    """The name in .env of a key that is this tool's alone."""
    return f"{tool.upper()}_API_KEY"


def _changed(home: Home, tool: str, values: Mapping[str, Any], keys: Mapping[str, str | None]) -> list[str]:
    """The names in config.yaml and .env that say something else now."""
    known = AVAILABLE[tool].model_fields
    for name, value in values.items():
        if name not in known:
            raise _wrong(f"values.{name}", f"there is no such setting; there are {', '.join(_names(tool))}")
        if isinstance(value, str) and not value.isprintable():
            raise _wrong(f"values.{name}", "text on one line")
        if isinstance(value, str) and _WITH_PASSWORD.match(value):
            raise _wrong(f"values.{name}", "an address without a name or password in it")
    given = {name: _key(name, value) for name, value in keys.items()}

    def changes(now: Settings) -> Mapping[str, Any]:
        return _home_changes(values, given) if tool == HOME else _service_changes(tool, now, values, given)

    try:
        return change_settings(home, changes)
    except InvalidInput as error:
        if error.code == INVALID:
            raise
        field = (error.param or "").removeprefix(f"{tool}.")
        told = without_paths(error.message, home)
        raise InvalidInput(told, code=INVALID, param=f"values.{field}" if field in known else field) from error


def _home_changes(values: Mapping[str, Any], keys: Mapping[str, str | None]) -> dict[str, Any]:
    for name in keys:
        if name not in HOME_VARIABLES:
            raise _wrong(f"env.{name}", f"no key of this tool; there are {', '.join(HOME_VARIABLES)}")
    fields = {**values, **{HOME_VARIABLES[name]: value for name, value in keys.items()}}
    if fields.get("token"):
        fields["token"] = _key("HASS_TOKEN", fields["token"])
    return {f"{HOME}.{name}": value for name, value in fields.items()}


def _service_changes(
    tool: str, now: Settings, values: Mapping[str, Any], keys: Mapping[str, str | None]
) -> dict[str, Any]:
    """A key that comes without the name of its variable gets one of this tool's own."""
    fields, own, given = dict(values), own_key(tool), dict(keys)
    if "api_key" in fields:
        given[own] = _key("api_key", fields.pop("api_key"))
    section = getattr(now, tool)
    before = getattr(section, "key_env", None)
    named = fields.get("key_env", before)
    if fields.get("key_env") is not None:
        _check_name(named)
    allowed = [name for name in (named, before, own, OPENAI_KEY) if name] if tool in EXAMPLES else []
    for name in given:
        if name not in allowed:
            there = ", ".join(dict.fromkeys(allowed)) or "none"
            raise _wrong(f"env.{name}", f"no key of this tool; there are {there}")
    if given.get(own) and "key_env" not in fields:
        fields["key_env"] = own
    if own in given and given[own] is None and named == own:
        fields["key_env"] = None
    was = (before, getattr(section, "base_url", None))
    goes = (fields.get("key_env", was[0]), fields.get("base_url", was[1]))
    if goes != was:
        _check_owner(*goes)
    changes = {f"{tool}.{name}": value for name, value in fields.items()} | given
    return changes | ({f"{tool}.api_key": None} if given else {})  # in config.yaml it would beat the one in .env


def _check_name(name: object) -> None:
    """What opens this server itself is sent to no service."""
    if not isinstance(name, str) or _KEY_NAME.fullmatch(name) is None or name.startswith(OWN_PREFIXES):
        raise _wrong("values.key_env", "the name of a variable in .env that holds this service's key: MY_SERVICE_KEY")


def _check_owner(name: Any, base_url: object) -> None:
    """The key of a language model goes to no service; OpenAI's to OpenAI's own address alone."""
    if name == OPENAI_KEY:
        is_own = base_url is None or (isinstance(base_url, str) and base_url.rstrip("/") == OPENAI)
    else:
        is_own = name not in PROVIDER_NAMES and MADE_NAME.fullmatch(name or "") is None
    if not is_own:
        raise _wrong("values.key_env", f"a key of this service's own; {name} is for another address")


def _key(name: str, value: object) -> str | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, str) or len(value) > MOST_KEY_CHARACTERS or not value.strip().isprintable():
        raise _wrong(f"env.{name}"[:80], f"a key: text on one line, at most {MOST_KEY_CHARACTERS:,} characters")
    return value.strip()


def _wrong(field: str, expected: str) -> InvalidInput:
    return InvalidInput(f"{field[:80]}: {expected}", code=INVALID, param=field[:80])
