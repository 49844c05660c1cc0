"""What the built-in model may write: one JSON object, a call of one offered tool or `{"say": "…"}`.

Left to itself, a model of this size calls tools wrongly four times out of five; held to this union it cannot. The
schema is compiled by llama.cpp's llguidance, which ignores a schema that it does not know in full, silently: so only
keywords that it is known to compile pass (`simplified`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

SAY = "say"
MAX_DEPTH = 6
TYPES = frozenset({"string", "number", "integer", "boolean", "null", "array", "object"})
WHITESPACE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
ANY: dict[str, Any] = {"type": "string"}

Schema = Mapping[str, Any]


def union(tools: Mapping[str, Schema], *, may_say: bool = True, answer: Schema | None = None) -> dict[str, Any]:
    """The JSON schema of one step. `answer` is what the value of `say` must be when it is no plain text."""
    branches = [_branch(name, arguments(parameters)) for name, parameters in tools.items()]
    if may_say or not branches:
        branches.append(_branch(SAY, {"type": "string"} if answer is None else simplified(answer)))
    return {"x-guidance": WHITESPACE, "anyOf": branches}


def simplified(schema: object) -> dict[str, Any]:
    """The part of a JSON schema that a grammar can hold and llguidance compiles; `$ref`s are written out.

    Everything that it allows, the full schema may still refuse: whoever takes the call checks it as always.
    """
    root = schema if isinstance(schema, Mapping) else {}
    return _simplified(root, root, MAX_DEPTH)


def arguments(parameters: object) -> dict[str, Any]:
    """The same for a tool's parameters, which are an object whatever their schema forgets to say."""
    schema = parameters if isinstance(parameters, Mapping) else {}
    named = simplified(schema)
    if named.get("type") == "object" and "properties" in named:
        return named
    return {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


def written(name: str, value: object) -> str:
    """A step as the model itself would have written it: how history and examples are shown."""
    return json.dumps({name: value}, ensure_ascii=False)


def _branch(name: str, schema: Schema) -> dict[str, Any]:
    return {"type": "object", "properties": {name: schema}, "required": [name], "additionalProperties": False}


def _simplified(schema: object, root: Schema, depth: int) -> dict[str, Any]:
    if not isinstance(schema, Mapping):
        return dict(ANY)
    if isinstance(schema.get("$ref"), str):
        target = _resolved(schema["$ref"], root)
        return dict(ANY) if depth <= 0 else _simplified(target, root, depth - 1)
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return {"enum": [value for value in schema["enum"] if _is_plain(value)] or ["none"]}
    if "const" in schema and _is_plain(schema["const"]):
        return {"const": schema["const"]}
    for keyword in ("anyOf", "oneOf"):
        options = schema.get(keyword)
        if isinstance(options, list) and options and depth > 0:
            return {"anyOf": [_simplified(option, root, depth - 1) for option in options]}
    if isinstance(schema.get("allOf"), list) and len(schema["allOf"]) == 1:
        return _simplified(schema["allOf"][0], root, depth)
    return _typed(_kinds(schema), schema, root, depth)


def _typed(kinds: list[str], schema: Schema, root: Schema, depth: int) -> dict[str, Any]:
    options = [_one_type(kind, schema, root, depth) for kind in kinds]
    return options[0] if len(options) == 1 else {"anyOf": options}


def _one_type(kind: str, schema: Schema, root: Schema, depth: int) -> dict[str, Any]:
    if kind == "object":
        return _object(schema, root, depth)
    if kind == "array":
        items = schema.get("items")
        return {"type": "array", "items": _simplified(items, root, depth - 1) if depth > 0 else dict(ANY)}
    return {"type": kind}


def _object(schema: Schema, root: Schema, depth: int) -> dict[str, Any]:
    named = schema.get("properties")
    properties = named if isinstance(named, Mapping) else {}
    wanted = schema.get("required")
    required = [name for name in wanted if isinstance(name, str)] if isinstance(wanted, list) else []
    if depth <= 0 or not (properties or required):
        return {"type": "object"}
    kept = {str(name): _simplified(value, root, depth - 1) for name, value in properties.items()}
    kept.update({name: dict(ANY) for name in required if name not in kept})
    return {
        "type": "object",
        "properties": kept,
        "required": list(dict.fromkeys(required)),
        "additionalProperties": False,
    }


def _kinds(schema: Schema) -> list[str]:
    kind = schema.get("type")
    named = kind if isinstance(kind, list) else [kind]
    known = list(dict.fromkeys(name for name in named if isinstance(name, str) and name in TYPES))
    if known:
        return known
    if "properties" in schema:
        return ["object"]
    return ["array"] if "items" in schema else ["string"]


def _resolved(reference: str, root: Schema) -> object:
    """`#/$defs/thing` within the schema; anything else is unknown."""
    node: object = root
    for key in reference.removeprefix("#").split("/")[1:]:
        if not isinstance(node, Mapping):
            return None
        node = node.get(key.replace("~1", "/").replace("~0", "~"))
    return node if reference.startswith("#") else None


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


@dataclass(frozen=True, slots=True)
class Step:
    """What was written once it is whole. `name` is `say` or the tool's; `value` what stands behind it."""

    name: str
    value: Any


_SAID = re.compile(r'\s*\{\s*"say"\s*:\s*"')
_QUOTE_OR_ESCAPE = re.compile(r'["\\]')
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


@dataclass(slots=True)
class Reader:
    """Reads the step while it is being written: the text of a `say` comes out as far as it is certain."""

    raw: str = ""
    is_over: bool = field(default=False, init=False)
    _at: int | None = field(default=None, init=False)

    def feed(self, chunk: str) -> str:
        """The new text of `say`: empty for a tool call, and while an escape sequence is not whole."""
        self.raw += chunk
        if self._at is None:
            if (said := _SAID.match(self.raw)) is None:
                return ""
            self._at = said.end()
        if self.is_over:
            return ""
        text, self._at, self.is_over = _string_from(self.raw, self._at)
        return text

    def is_json_so_far(self) -> bool:
        """False when something else than an object is being written: the grammar was not applied."""
        return self.raw.lstrip()[:1] in ("", "{")

    def step(self, names: Iterable[str]) -> Step | None:
        """The whole step; None when it was cut off or is none of `names` and `say`."""
        try:
            value = json.loads(self.raw)
        except ValueError:
            return None
        if not isinstance(value, dict) or len(value) != 1:
            return None
        name, written = next(iter(value.items()))
        is_call = name in names and isinstance(written, dict)
        return Step(name, written) if name == SAY or is_call else None


def _string_from(raw: str, at: int) -> tuple[str, int, bool]:
    """The text of a JSON string from `at` on, where to go on, and whether its end was reached."""
    out: list[str] = []
    while at < len(raw):
        found = _QUOTE_OR_ESCAPE.search(raw, at)
        stop = found.start() if found else len(raw)
        out.append(raw[at:stop])
        at = stop
        if found is None:
            break
        if raw[at] == '"':
            return "".join(out), at + 1, True
        escaped = _escaped(raw, at)
        if escaped is None:
            break
        text, at = escaped
        out.append(text)
    return "".join(out), at, False


def _escaped(raw: str, at: int) -> tuple[str, int] | None:
    r"""The character of the escape sequence at `at`, and where it ends; None while it is not whole.

    Two `\uXXXX` that are a surrogate pair are one character; a half without its other is U+FFFD.
    """
    kind = raw[at + 1 : at + 2]
    if kind != "u":
        return (_ESCAPES.get(kind, "\ufffd"), at + 2) if kind else None
    first = _code_unit(raw, at)
    if first is None:
        return None
    if not 0xD800 <= first < 0xE000:
        return chr(first), at + 6
    if first >= 0xDC00:
        return "\ufffd", at + 6
    following = raw[at + 6 : at + 8]
    if following in ("", "\\"):
        return None
    if following != "\\u":
        return "\ufffd", at + 6
    second = _code_unit(raw, at + 6)
    if second is None:
        return None
    if not 0xDC00 <= second < 0xE000:
        return "\ufffd", at + 6
    return chr(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)), at + 12


def _code_unit(raw: str, at: int) -> int | None:
    digits = raw[at + 2 : at + 6]
    if len(digits) < 4:
        return None
    try:
        return int(digits, 16)
    except ValueError:
        return 0xFFFD
