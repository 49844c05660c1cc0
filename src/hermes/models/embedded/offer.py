"""Which calls the built-in model may make in one step, and in which words it is told of them.

A model of this size fills in every parameter it sees. So of our own tools it sees the few that matter, and what it
leaves out takes the tool's default; tools of others keep their parameters.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hermes.core.model import ToolSpec

from .grammar import SAY, Schema, arguments

MAX_OTHER_TOOLS = 12
MAX_DESCRIPTION = 160
MAX_SIGNATURE = 300


@dataclass(frozen=True, slots=True)
class Known:
    """One of our own tools, made small: which real tool it calls, and its arguments out of what the model wrote."""

    tool: str
    description: str
    parameters: Schema
    arguments: Callable[[dict[str, Any]], dict[str, Any]] = dict


def _texts(*names: str, optional: tuple[str, ...] = ()) -> Schema:
    properties = {name: {"type": "string"} for name in (*names, *optional)}
    return {"type": "object", "properties": properties, "required": list(names), "additionalProperties": False}


def _appending(written: dict[str, Any]) -> dict[str, Any]:
    """Asked to add a line it would write the file anew, with that line alone; so it gets a word for it."""
    text = str(written.get("text", "")).rstrip("\n")
    return {"command": f"printf '%s\\n' {shlex.quote(text)} >> {shlex.quote(str(written.get('path', '')))}"}


KNOWN: dict[str, Known] = {
    "terminal": Known("terminal", "run a shell command: ls, cp, mv, mkdir, rm, grep …", _texts("command")),
    "read_file": Known("read_file", "show a file", _texts("path")),
    "write_file": Known("write_file", "make a new file", _texts("path", "content")),
    "add_to_file": Known("terminal", "put lines at the end of a file", _texts("path", "text"), _appending),
    "patch": Known(
        "patch",
        "change a piece of a file that you have read",
        _texts("path", "old_string", "new_string"),
        lambda written: {"mode": "replace", **written},
    ),
    "search_files": Known("search_files", "find text in files", _texts("pattern", optional=("path",))),
}
TOO_HARD = frozenset({"process", "search_files"})
"""Ours, but not offered beside the terminal: it has no background commands to manage, and grep does the search."""


@dataclass(frozen=True, slots=True)
class Offer:
    """`known` are names from KNOWN; `others` the tools of everybody else, by the key that the model writes.

    `left_out` are tools that it is not told of.
    """

    known: tuple[str, ...] = ()
    others: Mapping[str, ToolSpec] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.known or self.others)

    @property
    def schemas(self) -> dict[str, Schema]:
        return {
            **{name: KNOWN[name].parameters for name in self.known},
            **{key: arguments(tool.parameters) for key, tool in self.others.items()},
        }

    def call(self, key: str, value: Any) -> tuple[str, str]:
        """The tool's real name and its arguments as JSON."""
        if key in self.others:
            return self.others[key].name, json.dumps(value, ensure_ascii=False)
        return KNOWN[key].tool, json.dumps(KNOWN[key].arguments(value), ensure_ascii=False)

    def only(self, tool: str) -> Offer:
        """What calls this tool."""
        return Offer(
            tuple(name for name in self.known if KNOWN[name].tool == tool),
            {key: other for key, other in self.others.items() if other.name == tool},
        )

    def without(self, *names: str) -> Offer:
        return replace(self, known=tuple(name for name in self.known if name not in names))


def offered(tools: Sequence[ToolSpec], wanted: str | None = None) -> Offer:
    """`wanted` is a tool that must be among them whatever it is."""
    ours = {tool.name for tool in tools if tool.name in KNOWN and _is_ours(tool)}
    has_terminal = "terminal" in ours
    if has_terminal and wanted != "search_files":
        ours.discard("search_files")
    known = tuple(name for name, each in KNOWN.items() if each.tool in ours)
    hidden = TOO_HARD - {wanted} if has_terminal else frozenset()
    others = [tool for tool in tools if tool.name not in ours | hidden]
    others.sort(key=lambda tool: tool.name != wanted)
    told, untold = others[:MAX_OTHER_TOOLS], others[MAX_OTHER_TOOLS:]
    return Offer(known, {_key(tool.name): tool for tool in told}, tuple(tool.name for tool in untold))


def _is_ours(tool: ToolSpec) -> bool:
    """A client may use our names for tools of its own: ours has the parameters that we know, and needs no others."""
    known = KNOWN[tool.name].parameters["properties"].keys()
    properties: Mapping[str, Any] = tool.parameters.get("properties", {})
    required: Sequence[str] = tool.parameters.get("required", ())
    return bool(known <= properties.keys() and set(required) <= known)


def _key(name: str) -> str:
    return f"{name}_tool" if name == SAY or (name in KNOWN and KNOWN[name].tool != name) else name


def signature(key: str, parameters: Schema) -> str:
    """`{"get_weather": {"city": "text", "days": number?}}`: what a call looks like, optional ones marked."""
    text = f'{{"{key}": {_shape(parameters)}}}'
    return text if len(text) <= MAX_SIGNATURE else text[:MAX_SIGNATURE] + "…"


def first_words(description: str) -> str:
    """The first sentence or line of a tool's description, cut to size."""
    line = description.strip().split("\n", 1)[0].split(". ", 1)[0].rstrip(".")
    return line if len(line) <= MAX_DESCRIPTION else line[:MAX_DESCRIPTION] + "…"


def _shape(schema: Schema) -> str:
    if "enum" in schema:
        return "|".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"][:8])
    if "const" in schema:
        return json.dumps(schema["const"], ensure_ascii=False)
    if "anyOf" in schema:
        return "|".join(dict.fromkeys(_shape(option) for option in schema["anyOf"]))
    if schema.get("type") == "array":
        return f"[{_shape(schema['items'])}]"
    if schema.get("type") == "object":
        required = schema.get("required", [])
        fields = (
            f'"{name}": {_shape(value)}{"" if name in required else "?"}'
            for name, value in schema.get("properties", {}).items()
        )
        return "{" + ", ".join(fields) + "}"
    return {"string": '"text"', "integer": "number"}.get(schema["type"], str(schema["type"]))
