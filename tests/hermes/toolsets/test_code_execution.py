"""`execute_code`: what it can, and what hostile code cannot."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from hermes.core.clock import SystemClock
from hermes.core.errors import ToolFailed
from hermes.core.ports import ToolContext, ToolResult
from hermes.toolsets.code_execution import CodeSettings, ExecuteCodeTool
from tests.support import waiting

SETTINGS = CodeSettings(seconds=2, memory_bytes=64 << 20, output_characters=1000)


@dataclass
class Recorded:
    """Tools of a run: `read` gives back its arguments, `broken` fails."""

    made: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    waits: asyncio.Event | None = None

    @property
    def names(self) -> Mapping[str, Sequence[str]]:
        return {"read": ("path", "limit"), "broken": (), "execute_code": ("code",), "clarify": ("question",)}

    async def call(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        self.made.append((name, arguments))
        if self.waits is not None:
            await self.waits.wait()
        if name == "broken":
            return ToolResult("it is denied", is_error=True)
        return ToolResult(json.dumps(arguments))


def context(calls: Recorded | None = None) -> ToolContext:
    return ToolContext("s", "run_1", "call_1", Path("/"), None, SystemClock(), {}, {}, calls=calls)


async def run(code: str, calls: Recorded | None = None, settings: CodeSettings = SETTINGS) -> ToolResult:
    tool = ExecuteCodeTool(settings)
    return await tool.run(tool.parse(json.dumps({"code": code})), context(calls))


Sandboxes = Callable[[], list[psutil.Process]]


def children() -> list[psutil.Process]:
    """Those that this process started, and what they started."""
    return [each for each in psutil.Process().children(recursive=True) if each.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def sandboxes() -> Sandboxes:
    """Those of this test: processes of another one may be ending still."""
    before = {each.pid for each in children()}
    return lambda: [each for each in children() if each.pid not in before]


async def test_what_is_printed_and_the_last_value_come_back() -> None:
    result = await run("import math\nprint('a', 1)\nx = [n * n for n in range(4)]\nprint(x)\nmath.floor(2.5) + 40")

    assert result == ToolResult("a 1\n[0, 1, 4, 9]\n42", preview="42")
    assert await run("x = 1") == ToolResult("(no output)", preview="(no output)")
    assert (await run("'text as it is'")).content == "text as it is"


async def test_nothing_is_kept_from_call_to_call() -> None:
    await run("x = 1")

    assert (await run("x")).content.endswith("NameError: name 'x' is not defined")


async def test_an_error_is_told_with_its_line_behind_what_was_printed() -> None:
    result = await run("print('before')\n1 / 0")

    assert result.is_error
    assert result.preview == "ZeroDivisionError: division by zero"
    assert result.content.startswith("before\nTraceback (most recent call last):\n")
    assert "line 2, in <module>" in result.content
    assert (await run("def f(:")).preview.startswith("SyntaxError: ")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("while True: pass", "TimeoutError: feed time limit exceeded"),
        ("import time\nwhile True: time.sleep(1)", "TimeoutError"),
        ("x = 'a'\nwhile True: x += x", "MemoryError: memory limit exceeded"),
        ("[0] * 10**10", "MemoryError: memory limit exceeded"),
        ("10 ** 10 ** 9", "MemoryError: memory limit exceeded"),
        ("x = []\nwhile True: x.append(x[:])", "MemoryError: memory limit exceeded"),
        ("def f(n): return f(n + 1)\nf(0)", "RecursionError"),
        ("import os\nos.listdir('/')", "PermissionError: Permission denied: '/'"),
        ("import os\nos.environ", "RuntimeError: 'os.environ' is not supported"),
        ("import os\nos.system('id')", "AttributeError"),
        ("open('/etc/passwd').read()", "PermissionError: Permission denied: '/etc/passwd'"),
        ("open('/tmp/hermes-was-here', 'w')", "PermissionError: Permission denied: '/tmp/hermes-was-here'"),
        ("from pathlib import Path\nPath('/etc/passwd').read_text()", "PermissionError"),
        ("import subprocess", "ModuleNotFoundError: No module named 'subprocess'"),
        ("import socket", "ModuleNotFoundError: No module named 'socket'"),
        ("import ctypes", "ModuleNotFoundError: No module named 'ctypes'"),
        ("import urllib.request", "ModuleNotFoundError"),
        ("().__class__.__bases__[0].__subclasses__()", "AttributeError: 'tuple' object has no attribute '__class__'"),
        ("(lambda: 0).__globals__", "AttributeError"),
        ("[].append.__self__.__reduce_ex__(4)", "AttributeError"),
        ("__import__('os').system('id')", "NameError"),
        ("getattr((), '__cla' + 'ss__')", "AttributeError"),
        ("exec('import socket')", "ModuleNotFoundError: No module named 'socket'"),
        ("input()", "NameError: name 'input' is not defined"),
        ("import sys\nsys.modules['os']", "Error"),
    ],
)
async def test_hostile_code_gets_an_error_and_nothing_else(code: str, said: str, sandboxes: Sandboxes) -> None:
    result = await run(code)

    assert result.is_error
    assert said in result.content.splitlines()[-1]
    assert len(result.content) < 3000
    assert not sandboxes()
    assert not Path("/tmp/hermes-was-here").exists()


async def test_a_flood_of_output_is_cut_and_its_size_is_told() -> None:
    result = await run("while True: print('x' * 1000)")
    short = await run("print('a' * 1500)\n'b' * 1500")

    assert result.content.startswith("xxx")
    assert "characters of what it printed left out …]\n" in result.content
    assert len(result.content) < 2500
    assert short.content == (
        f"{'a' * 1000}\n[… 501 characters of what it printed left out …]\n"
        f"{'b' * 1000}\n[… 500 characters of its value left out …]"
    )


async def test_stopping_ends_an_endless_loop_within_a_second_and_the_event_loop_never_waits(
    sandboxes: Sandboxes,
) -> None:
    call = asyncio.create_task(run("while True: pass", settings=replace(SETTINGS, seconds=60)))
    while len(sandboxes()) < 2:
        await asyncio.sleep(0.01)
    loop = asyncio.get_running_loop()
    began = loop.time()

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert loop.time() - began < 1
    waiting.eventually(lambda: not sandboxes(), seconds=1)


async def test_tools_are_functions_by_position_and_by_name() -> None:
    calls = Recorded()

    result = await run("a = read('a.txt', limit=2)\nb = read(path='b.txt')\nprint(a)\nlen(b)", calls)

    assert result.content == '{"path": "a.txt", "limit": 2}\n17'
    assert calls.made == [("read", {"path": "a.txt", "limit": 2}), ("read", {"path": "b.txt"})]


async def test_a_tool_that_fails_raises_what_the_code_may_catch() -> None:
    calls = Recorded()
    code = "try:\n  broken()\nexcept RuntimeError as error:\n  print('caught', error)\n"

    assert (await run(code, calls)).content == "caught it is denied"
    assert (await run("broken()", calls)).preview == "RuntimeError: it is denied"
    assert (await run("read(1, 2, 3)", calls)).preview == "RuntimeError: read takes at most 2 arguments: path, limit"
    assert (await run("read(1, path=2)", calls)).preview == "RuntimeError: read: path is given twice"
    assert "TypeError: read: arguments are text, numbers" in (await run("read({1, 2})", calls)).content
    made = len(calls.made)
    assert (await run("read('x' * 3_000_000)", calls)).preview == (
        "ValueError: read: 3,000,044 characters of arguments; at most 1,048,576 are passed on"
    )
    assert len(calls.made) == made


@pytest.mark.parametrize("name", ["execute_code", "clarify", "nothing"])
async def test_code_calls_neither_itself_nor_what_asks_a_person(name: str) -> None:
    calls = Recorded()

    assert (await run(f"{name}('1')", calls)).preview == f"NameError: name '{name}' is not defined"
    assert calls.made == []


async def test_the_number_of_calls_is_limited() -> None:
    calls = Recorded()
    result = await run("while True: read('a')", calls, replace(SETTINGS, max_calls=3))

    assert result.preview == "RuntimeError: at most 3 tools are called by one execution"
    assert len(calls.made) == 3


async def test_the_time_that_a_tool_takes_is_not_the_codes() -> None:
    calls = Recorded(waits=asyncio.Event())
    assert calls.waits is not None
    call = asyncio.create_task(run("read('a')", calls, replace(SETTINGS, seconds=0.5)))
    while not calls.made:
        await asyncio.sleep(0.01)
    asyncio.get_running_loop().call_later(1, calls.waits.set)

    assert (await call).content == '{"path": "a"}'


GATEWAY = """
import asyncio, pathlib
from hermes.core.clock import SystemClock
from hermes.core.ports import ToolContext
from hermes.toolsets.code_execution import CodeSettings, ExecuteCodeTool
tool = ExecuteCodeTool(CodeSettings(seconds=500))
context = ToolContext("s", "run", "call", pathlib.Path("/"), None, SystemClock(), {}, {})
asyncio.run(tool.run(tool.parse('{"code": "while True: pass"}'), context))
"""


def test_a_sandbox_does_not_outlive_a_killed_gateway() -> None:
    gateway = subprocess.Popen([sys.executable, "-c", GATEWAY])
    found = waiting.eventually(
        lambda: [each for each in [psutil.Process(gateway.pid).children(recursive=True)] if len(each) >= 2], seconds=20
    )[0]

    gateway.kill()
    gateway.wait()

    _, alive = psutil.wait_procs(found, timeout=3)
    assert alive == []


async def test_the_sandbox_has_an_empty_environment(monkeypatch: pytest.MonkeyPatch, sandboxes: Sandboxes) -> None:
    monkeypatch.setenv("SOME_API_KEY", "secret-of-the-gateway")
    call = asyncio.create_task(run("while True: pass"))
    try:
        names: set[str] | None = None
        async with asyncio.timeout(20):
            while names is None or not names <= {"PATH", "LC_CTYPE"}:  # between fork and exec a child shows ours
                await asyncio.sleep(0.01)
                if len(mine := sandboxes()) >= 2:
                    names = {name for each in mine for name in each.environ()}
        assert names <= {"PATH", "LC_CTYPE"}
    finally:
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


async def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ToolFailed, match="execute_code: code: is missing"):
        ExecuteCodeTool(SETTINGS).parse("{}")
