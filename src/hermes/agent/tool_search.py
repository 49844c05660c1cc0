"""Tools that are loaded on demand: what of the tools there are a model is shown, and how it finds the others.

Every schema is paid for in every call of the model. So the first tools that fit are shown, in the order of the
catalogue, and `tool_search` stands for the rest. What a conversation has looked for or called is shown from then on;
that is read from its messages, so that a run which goes on after a restart is shown the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from hermes.core.message import Message
from hermes.core.model import ToolSpec
from hermes.core.ports import Tool, ToolContext, ToolResult
from hermes.core.toolset import TOOL_SEARCH, info_of
from hermes.toolsets.tool import Arguments, BaseTool, one_line

NAME = TOOL_SEARCH.name
SCHEMA_BYTES = 10_400
"""Of all schemas that are shown unasked. With the instructions, skills and memory of a new home: 12,000 (DESIGN 5)."""
MOST_FOUND = 8
MOST_SELECTIONS = 64
LISTED_CHARACTERS = 900
"""Names of the tools behind the search in its description; what is left out is counted."""
WEIGHTS = (8, 4, 1)
"""Of a word that is the tool's name, that is part of it, that is in its description."""


class ToolSearchArguments(Arguments):
    query: str = Field(description="Names of tools, or words for what you want to do.")


@dataclass(frozen=True, slots=True)
class Shortlist:
    """`tools` are all that may be called, `tool_search` among them where it is needed. Of them the model is told at
    once what is `shown`; what is `behind`, only when it was looked for."""

    tools: Mapping[str, Tool]
    shown: tuple[ToolSpec, ...]
    behind: tuple[ToolSpec, ...] = ()

    def offered(self, said: Iterable[Message]) -> tuple[ToolSpec, ...]:
        """The tools for the next call of the model, in an order that only grows: what came later stands last."""
        if not self.behind:
            return self.shown
        there = {spec.name: spec for spec in self.behind}
        loaded: dict[str, ToolSpec] = {}
        for message in said:
            for call in message.tool_calls:
                names = self.found(_query(call.arguments)) if call.name == NAME else (call.name,)
                loaded.update((name, there[name]) for name in names if name in there)
        return (*self.shown, *loaded.values())

    def found(self, query: str) -> tuple[str, ...]:
        """Names of the tools behind, the best first. Only what the query and the tools say counts."""
        words = dict.fromkeys(_words(query))
        scored = [(_score(words, spec), spec.name) for spec in self.behind]
        best = sorted((-score, number, name) for number, (score, name) in enumerate(scored) if score)
        return tuple(name for _, _, name in best[:MOST_FOUND])


class ToolSearchTool(BaseTool[ToolSearchArguments]):
    name = NAME
    description = "Load tools that are not shown yet; call them in the next step."
    arguments = ToolSearchArguments
    is_idempotent = True

    def __init__(self, behind: Sequence[ToolSpec]) -> None:
        super().__init__()
        self._shortlist = Shortlist({}, (), tuple(behind))
        self._spec = ToolSpec(self.name, f"{self.description} There are: {_listed(behind)}", self._spec.parameters)

    def summary(self, arguments: ToolSearchArguments) -> str:
        return arguments.query

    async def run(self, arguments: ToolSearchArguments, context: ToolContext) -> ToolResult:
        names = self._shortlist.found(arguments.query)
        specs = {spec.name: spec for spec in self._shortlist.behind}
        if not names:
            return ToolResult(f"No tool fits these words. There are: {', '.join(specs)}", preview="nothing found")
        lines = [f"{name}: {one_line(_first_sentence(specs[name].description))}" for name in names]
        return ToolResult("\n".join(["You can call these now:", *lines]), preview=", ".join(names))


class Shortlists:
    """The shortlist of each selection of tools, made once. `budget` in bytes of schemas."""

    def __init__(self, budget: int = SCHEMA_BYTES) -> None:
        self._budget = budget
        self._made: dict[tuple[int, ...], Shortlist] = {}

    def of(self, tools: Mapping[str, Tool], wanted: str = "") -> Shortlist:
        """`wanted` is shown in any case: the request forces this tool."""
        if wanted in tools:
            tools = {wanted: tools[wanted], **tools}
        key = tuple(map(id, tools.values()))
        made = self._made.get(key)
        if made is None:
            if len(self._made) >= MOST_SELECTIONS:
                self._made.clear()
            made = self._made[key] = _shortlist(tools, self._budget)  # holds the tools, so that an id stays theirs
        return made


def _shortlist(tools: Mapping[str, Tool], budget: int) -> Shortlist:
    specs = tuple(tool.spec for tool in tools.values())
    sizes = [size(spec) for spec in specs]
    if sum(sizes) <= budget or NAME in tools:
        return Shortlist(dict(tools), specs)
    left = budget - size(ToolSearchTool(specs).spec)
    count = 0
    for length in sizes:
        left -= length
        if left < 0:
            break
        count += 1
    count = max(count, 1)  # one that was asked for is shown, however long
    behind = specs[count:]
    search = ToolSearchTool(behind)
    return Shortlist({**tools, NAME: search}, (*specs[:count], search.spec), behind)


def size(spec: ToolSpec) -> int:
    """Bytes of the schema in a request."""
    function = {"name": spec.name, "description": spec.description, "parameters": spec.parameters}
    return len(json.dumps({"type": "function", "function": function}, ensure_ascii=False).encode())


def _listed(specs: Sequence[ToolSpec]) -> str:
    said: list[str] = []
    length = 0
    for spec in specs:
        info = info_of(spec.name)
        words = info.label if info else one_line(_first_sentence(spec.description), 40)
        line = f"{spec.name} ({words})" if words else spec.name
        length += len(line) + 2
        if length > LISTED_CHARACTERS:
            return f"{', '.join(said)} and {len(specs) - len(said)} more"
        said.append(line)
    return ", ".join(said)


def _score(words: Iterable[str], spec: ToolSpec) -> int:
    name = spec.name.lower()
    parts = set(_words(name.replace("_", " ").replace("-", " ")))
    info = info_of(spec.name)
    text = set(
        _words(f"{spec.description} {info.label if info else ''} {' '.join(spec.parameters.get('properties', ()))}")
    )
    is_whole, is_part, is_said = WEIGHTS
    return sum(
        is_whole if word == name else is_part if word in parts else is_said if word in text else 0 for word in words
    )


def _first_sentence(description: str) -> str:
    return description.strip().split("\n", 1)[0].split(". ", 1)[0].rstrip(".")


def _words(text: str) -> list[str]:
    """Also of a plural: `images` finds an image."""
    words = re.findall(r"[a-z0-9_-]+", text.lower())
    return [word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word for word in words]


def _query(arguments: str) -> str:
    try:
        value = json.loads(arguments or "{}")
    except ValueError:
        return ""
    query = value.get("query") if isinstance(value, dict) else None
    return query if isinstance(query, str) else ""
