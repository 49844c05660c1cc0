"""A toolset of this build, as the registry takes it."""

from __future__ import annotations

from dataclasses import dataclass

from hermes.core.ports import Tool
from hermes.core.toolset import ToolsetInfo


@dataclass(frozen=True, slots=True)
class Toolset:
    """A toolset of this build with its tools. `problem` says what it lacks to work whole, empty when nothing.

    `is_usable` False: nothing of it can work, so that it is offered to nobody who did not name it.
    """

    info: ToolsetInfo
    tools: tuple[Tool, ...]
    problem: str = ""
    is_usable: bool = True
