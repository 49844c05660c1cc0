"""A toolset of this build, as the registry takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from hermes.core.ports import Tool
from hermes.core.toolset import ToolsetInfo


class Lasting(Protocol):
    """What outlives the calls of a toolset: processes, pages. Each returns when it is gone.

    `end_run`: the run was stopped, and what it began ends. `end_session`: the session is gone. `close`: all ends.
    """

    async def end_run(self, run_id: str) -> None: ...

    async def end_session(self, session_id: str) -> None: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Toolset:
    """A toolset of this build with its tools. `problem` says what it lacks to work whole, empty when nothing.

    `is_usable` False: nothing of it can work, so that only a request that names it gets it. `lasting`: what
    the registry ends with runs, sessions and itself.
    """

    info: ToolsetInfo
    tools: tuple[Tool, ...]
    problem: str = ""
    is_usable: bool = True
    lasting: Lasting | None = None
