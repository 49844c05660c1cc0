"""Settings changed by their names, checked before they are written."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, get_origin

from hermes.core.errors import InvalidInput
from hermes.home.config_file import ConfigDraft
from hermes.home.env import EnvDraft, read_env, set_env, unset_env
from hermes.home.locks import edit_lock
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
    known_settings,
    nearest,
    nearest_setting,
    unknown_env_name,
)
from hermes.home.paths import Home
from hermes.home.reading import Reading
from hermes.home.settings import Settings, load_settings

UPPER_CASE = re.compile(r"[A-Z][A-Z0-9_]*")


Changes = Mapping[str, Any]
"""Dotted names → values of their types, UPPER_CASE names → text for .env. None: unset."""


def change_settings(home: Home, changes: Changes | Callable[[Settings], Changes]) -> list[str]:
    """All of them or none, each file written once. A function gets the settings of the files, and nobody writes until
    its answer is written. Gives the names of what is another value now.

    A dotted name that has an UPPER_CASE name goes to .env where that is set there, which beats config.yaml, and where
    it is a secret. A mapping is changed entry by entry, so that the comments of the others stay.

    Raises `InvalidInput` for an unknown name and for a value that `load_settings` would not take: `param` is the name.
    """
    with edit_lock(home.config_file):
        given = changes(load_settings(home, {}, is_lenient=True)) if callable(changes) else changes
        taken = {name: None if value is None else _taken(name, value) for name, value in given.items()}
        config, env = ConfigDraft(home.config_file), EnvDraft(home.env_file)
        changed = [name for name, value in taken.items() if _change(config, env, name, value)]
        write_both(env, config)
    return changed


def write_both(env: EnvDraft, config: ConfigDraft) -> None:
    """.env first: a name in config.yaml leads to a key. Where config.yaml cannot be written, .env is as it was."""
    env.write()
    try:
        config.write()
    except BaseException:
        env.take_back()
        raise


def set_setting(home: Home, name: str, text: str) -> str:
    """Writes `text` as a value of the setting's type; returns the file's name. Raises what `check_setting` does."""
    value = check_setting(home, name, text)
    if UPPER_CASE.fullmatch(name):
        set_env(home.env_file, name, text)
        return str(home.env_file)
    with edit_lock(home.config_file):
        config = ConfigDraft(home.config_file)
        config.set(_place(config, canonical(name)), value)
        config.write()
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
    with edit_lock(home.config_file):
        config = ConfigDraft(home.config_file)
        found = _remove(config, name)
        config.write()
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
    upper = name if is_env else _upper(name)
    if upper is None:
        return None
    if environ.get(upper, "").strip():
        return f"{upper} in the environment"
    if not is_env and upper in read_env(home.env_file):
        return f"{upper} in {home.env_file}"
    return None


def _taken(name: str, value: Any) -> Any:
    """As it is written. Raises `InvalidInput`, whose `param` is the name."""
    try:
        if not UPPER_CASE.fullmatch(name):
            if not (isinstance(value, dict) and below(canonical(name))):
                _check_kind(_setting(name), value, name)
            return _checked(canonical(name), value, shown=name)
        _check_env_name(name)
        if name in env_names():
            _checked(env_names()[name], value, shown=name)
        return value
    except InvalidInput as error:
        raise InvalidInput(error.message, param=name) from error


def _check_kind(setting: Setting, value: Any, name: str) -> None:
    """What is text in a file may be a number; what comes as a value is what it is."""
    kind = bare(setting.annotation)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    wrong = (
        (isinstance(value, bool) and kind is not bool)
        or (kind is bool and not isinstance(value, bool))
        or (kind in (int, float) and not (is_number and math.isfinite(value)))
    )
    if wrong and kind is not Any:
        raise InvalidInput(f"{name}: expected {setting.expected}, not {value!r}"[:200])


def _change(config: ConfigDraft, env: EnvDraft, name: str, value: Any) -> bool:
    """Whether it was another value before. `value` as `_taken` gives it, None to unset it."""
    if UPPER_CASE.fullmatch(name):
        return _change_env(env, name, value)
    upper = _upper(name)
    is_secret = upper is not None and known_settings()[canonical(name)].is_secret
    is_env = upper is not None and (is_secret or env.get(upper) is not None)
    changed = _change_env(env, upper, value) if upper is not None and is_env else False
    if value is None or is_secret:
        return _remove(config, name) or changed
    return changed if is_env else _put(config, _place(config, canonical(name)), value)


def _change_env(env: EnvDraft, name: str, value: Any) -> bool:
    if value is None:
        return env.unset(name)
    text = ",".join(value) if isinstance(value, list) else value if isinstance(value, str) else json.dumps(value)
    if env.get(name) == text:
        return False
    env.set(name, text)
    return True


def _put(config: ConfigDraft, keys: list[str], value: Any) -> bool:
    now = config.get(keys)
    if isinstance(now, dict) and isinstance(value, dict) and now and all(isinstance(key, str) for key in now):
        changed = [_put(config, [*keys, key], inner) for key, inner in value.items() if inner is not None]
        return any([*changed, *(config.unset([*keys, key]) for key in now if value.get(key) is None)])
    if json.dumps(now, default=str) == json.dumps(value, default=str):  # 1 is not true
        return False
    config.set(keys, value)
    return True


def _remove(config: ConfigDraft, name: str) -> bool:
    """Raises `InvalidInput` for what is neither there nor a name of anything."""
    name = canonical(name)
    section, _, rest = name.partition(".")
    places = [f"{alias}.{rest}" if rest else alias for alias in ALIASES] if section == ALIASED_SECTION else [name]
    removed = [config.unset(_called(config, place.split("."), widens=False)) for place in places]
    if not any(removed) and find_setting(name) is None and not below(name):
        raise _unknown(name)
    return any(removed)


def _upper(name: str) -> str | None:
    return next((upper for upper, dotted in env_names().items() if dotted == canonical(name)), None)


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
        if origin is list and text.startswith("[") and text.endswith("]"):  # else its brackets would be part of a name
            raise InvalidInput(
                f'{text} is no list: write its texts in double quotes, \'["a", "b"]\', or a,b', param="value"
            ) from None
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


def _place(config: ConfigDraft, dotted: str) -> list[str]:
    """Where the file says it already, or where it has the section; else under its own name."""
    section, _, key = dotted.partition(".")
    if section != ALIASED_SECTION:
        return _called(config, dotted.split("."))
    found = [(alias, config.get(alias.split("."))) for alias in ALIASES]
    sections = [(alias, inner) for alias, inner in found if isinstance(inner, dict)]
    alias = next((alias for alias, inner in sections if key in inner), sections[0][0] if sections else ALIASED_SECTION)
    return [*alias.split("."), key]


def _called(config: ConfigDraft, keys: list[str], *, widens: bool = True) -> list[str]:
    """As the file calls it: a model may be a name alone, which `widens` to a section where something is put beside it,
    and its `default` may be called `model`."""
    holder = keys[:-1]
    if holder != ["model"] and (len(holder) != 2 or holder[0] != "model_routes"):
        return keys
    said = config.get(holder)
    if isinstance(said, str):
        if widens:
            config.set(holder, {"default": said})
        elif keys[-1] == "default":
            return holder
    elif keys[-1] == "default" and isinstance(said, dict) and "model" in said and "default" not in said:
        return [*holder, "model"]
    return keys
