"""A folder, five tools and a loop of twenty lines: what the built-in model is tried with."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hermes.agent.prompt import DEFAULT_SOUL, RULES
from hermes.core.message import Message, ToolCall
from hermes.core.model import Model, ModelDone, ModelRequest, TextDelta, ToolSpec

MAX_STEPS = 8

INSTRUCTIONS = f"""{DEFAULT_SOUL}

{RULES}

Today is 2026-11-22 (UTC). The system is Linux x86_64. The working directory is {{folder}}."""


def _spec(name: str, description: str, required: tuple[str, ...], **properties: dict[str, Any]) -> ToolSpec:
    return ToolSpec(
        name,
        description,
        {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False},
    )


_TEXT = {"type": "string"}
_NUMBER = {"type": "integer"}

TOOLS: tuple[ToolSpec, ...] = (
    _spec(
        "terminal",
        "Run a shell command.",
        ("command",),
        command=_TEXT,
        background={"type": "boolean"},
        timeout=_NUMBER,
        workdir=_TEXT,
    ),
    _spec("process", "Manage a background process.", ("action",), action=_TEXT, session_id=_TEXT, data=_TEXT),
    _spec("read_file", "Read a text file.", ("path",), path=_TEXT, offset=_NUMBER, limit=_NUMBER),
    _spec("write_file", "Write a file.", ("path", "content"), path=_TEXT, content=_TEXT),
    _spec(
        "patch",
        "Edit a file.",
        (),
        mode={"type": "string", "enum": ["replace", "patch"]},
        path=_TEXT,
        old_string=_TEXT,
        new_string=_TEXT,
        replace_all={"type": "boolean"},
        patch=_TEXT,
    ),
    _spec(
        "search_files",
        "Search in files.",
        ("pattern",),
        pattern=_TEXT,
        target={"type": "string", "enum": ["content", "files"]},
        path=_TEXT,
        file_glob=_TEXT,
        limit=_NUMBER,
        output_mode=_TEXT,
        context=_NUMBER,
    ),
)


@dataclass
class Outcome:
    """What came of one request. `calls` are (tool, arguments) in order."""

    folder: Path
    text: str = ""
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    results: list[str] = field(default_factory=list)
    finish_reason: str = ""

    def file(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.is_file() else ""

    @property
    def first(self) -> tuple[str, str]:
        """The first call as (tool, arguments as text); `("say", text)` where nothing was called."""
        if not self.calls:
            return "say", self.text
        tool, arguments = self.calls[0]
        return tool, json.dumps(arguments, ensure_ascii=False)

    def says(self, *patterns: str) -> bool:
        return all(re.search(pattern, self.text, re.IGNORECASE) for pattern in patterns)


async def work(
    model: Model,
    request: str,
    folder: Path,
    *,
    tools: tuple[ToolSpec, ...] = TOOLS,
    history: tuple[Message, ...] = (),
    max_steps: int = MAX_STEPS,
) -> Outcome:
    """The request, done in the folder until the model has said something or `max_steps` are used up."""
    outcome = Outcome(folder)
    system = Message("system", INSTRUCTIONS.format(folder=folder))
    messages = [system, *history, Message("user", request)]
    for _ in range(max_steps):
        said, done = await answer(model, ModelRequest(tuple(messages), tools))
        outcome.text, outcome.finish_reason = said, done.finish_reason
        if not done.tool_calls:
            break
        messages.append(Message("assistant", said, tool_calls=done.tool_calls))
        for call in done.tool_calls:
            result = run(call, folder)
            outcome.calls.append((call.name, json.loads(call.arguments)))
            outcome.results.append(result)
            messages.append(Message("tool", result, tool_call_id=call.id, name=call.name))
    return outcome


async def answer(model: Model, request: ModelRequest) -> tuple[str, ModelDone]:
    said = ""
    done: ModelDone | None = None
    async for item in model.stream(request):
        if isinstance(item, TextDelta):
            said += item.text
        elif isinstance(item, ModelDone):
            done = item
    assert done is not None
    return said, done


def run(call: ToolCall, folder: Path) -> str:
    """The tools in their simplest form; every failure is a result."""
    arguments = json.loads(call.arguments)
    try:
        match call.name:
            case "terminal":
                return _terminal(arguments["command"], folder)
            case "read_file":
                lines = (folder / arguments["path"]).read_text().splitlines()
                return "\n".join(f"{number}|{line}" for number, line in enumerate(lines, start=1))
            case "write_file":
                path = folder / arguments["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(arguments["content"])
                return f"Wrote {path} ({len(arguments['content'])} bytes)."
            case "patch":
                return _patch(folder / arguments["path"], arguments["old_string"], arguments["new_string"])
            case "search_files":
                return _search(arguments["pattern"], arguments.get("path", "."), folder)
            case other:
                return f"no tool {other}"
    except OSError as error:
        return f"{folder / arguments['path']}: {error.strerror}."


def _terminal(command: str, folder: Path) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"}
    try:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=20,
            errors="replace",
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return "[ended after 20 s]"
    output = (done.stdout + done.stderr).strip()[:8000]
    return f"{output}\n[exit code {done.returncode}]"


def _patch(path: Path, old: str, new: str) -> str:
    text = path.read_text()
    if text.count(old) != 1:
        return f"old_string stands {text.count(old)} times in {path.name}; nothing was changed."
    path.write_text(text.replace(old, new))
    return f"Edited {path}."


def _search(pattern: str, path: str, folder: Path) -> str:
    done = subprocess.run(
        ["grep", "-rnIE", "--", pattern, path], cwd=folder, capture_output=True, text=True, timeout=20
    )
    found = "\n".join(line.removeprefix("./") for line in done.stdout.splitlines()[:50])
    return found or "no matches"
