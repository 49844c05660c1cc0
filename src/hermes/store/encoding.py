"""JSON as text, in one place. Text that a database cannot hold is mended here, never refused."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import orjson


def to_json(value: Any) -> str:
    """`value`: JSON values, tuples, any Mapping. Lone surrogates become U+FFFD; NaN and infinity null."""
    try:
        return orjson.dumps(value, default=_plain).decode()
    except orjson.JSONEncodeError:  # a lone surrogate, an integer beyond 64 bits, a key that is no text
        return json.dumps(_mended(value), ensure_ascii=False, separators=(",", ":"))


def from_json(text: str) -> Any:
    return orjson.loads(text)


def clean(text: str) -> str:
    """Text as any database can hold it: NUL (which PostgreSQL refuses) and lone surrogates become U+FFFD."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    return text if text.isascii() else _without_surrogates(text)


def _without_surrogates(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def _mended(value: Any) -> Any:
    match value:
        case str():
            return _without_surrogates(value)
        case float() if not math.isfinite(value):
            return None
        case Mapping():
            return {_without_surrogates(str(key)): _mended(item) for key, item in value.items()}
        case list() | tuple():
            return [_mended(item) for item in value]
        case _:
            return value


def row_number(asked: int) -> int:
    """A number from outside, as a row's id may be: PostgreSQL refuses to compare with more than its integers hold."""
    return max(-(2**31), min(asked, 2**31 - 1))
