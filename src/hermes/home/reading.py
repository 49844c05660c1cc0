"""How the raw values of config.yaml, .env and the environment become `Settings`, and what is said about wrong ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from hermes.home.names import (
    ALIASED_SECTION,
    ALIASES,
    WITHOUT_EFFECT,
    env_names,
    find_setting,
    nearest_setting,
    sections,
    unknown_env_name,
)
from hermes.home.settings import Settings

CONFIG_NAME = "config.yaml"


class Reading:
    """Gathers; later additions beat earlier ones.

    `errors` are wrong values, `problems` what else is wrong, `notes` what does nothing and is no mistake.
    """

    def __init__(self) -> None:
        self.raw: dict[str, Any] = {}
        self.sources: dict[str, str] = {}
        self.errors: list[str] = []
        self.problems: list[str] = []
        self.notes: list[str] = []
        self._env_sources: dict[str, str] = {}

    def add_config(self, raw: Mapping[str, Any]) -> None:
        self.raw = _without_aliases(_said(raw), self.problems)
        for name in _leaves(self.raw):
            self.sources[name] = CONFIG_NAME

    def add_environment(self, values: Mapping[str, str], place: str) -> None:
        for name, value in values.items():
            if name in WITHOUT_EFFECT:
                self.notes.append(f"{place}: {name} {WITHOUT_EFFECT[name]}")
            elif (dotted := env_names().get(name)) is not None:
                section, _, key = dotted.partition(".")
                inner = self.raw.get(section)
                if not isinstance(inner, dict):
                    inner = self.raw[section] = {}
                inner[key] = value
                self.sources[dotted] = place
                self._env_sources[dotted] = f"{place}: {name}"
            elif (problem := unknown_env_name(name)) is not None:
                self.problems.append(f"{place}: {problem}")

    def settings(self) -> Settings:
        """What is right of it; the rest is in `errors` and `problems` afterwards."""
        # one schema holds all sections: a section made from its default would build its own first
        empty: dict[str, Any] = {name: {} for name in sections()}
        while True:
            try:
                return Settings.model_validate(empty | self.raw)
            except ValidationError as exc:
                for error in exc.errors(include_url=False):
                    self._judge(error["type"], error["loc"], error["input"], error["msg"])

    def _judge(self, kind: str, loc: tuple[int | str, ...], value: object, message: str) -> None:
        name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)[1:]
        where = self._env_sources.get(name, f"{CONFIG_NAME}: {name}")
        if kind == "extra_forbidden":
            near = nearest_setting(name)
            self.problems.append(f"{where} is no setting" + (f"; did you mean {near}?" if near else ""))
        else:
            self.errors.append(f"{where}: {_wrong(name, value, message)}")
        _remove(self.raw, loc)
        self.sources.pop(name, None)


def _wrong(name: str, value: object, message: str) -> str:
    name = re.sub(r"\[\d+\]", "[]", name)
    setting = find_setting(name) or find_setting(name.removesuffix("[]"))  # a list has the type of its items
    wanted = setting.expected if setting is not None else "a mapping"
    if message.startswith("Value error, "):
        wanted = message.removeprefix("Value error, ")
    if setting is not None and setting.is_secret:
        return f"expected {wanted}"
    if wanted == "text" and isinstance(value, int | float):
        return f"expected text, not {value!r}; put it in quotes"
    shown = repr(value)
    return f"expected {wanted}, not {shown if len(shown) <= 60 else shown[:57] + '…'}"


def _said(raw: Mapping[Any, Any]) -> dict[str, Any]:
    """A copy with names as text. A name with nothing behind it, as where all is commented out, says nothing."""
    return {
        str(key): _said(value) if isinstance(value, Mapping) else value
        for key, value in raw.items()
        if value is not None
    }


def _without_aliases(raw: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """The section's other places are folded into `api_server`, the first named beats the later ones."""
    merged: dict[str, Any] = {}
    seen: dict[str, str] = {}
    for alias in ALIASES:
        outer, _, inner = alias.rpartition(".")
        holder = raw.get(outer) if outer else raw
        if not isinstance(holder, dict) or inner not in holder:
            continue
        section = holder.pop(inner)
        if outer and not holder:
            del raw[outer]
        if section is None:
            continue
        if not isinstance(section, dict):
            raw[ALIASED_SECTION] = section  # its wrong type is reported like any other
            return raw
        for key, value in section.items():
            if key in merged and merged[key] != value:
                problems.append(f"{CONFIG_NAME}: {alias}.{key} is not used: {seen[key]}.{key} says otherwise")
            elif key not in merged:
                merged[key], seen[key] = value, alias
    if merged:
        raw[ALIASED_SECTION] = merged
    return raw


def _leaves(raw: Mapping[Any, Any], prefix: str = "") -> list[str]:
    names: list[str] = []
    for key, value in raw.items():
        name = f"{prefix}{key}"
        names += _leaves(value, name + ".") if isinstance(value, dict) and value else [name]
    return names


def _remove(raw: dict[str, Any], loc: tuple[int | str, ...]) -> None:
    """The value at `loc`, or the list that holds it: half a list is not what was meant."""
    holder = raw
    for part in loc[:-1]:
        inner = holder.get(str(part))
        if not isinstance(inner, dict):
            break
        holder = inner
    else:
        part = loc[-1]
    if holder.pop(str(part), None) is None:
        raw.pop(str(loc[0]), None)
