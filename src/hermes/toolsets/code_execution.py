"""The `execute_code` tool: Python in a sandbox that has no files and no network, but may call the run's other tools."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from hermes.core.errors import ToolFailed
from hermes.core.ports import ToolContext, ToolResult
from hermes.core.reap import reap
from hermes.core.toolset import TOOLSETS
from hermes.toolsets import code_worker, output
from hermes.toolsets.tool import Arguments, BaseTool, one_line
from hermes.toolsets.toolset import Toolset

GRACE_SECONDS = 5.0
"""What the sandbox gets beyond its time to tell that this is over; then it is killed."""
LARGEST_LINE = 2 * code_worker.LONGEST_CALL
"""What is passed on of it; the sandbox itself refuses to send more."""
NOT_FROM_CODE = frozenset({"execute_code", "clarify", "delegate_task", "tool_search"})
"""What asks a person, or begins something of its own, the model calls itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeSettings:
    """`seconds`: of the code itself; what it waits for tools does not count. `max_calls`: of tools by one execution.
    `output_characters`: of what it prints, and as many of its value and of its error."""

    seconds: float = 30.0
    memory_bytes: int = 256 << 20
    recursion: int = 500
    output_characters: int = 20_000
    max_calls: int = 50


def code_execution_toolset(settings: CodeSettings) -> Toolset:
    problem = "" if hasattr(os, "killpg") else "execute_code needs Linux or macOS"
    return Toolset(TOOLSETS["code_execution"], (ExecuteCodeTool(settings),), problem, not problem)


class ExecuteCodeArguments(Arguments):
    code: str = Field(description="Python source.", min_length=1, max_length=200_000)


class ExecuteCodeTool(BaseTool[ExecuteCodeArguments]):
    name = "execute_code"
    description = """Run Python in a sandbox: to compute, or to call several tools and keep only what matters. Gives
        back what it prints and the value of its last expression. Your tools are functions that return text and raise
        RuntimeError: read_file(path="a.txt"). A subset of Python: no files, network or packages; no yield, del or
        class inheritance; of the library math, re, json, csv, datetime, random, collections, itertools and the like.
        Nothing is kept from call to call. For all of Python use the terminal."""
    arguments = ExecuteCodeArguments

    def __init__(self, settings: CodeSettings) -> None:
        super().__init__()
        self._settings = settings

    def summary(self, arguments: ExecuteCodeArguments) -> str:
        return arguments.code

    async def run(self, arguments: ExecuteCodeArguments, context: ToolContext) -> ToolResult:
        names = [] if context.calls is None else [name for name in context.calls.names if name not in NOT_FROM_CODE]
        process = await _start()
        try:
            done = await self._converse(process, arguments.code, names, context)
        except TimeoutError:
            raise ToolFailed(f"Killed: the code ran for more than {self._settings.seconds:g} seconds.") from None
        finally:
            await _end(process)
        return self._result(done)

    async def _converse(
        self, process: asyncio.subprocess.Process, code: str, names: list[str], context: ToolContext
    ) -> dict[str, Any]:
        """What the sandbox says at last; its calls of tools are made in between."""
        settings = self._settings
        request = {
            "code": code,
            "functions": names,
            "seconds": settings.seconds,
            "memory_bytes": settings.memory_bytes,
            "recursion": settings.recursion,
            "characters": settings.output_characters,
        }
        _say(process, request)
        calls = 0
        while True:
            said = await asyncio.wait_for(_hear(process), settings.seconds + GRACE_SECONDS)
            if "done" in said:
                done: dict[str, Any] = said["done"]
                return done
            calls += 1
            if calls > settings.max_calls:
                _say(process, {"error": f"at most {settings.max_calls} tools are called by one execution"})
                continue
            _say(process, await self._call(said, names, context))

    async def _call(self, said: dict[str, Any], names: list[str], context: ToolContext) -> dict[str, str]:
        """The tool's answer as the code gets it."""
        name, args, kwargs = said["call"], said["args"], said["kwargs"]
        assert context.calls is not None
        assert name in names
        parameters = context.calls.names[name]
        if len(args) > len(parameters):
            return {"error": f"{name} takes at most {len(parameters)} arguments: {', '.join(parameters)}"}
        given = dict(zip(parameters, args, strict=False))
        twice = given.keys() & kwargs.keys()
        if twice:
            return {"error": f"{name}: {', '.join(sorted(twice))} is given twice"}
        result = await context.calls.call(name, {**given, **kwargs})
        return {"error" if result.is_error else "value": result.content}

    def _result(self, done: dict[str, Any]) -> ToolResult:
        if "fault" in done:
            raise ToolFailed(f"The sandbox could not run: {done['fault']}")
        lines = [output.clean(done["printed"]).rstrip("\n")]
        if (left := done["printed_characters"] - len(done["printed"])) > 0:
            lines.append(f"[… {left:,} characters of what it printed left out …]")
        value, error = done.get("value"), done.get("error")
        if value is not None:
            lines.append(output.clean(value))
            if (left := done["value_characters"] - len(value)) > 0:
                lines.append(f"[… {left:,} characters of its value left out …]")
        if error is not None:
            lines.append(error.rstrip("\n"))
        text = "\n".join(filter(None, lines))
        preview = one_line(error.strip().rpartition("\n")[2] if error else value or text) or "(no output)"
        return ToolResult(text or "(no output)", is_error=error is not None, preview=preview)


async def _start() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-c", code_worker.STUB, str(Path(code_worker.__file__).parent)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=LARGEST_LINE,
        cwd="/",
        env={"PATH": os.defpath},
        start_new_session=True,
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    """It and the interpreter that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await reap(process)


def _say(process: asyncio.subprocess.Process, message: dict[str, Any]) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(message).encode() + b"\n")


async def _hear(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    try:
        line = await process.stdout.readline()
    except ValueError:
        raise ToolFailed("The code gave a tool more than can be passed on; give it less.") from None
    if not line:
        raise ToolFailed("The sandbox ended without a word: the code took too much memory, or crashed it.")
    said: dict[str, Any] = json.loads(line)
    return said
