"""One setting changed by its name, checked before it is written."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, get_origin

from hermes.core.errors import InvalidInput
from hermes.home.config_file import read_config, set_config, unset_config
from hermes.home.env import read_env, set_env, unset_env
from hermes.home.names import (
    ALIASED_SECTION,
    ALIASES,
    PROVIDER_NAMES,
    Setting,
    bare,
    below,
    canonical,
    env_names,
    find_setting,
    nearest,
    nearest_setting,
    unknown_env_name,
)
from hermes.home.paths import Home
from hermes.home.reading import Reading

UPPER_CASE = re.compile(r"[A-Z][A-Z0-9_]*")


def set_setting(home: Home, name: str, text: str) -> str:
    """Writes `text` as a value of the setting's type; returns the file's name. Raises what `check_setting` does."""
    value = check_setting(home, name, text)
    if UPPER_CASE.fullmatch(name):
        set_env(home.env_file, name, text)
        return str(home.env_file)
    dotted = canonical(name)
    if dotted.startswith("model.") and isinstance(short := read_config(home.config_file).get("model"), str):
        set_config(home.config_file, ["model"], {"default": short})
    set_config(home.config_file, _place(home, dotted), value)
    return str(home.config_file)


def check_setting(home: Home, name: str, text: str) -> Any:
    """What `text` would become; nothing is written.

    Raises `InvalidInput` for an unknown name (naming the nearest), a wrong type (naming the right one) or no value.
    """
    if not text:
        raise InvalidInput(f"no value for {name}; to remove it: {home.command} config unset {name}", param="value")
    if UPPER_CASE.fullmatch(name):
        _check_env_name(name)
        return _checked(env_names()[name], text, shown=name) if name in env_names() else text
    setting = _setting(name)
    return _checked(canonical(name), _value(setting, text), shown=name)


def unset_setting(home: Home, name: str) -> bool:
    """False when it was not set there. A section, or a name that this version does not know, can be removed too."""
    if UPPER_CASE.fullmatch(name):
        return unset_env(home.env_file, name)
    found = False
    name = canonical(name)
    prefix, _, rest = name.partition(".")
    places = [alias + ("." + rest if rest else "") for alias in ALIASES] if prefix == ALIASED_SECTION else [name]
    for place in places:
        found = unset_config(home.config_file, place.split(".")) or found
    if not found and find_setting(name) is None and not below(name):
        raise _unknown(name)
    return found


def doubt_about(name: str) -> str | None:
    """The known name that an UPPER_CASE name may have been meant for. It is written all the same: `model.key_env` and
    tools may read any name."""
    if not UPPER_CASE.fullmatch(name) or name in env_names() or name in PROVIDER_NAMES:
        return None
    return nearest(name, PROVIDER_NAMES, cutoff=0.85)


def beaten_by(home: Home, name: str, environ: Mapping[str, str]) -> str | None:
    """The stronger place that sets the same, for whoever wonders why a change does nothing."""
    is_env = UPPER_CASE.fullmatch(name) is not None
    upper = name if is_env else next((env for env, dotted in env_names().items() if dotted == canonical(name)), None)
    if upper is None:
        return None
    if environ.get(upper, "").strip():
        return f"{upper} in the environment"
    if not is_env and upper in read_env(home.env_file):
        return f"{upper} in {home.env_file}"
    return None


def _check_env_name(name: str) -> None:
    problem = unknown_env_name(name)
    if problem is not None:
        raise InvalidInput(problem, param="name")


def _setting(name: str) -> Setting:
    dotted = canonical(name)
    setting = find_setting(dotted)
    if setting is not None and "[]" not in dotted:
        return setting
    inside = [known for known in below(dotted) if "*" not in known]
    if inside:
        raise InvalidInput(f"{name} is a section; set one of {', '.join(inside)}", param="name")
    raise _unknown(name)


def _unknown(name: str) -> InvalidInput:
    near = nearest_setting(name)
    hint = f"did you mean {near}?" if near else "all names: hermes config show --all"
    return InvalidInput(f"{name} is no setting; {hint}", param="name")


def _value(setting: Setting, text: str) -> Any:
    """The text as what its setting holds; where anything goes, as what it looks like."""
    kind = bare(setting.annotation)
    origin = get_origin(kind)
    if kind is str:
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if origin not in (list, dict) and kind is not Any and isinstance(value, list | dict):
        return text
    return value


def _checked(dotted: str, value: Any, *, shown: str) -> Any:
    """The value as the settings take it. Raises `InvalidInput` that calls it by the name the caller used."""
    raw: Any = value
    for key in reversed(dotted.split(".")):
        raw = {key: raw}
    reading = Reading()
    reading.add_config(raw)
    settings = reading.settings()
    if reading.errors or reading.problems:
        message = (reading.errors or reading.problems)[0].partition(": ")[2]
        raise InvalidInput(f"{shown}: {message.removeprefix(f'{dotted}: ')}", param="value")
    if not isinstance(value, str):
        return value
    taken: Any = settings.model_dump()
    for key in dotted.split("."):
        taken = taken.get(key) if isinstance(taken, dict) else None
    return value if taken is None or isinstance(taken, dict) else taken


def _place(home: Home, dotted: str) -> list[str]:
    """Where the file says it already, or where it has the section; else under its own name."""
    section, _, key = dotted.partition(".")
    if section != ALIASED_SECTION:
        return dotted.split(".")
    raw = read_config(home.config_file)
    found: list[tuple[str, dict[str, Any]]] = []
    for alias in ALIASES:
        inner: Any = raw
        for part in alias.split("."):
            inner = inner.get(part) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            found.append((alias, inner))
    alias = next((alias for alias, inner in found if key in inner), found[0][0] if found else ALIASED_SECTION)
    return [*alias.split("."), key]
