"""The secrets that stand in a config.yaml: by the setting's name, by the shape of the value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hermes.core.errors import ConfigError
from hermes.core.redact import HIDDEN, Redactor, is_secret_name
from hermes.home.config_file import ConfigDraft, dumped
from hermes.home.names import canonical, find_setting


def masked_config(path: Path, text: str) -> str:
    """The text of a config.yaml with `[redacted]` for each secret, also for what has the shape or the name of one in a
    comment.

    Where the text cannot be changed in place (anchors), its values alone, without comments.
    """
    draft = ConfigDraft(path, text)
    try:
        for keys, _ in list(secret_places(draft.values)):
            draft.set(keys, masked(draft.get(keys), keys))
        text = draft.text
    except ConfigError:
        text = dumped({key: masked(value, (str(key),)) for key, value in draft.values.items()})
    return Redactor()(_PUT_OUT.sub(_hidden, text))


_PUT_OUT = re.compile(r"^(?P<head>[^\S\n]*#[#\s-]*(?P<name>[\w.-]+):[^\S\n]+)(?P<value>\S.*)$", re.MULTILINE)
"""A setting that was made a comment."""


def _hidden(match: re.Match[str]) -> str:
    return f"{match['head']}{HIDDEN}" if _is_secret_place((match["name"],)) else match[0]


def secret_places(values: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[list[str], list[Any] | None]]:
    """Where one stands: keys, and None to remove what is there, or the list to put in its place."""
    for key, value in values.items():
        keys = (*above, str(key))
        if isinstance(value, dict):
            yield from secret_places(value, keys)
        elif isinstance(value, list) and not _is_secret_place(keys):
            cleaned = [_cleaned(item) for item in value]
            if cleaned != value:
                yield list(keys), cleaned
        elif _is_secret(keys, value):
            yield list(keys), None


def masked(value: Any, keys: tuple[str, ...] | list[str]) -> Any:
    if isinstance(value, dict):
        return {key: masked(inner, (*keys, str(key))) for key, inner in value.items()}
    if _is_secret(tuple(keys), value):
        return HIDDEN
    return [masked(item, ()) for item in value] if isinstance(value, list) else value


def _cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _cleaned(inner) for key, inner in value.items() if not _is_secret((str(key),), inner)}
    if isinstance(value, list):
        return [_cleaned(inner) for inner in value]
    return Redactor()(value) if isinstance(value, str) else value


def _is_secret(keys: tuple[str, ...], value: Any) -> bool:
    if value is None or isinstance(value, bool) or value == "":
        return False
    if keys and _is_secret_place(keys):
        return True
    return isinstance(value, str) and Redactor()(value) != value


def _is_secret_place(keys: tuple[str, ...]) -> bool:
    setting = find_setting(canonical(".".join(keys)))
    return is_secret_name(keys[-1]) or (setting is not None and setting.is_secret)
