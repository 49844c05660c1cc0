"""JSON as text, in one place. What UTF-8 cannot hold is mended here, never refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson


def to_json(value: Any) -> str:
    """`value`: JSON values, tuples, any Mapping. Lone surrogates become U+FFFD; NaN and infinity null."""
    try:
        return orjson.dumps(value, default=_plain).decode()
    except orjson.JSONEncodeError:  # a lone surrogate, an integer beyond 64 bits, a key that is no text
        text = json.dumps(value, default=_plain, ensure_ascii=False, separators=(",", ":"))
        return clean(text)


def from_json(text: str) -> Any:
    return orjson.loads(text)


def clean(text: str) -> str:
    """Text as UTF-8 can hold it: a model's or a server's answer may have half of a character at its end."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")
