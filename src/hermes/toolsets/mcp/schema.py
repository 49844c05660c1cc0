"""What a server says of its tools, made fit for a prompt: it is somebody else's text, of any size and shape."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Collection, Mapping
from itertools import islice
from typing import Any

from hermes.core.injection import suspicion

LONGEST_NAME = 64
LONGEST_DESCRIPTION = 1_000
LONGEST_INNER_DESCRIPTION = 300
LARGEST_SCHEMA = 12_000
"""Characters of a tool's schema as JSON."""
DEEPEST = 8
MOST_ENTRIES = 200
"""Properties or choices of one place in a schema that are looked at."""
LONGEST_REFERENCE = 500
MOST_PLACES = 3_000
MOST_READ = 100_000
"""Characters of a schema that are looked at: whoever makes it larger must not make us slow."""

_SCHEMAS_BY_NAME = frozenset({"properties", "patternProperties"})
_SCHEMAS = frozenset({"items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else"})
_LISTS_OF_SCHEMAS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_SINGLE = frozenset(
    {"format", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength"}
    | {"maxLength", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties", "const", "default"}
)
_OTHERS = frozenset({"$ref", "type", "description", "required", "enum"})
_KEYWORDS = sorted(_SCHEMAS_BY_NAME | _SCHEMAS | _LISTS_OF_SCHEMAS | _SINGLE | _OTHERS)
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_]+")


def tool_name(server: str, tool: str, taken: Collection[str] = (), others: Collection[str] = ()) -> str:
    """`mcp_SERVER_TOOL` in the letters that every provider takes; a hash parts what would be the same or too long.

    `others` are the servers beside it. What could be read as a tool of one of them has the hash, whichever of the two
    is connected first: a yes for always, or a deny list, goes by the name.
    """
    own = f"mcp_{_plain(server)}_"
    name = f"{own}{_plain(tool)}"
    theirs = (f"mcp_{_plain(other)}_" for other in others)
    is_own = not any(len(prefix) >= len(own) and name.startswith(prefix) for prefix in theirs)
    if len(name) <= LONGEST_NAME and name not in taken and is_own:
        return name
    for number in range(len(taken) + 1):
        digest = hashlib.sha256(f"{server}\0{tool}\0{number}".encode("utf-8", "replace")).hexdigest()[:8]
        other = f"{name[: LONGEST_NAME - 9]}_{digest}"
        if other not in taken:
            return other
    raise AssertionError("one of more names than are taken is free")


def described(text: object, most: int = LONGEST_DESCRIPTION) -> str:
    """A description as a prompt may hold it: visible characters, cut. One that gives orders is left out, and says so.

    The whole is looked at, not what the cut leaves of it.
    """
    if not isinstance(text, str):
        return ""
    plain = " ".join("".join(c for c in text[: 40 * most] if _is_visible(c)).split())
    why = suspicion(plain)
    if why is not None:
        return f"(its description is left out: it {why})"
    return plain if len(plain) <= most else plain[: most - 1] + "…"


def parameters(schema: object) -> dict[str, Any]:
    """A JSON schema of type object, small enough to be sent with every prompt; `{}` for what cannot be read.

    References within it are written out; what lies too deep or is too large allows anything, and the server judges it.
    """
    given = schema if isinstance(schema, Mapping) else {}
    for with_descriptions, deepest in ((True, DEEPEST), (False, DEEPEST), (False, 2), (False, 1)):
        safe = _Slimmer(given, with_descriptions, deepest).whole()
        if len(json.dumps(safe, ensure_ascii=False)) <= LARGEST_SCHEMA:
            return safe
    return {"type": "object", "properties": {}}


class _Slimmer:
    def __init__(self, root: Mapping[str, Any], with_descriptions: bool, deepest: int) -> None:
        self._root = root
        self._with_descriptions = with_descriptions
        self._deepest = deepest
        self._places_left = MOST_PLACES
        self._left_to_read = MOST_READ

    def whole(self) -> dict[str, Any]:
        schema = self._schema(self._root, 0, ())
        safe = schema if isinstance(schema, dict) else {}
        properties = safe.get("properties")
        safe = {**safe, "type": "object", "properties": properties if isinstance(properties, dict) else {}}
        safe.pop("description", None)
        return safe

    def _schema(self, value: object, depth: int, seen: tuple[str, ...]) -> Any:
        if isinstance(value, bool):
            return value
        self._places_left -= 1
        if not isinstance(value, Mapping) or depth > self._deepest or self._places_left < 0:
            return {}
        value = _keywords(value)
        reference = value.get("$ref")
        if isinstance(reference, str):
            if reference in seen:
                return {}
            there = self._there(reference)
            beside = {key: inner for key, inner in value.items() if key != "$ref"}
            return self._schema({**there, **beside}, depth + 1, (*seen, reference))
        safe: dict[str, Any] = {}
        for key, inner in value.items():
            kept = self._keyword(str(key), inner, depth, seen)
            if kept is not None:
                safe[str(key)] = kept
        if "required" in safe:
            there = safe.get("properties", {})
            safe["required"] = [name for name in safe["required"] if name in there]
        return safe

    def _keyword(self, key: str, inner: object, depth: int, seen: tuple[str, ...]) -> Any:
        """What is kept of it; None: nothing."""
        if key == "type":
            return _type(inner)
        if key == "description":
            if not self._with_descriptions or not isinstance(inner, str) or not self._may_read(inner):
                return None
            return described(inner, LONGEST_INNER_DESCRIPTION) or None
        if key in _SCHEMAS_BY_NAME and isinstance(inner, Mapping):
            names = [name for name in islice(inner, MOST_ENTRIES) if self._is_name(name)]
            return {name: self._schema(inner[name], depth + 1, seen) for name in names}
        if key in _SCHEMAS and isinstance(inner, Mapping | bool):
            return self._schema(inner, depth + 1, seen)
        if key in _LISTS_OF_SCHEMAS and isinstance(inner, list):
            return [self._schema(one, depth + 1, seen) for one in inner[:MOST_ENTRIES]] or None
        if key == "required" and isinstance(inner, list):
            return [name for name in inner[:MOST_ENTRIES] if isinstance(name, str)]
        if key == "enum" and isinstance(inner, list):
            return [one for one in inner[:MOST_ENTRIES] if self._is_small(one)] or None
        if key in _SINGLE and self._is_small(inner):
            return inner
        return None

    def _may_read(self, text: str) -> bool:
        self._left_to_read -= len(text)
        return self._left_to_read >= 0

    def _is_small(self, value: object) -> bool:
        """A single value of a schema that shows a model nothing but itself."""
        if isinstance(value, str):
            return len(value) <= 200 and self._may_read(value) and suspicion(value) is None
        return value is None or isinstance(value, int | float)

    def _is_name(self, name: object) -> bool:
        if not isinstance(name, str) or not 0 < len(name) <= 128 or not self._may_read(name):
            return False
        return all(_is_visible(c) for c in name) and suspicion(name) is None

    def _there(self, reference: str) -> Mapping[str, Any]:
        """What a reference within the schema leads to; any other allows anything."""
        place: object = self._root
        if not reference.startswith("#/") or len(reference) > LONGEST_REFERENCE:
            return {}
        for step in reference[2:].split("/"):
            step = step.replace("~1", "/").replace("~0", "~")
            place = place.get(step) if isinstance(place, Mapping) else None
        return _keywords(place) if isinstance(place, Mapping) else {}


def _keywords(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """One with more names than there are keywords, without the others: it may be gone through often."""
    return schema if len(schema) <= MOST_ENTRIES else {key: schema[key] for key in _KEYWORDS if key in schema}


def _type(value: object) -> Any:
    known = {"string", "number", "integer", "boolean", "object", "array", "null"}
    if isinstance(value, str):
        return value if value in known else None
    if isinstance(value, list):
        return [one for one in value[:MOST_ENTRIES] if isinstance(one, str) and one in known] or None
    return None


def _is_visible(c: str) -> bool:
    return c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn")


def _plain(text: str) -> str:
    return _NOT_IN_NAMES.sub("_", text).strip("_") or "x"
