"""The names of all settings, walked from the classes: what each expects, where else it is set, what is near to it."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hermes.core.redact import is_secret_name as looks_secret
from hermes.home.settings import Settings

ALIASED_SECTION = "api_server"
ALIASES = ("api_server", "gateway.api_server", "platforms.api_server")
"""Where the section may stand in config.yaml; the first beats the others."""

# What other parts read from `Settings.environ` by these names. Others can be set too: model.key_env may name any.
PROVIDER_NAMES = (
    "OPENAI_API_KEY",
    "OPENROUTER_API_KEY",
    "ANTHROPIC_API_KEY",
    "GOOGLE_API_KEY",
    "GEMINI_API_KEY",
    "MISTRAL_API_KEY",
    "GROQ_API_KEY",
    "DEEPSEEK_API_KEY",
    "XAI_API_KEY",
    "TOGETHER_API_KEY",
    "FIREWORKS_API_KEY",
    "NOUS_API_KEY",
    "MOONSHOT_API_KEY",
    "MOONSHOTAI_API_KEY",
    "ZAI_API_KEY",
    "GLM_API_KEY",
    "CEREBRAS_API_KEY",
    "CO_API_KEY",
    "COHERE_API_KEY",
    "HF_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_REGION",
    "OPENAI_BASE_URL",
    "OLLAMA_HOST",
)
WITHOUT_EFFECT = {"GATEWAY_ALLOW_ALL_USERS": "is accepted and has no effect: who may call is decided by API keys"}
PLACES = {"HERMES_HOME": "where the home is, ~/.hermes unless set", "HERMES_DEBUG": "1 shows tracebacks"}
_MORE_ENV = {
    "HASS_TOKEN": "homeassistant.token",
    "HASS_URL": "homeassistant.url",
    "HERMES_DATABASE_URL": "database.url",
    "HERMES_LOG_LEVEL": "logging.level",
}
_OWN_PREFIXES = ("API_SERVER_", "HERMES_")


@dataclass(frozen=True, slots=True)
class Setting:
    """One leaf. In its dotted `name`, `*` stands for a name of the user's and `[]` for each item.

    `env` is its UPPER_CASE name, if any.
    """

    name: str
    annotation: Any
    default: Any
    description: str
    expected: str
    env: str | None
    is_secret: bool
    takes_commas: bool

    @property
    def is_open(self) -> bool:
        """A mapping with any names and values below it."""
        kind = bare(self.annotation)
        return get_origin(kind) is dict and get_args(kind)[1] is Any


@cache
def sections() -> tuple[str, ...]:
    """The names at the top that have names below them."""
    return tuple(key for key, info in Settings.model_fields.items() if _is_section(bare(info.annotation)))


@cache
def known_settings() -> dict[str, Setting]:
    """All leaves by name, in the order of the classes."""
    return {setting.name: setting for setting in _walk(Settings, "")}


@cache
def env_names() -> dict[str, str]:
    """UPPER_CASE name → dotted name."""
    return {setting.env: setting.name for setting in known_settings().values() if setting.env}


def find_setting(name: str) -> Setting | None:
    """The leaf that a canonical dotted name means; inside open mappings any name has one."""
    settings = known_settings()
    if name in settings:
        return settings[name]
    parts = name.split(".")
    for setting in settings.values():
        pattern = setting.name.split(".")
        if _matches(pattern, parts):
            return setting
        if setting.is_open and _matches(pattern, parts[: len(pattern)]):
            return Setting(name, Any, None, setting.description, "any value", None, False, False)
    return None


def below(name: str) -> tuple[str, ...]:
    """The leaves of a section, or of an entry of the user such as `mcp_servers.mine`; of anything else none."""
    parts = name.split(".")
    patterns = (known.split(".") for known in known_settings())
    return tuple(
        ".".join([*parts, *pattern[len(parts) :]])
        for pattern in patterns
        if len(pattern) > len(parts) and _matches(pattern[: len(parts)], parts)
    )


def canonical(name: str) -> str:
    """`gateway.api_server.port` → `api_server.port`."""
    for alias in ALIASES[1:]:
        if name == alias or name.startswith(alias + "."):
            return ALIASED_SECTION + name[len(alias) :]
    return name


def nearest(name: str, candidates: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    from difflib import get_close_matches

    found = get_close_matches(name, list(candidates), n=1, cutoff=cutoff)
    return found[0] if found else None


def nearest_setting(name: str) -> str | None:
    """A sibling of nearly this name, the same name elsewhere, or the nearest of all names, sections included."""
    names = [known for known in known_settings() if "*" not in known and "[]" not in known]
    section, _, last = name.rpartition(".")
    ends = {known: known.rpartition(".")[2] for known in names}
    sibling = nearest(last, [end for known, end in ends.items() if section and known == f"{section}.{end}"])
    if sibling is not None:
        return f"{section}.{sibling}"
    same = next((known for known, end in ends.items() if section and end == last), None)
    if same is not None:
        return same
    found = nearest(name, [*names, *sections()])
    if found is not None:
        return found
    near = nearest(last, ends.values())
    return next((known for known, end in ends.items() if end == near), None)


def unknown_env_name(name: str) -> str | None:
    """Why an UPPER_CASE name cannot be right; None when it may be. Only names that look like ours are judged."""
    if not name.startswith(_OWN_PREFIXES) or name in env_names() or name in PLACES:
        return None
    near = nearest(name, [*env_names(), *PLACES])
    return f"{name} is no setting" + (f"; did you mean {near}?" if near else "")


def is_secret_name(name: str) -> bool:
    """Whether an UPPER_CASE name holds a secret: by its setting, else by how it is called."""
    setting = env_names().get(name)
    if setting is not None:
        return known_settings()[setting].is_secret
    return looks_secret(name)


def expected(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """`a whole number from 0 to 65535`, `one of manual, smart, off`, `a list of texts`, …"""
    kind = bare(annotation)
    origin = get_origin(kind)
    if origin is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(kind))
    if kind is bool:
        return "true or false"
    if kind is int or kind is float:
        return ("a whole number" if kind is int else "a number") + _bounds(metadata)
    if origin is list:
        inner = get_args(kind)[0]
        return "a list of texts" if bare(inner) is str else "a list"
    if origin is dict or _is_section(kind):
        return "a mapping"
    return "text" if kind is str else "any value"


def bare(annotation: Any) -> Any:
    """Without Annotated and `| None`."""
    if get_origin(annotation) is Annotated:
        return bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [part for part in get_args(annotation) if part is not types.NoneType]
        if len(parts) == 1:
            return bare(parts[0])
    return annotation


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _walk(section: type[BaseModel], prefix: str) -> Iterator[Setting]:
    for key, info in section.model_fields.items():
        name = prefix + key
        kind = bare(info.annotation)
        if _is_section(kind):
            yield from _walk(kind, name + ".")
            continue
        yield _leaf(name, info)
        if get_origin(kind) in (dict, list):
            value = bare(get_args(kind)[-1])
            if _is_section(value):
                yield from _walk(value, name + ("[]." if get_origin(kind) is list else ".*."))
            elif get_origin(kind) is dict and value is not Any:
                yield Setting(name + ".*", value, None, info.description or "", expected(value), None, False, True)


def _leaf(name: str, info: FieldInfo) -> Setting:
    extra = _extra(info)
    env = None
    if name.startswith(ALIASED_SECTION + "."):
        env = name.upper().replace(".", "_")
    else:
        env = next((upper for upper, dotted in _MORE_ENV.items() if dotted == name), None)
    default = info.get_default(call_default_factory=True)
    metadata = [*info.metadata, *_inner_metadata(info.annotation)]
    return Setting(
        name,
        info.annotation,
        default,
        info.description or "",
        expected(info.annotation, metadata),
        env,
        bool(extra.get("secret")),
        bool(extra.get("commas")),
    )


def _extra(info: FieldInfo) -> dict[str, Any]:
    """`json_schema_extra` of the field and of the annotated types in it."""
    found: dict[str, Any] = {}
    for piece in [info, *_inner_metadata(info.annotation)]:
        extra = piece.json_schema_extra if isinstance(piece, FieldInfo) else None
        if isinstance(extra, dict):
            found |= extra
    return found


def _inner_metadata(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        return [*metadata, *_inner_metadata(inner)]
    if get_origin(annotation) in (Union, types.UnionType):
        return [piece for part in get_args(annotation) for piece in _inner_metadata(part)]
    return []


def _bounds(metadata: Iterable[Any]) -> str:
    low = high = None
    for piece in metadata:
        match piece:
            case Ge(ge=bound):
                low = f"from {bound}"
            case Gt(gt=bound):
                low = f"above {bound}"
            case Le(le=bound):
                high = f"to {bound}"
            case MinLen():
                pass
    return "".join(f" {part}" for part in (low, high) if part)


def _matches(pattern: list[str], parts: list[str]) -> bool:
    return len(pattern) == len(parts) and all(want in ("*", have) for want, have in zip(pattern, parts, strict=True))
