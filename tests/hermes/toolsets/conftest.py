from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from hermes.core.clock import SystemClock
from hermes.core.ports import Tool, ToolContext, ToolResult
from hermes.toolsets.environment import child_environment
from hermes.toolsets.registry import Registry, build_registry
from hermes.toolsets.settings import FileSettings, TerminalSettings

TERMINAL = TerminalSettings(kill_grace_seconds=1.0, cancel_grace_seconds=0.2)


@dataclass
class Bench:
    """The tools of one registry, called as a turn calls them."""

    registry: Registry
    workdir: Path
    run_dir: Path
    home: Path
    environment: dict[str, str] = field(default_factory=lambda: child_environment(os.environ))
    states: dict[str, dict[str, Any]] = field(default_factory=dict)

    def tool(self, name: str) -> Tool:
        return self.registry.tools[name]

    def context(self, session: str = "s1", run: str = "run_1") -> ToolContext:
        return ToolContext(
            session_id=session,
            run_id=run,
            tool_call_id="call_1",
            workdir=self.workdir,
            home=self.home,
            clock=SystemClock(),
            environment=self.environment,
            state=self.states.setdefault(session, {}),
        )

    async def call(self, name: str, *, session: str = "s1", run: str = "run_1", **arguments: Any) -> ToolResult:
        tool = self.tool(name)
        return await tool.run(tool.parse(json.dumps(arguments)), self.context(session, run))

    async def sh(self, command: str, **arguments: Any) -> ToolResult:
        return await self.call("terminal", command=command, **arguments)

    async def started(self, command: str, **arguments: Any) -> str:
        """The id of a process started in the background."""
        result = await self.sh(command, background=True, **arguments)
        return result.preview.removeprefix("started ")


MakeBench = Callable[..., Bench]


@pytest.fixture
async def make_bench(tmp_path: Path) -> AsyncIterator[MakeBench]:
    made: list[Bench] = []

    def make(
        terminal: TerminalSettings = TERMINAL,
        files: FileSettings | None = None,
        secrets: tuple[str, ...] = (),
        environ: dict[str, str] | None = None,
    ) -> Bench:
        workdir, home = tmp_path / "work", tmp_path / "home"
        workdir.mkdir(exist_ok=True)
        home.mkdir(exist_ok=True)
        registry = build_registry(
            run_dir=tmp_path / "run", home=home, terminal=terminal, files=files, secrets=secrets, environ=environ
        )
        made.append(Bench(registry, workdir, tmp_path / "run", home))
        return made[-1]

    yield make
    for bench in made:
        await bench.registry.close()


@pytest.fixture
def bench(make_bench: MakeBench) -> Bench:
    return make_bench()


def living(command: str) -> list[psutil.Process]:
    """Processes that run this command line; zombies are dead."""
    found = []
    for process in psutil.process_iter():
        try:
            if " ".join(process.cmdline()) == command and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def gone_within(seconds: float, command: str) -> bool:
    deadline = time.monotonic() + seconds
    while living(command):
        if time.monotonic() > deadline:
            return False
    return True


def alive_within(seconds: float, command: str) -> bool:
    deadline = time.monotonic() + seconds
    while not living(command):
        if time.monotonic() > deadline:
            return False
    return True
