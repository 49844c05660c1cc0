"""How careful a session is: a mode of the protocol, held by a gate around the home's own.

A mode makes a session stricter than the home, never laxer (docs/adr/0118).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from hermes.core.errors import ToolFailed
from hermes.core.ids import new_id
from hermes.core.ports import Account, Action, ActionKind, ApprovalAnswer, ApprovalDesk, ApprovalGate, ApprovalQuestion
from hermes.core.run import Ask

PLAN_INSTRUCTIONS = (
    "The user has put this session into plan mode: look, think, and say what you would change and why. Nothing is "
    "written or run in this mode; the user switches it off to let you work."
)

WRITES_WHOLE_FILES = "write_file"
"""The tool whose arguments do not say what it replaces."""


class Mode(StrEnum):
    DEFAULT = "default"
    ASK = "ask"
    PLAN = "plan"


TITLES: dict[Mode, tuple[str, str]] = {
    Mode.DEFAULT: ("Default", "Edits files, and asks before dangerous calls, as the settings of the home say."),
    Mode.ASK: ("Ask", "Asks before it writes a file, runs a command or calls another program."),
    Mode.PLAN: ("Plan", "Reads and plans. Writes nothing and runs nothing."),
}
"""Name and description, as an editor shows them."""

ReadText = Callable[[Path], str | None]
ParentOf = Callable[[str], Awaitable[str | None]]


async def _no_parent(session_id: str) -> str | None:
    return None


@dataclass(slots=True)
class Modes:
    """The modes of the sessions that are open in this process. A sub-agent's session is in the mode of the one that
    delegated to it.

    `read_text` gives what is in a file that is about to be written, None where there is none or it may not be read;
    `parent_of` the session whose run made another.
    """

    read_text: ReadText = lambda path: None
    parent_of: ParentOf = _no_parent
    _modes: dict[str, Mode] = field(default_factory=dict)
    _parents: dict[str, str] = field(default_factory=dict)
    _allowed: dict[str, set[str]] = field(default_factory=dict)
    _before: dict[tuple[str, str], dict[Path, str | None]] = field(default_factory=dict)

    def of(self, session_id: str) -> Mode:
        return self._modes.get(session_id, Mode.DEFAULT)

    def set(self, session_id: str, mode: Mode) -> None:
        self._modes[session_id] = mode

    async def holder(self, session_id: str) -> str:
        """The open session whose mode holds for a session."""
        while session_id not in self._modes:
            if session_id not in self._parents:
                self._parents[session_id] = await self.parent_of(session_id) or ""
            if not self._parents[session_id]:
                break
            session_id = self._parents[session_id]
        return session_id

    def forget(self, session_id: str) -> None:
        self._modes.pop(session_id, None)
        self._allowed.pop(session_id, None)
        self._parents = {child: parent for child, parent in self._parents.items() if parent != session_id}

    def end_run(self, run_id: str) -> None:
        for key in [key for key in self._before if key[0] == run_id]:
            del self._before[key]

    def before(self, run_id: str, tool_call_id: str) -> dict[Path, str | None]:
        """What was in the files that a call was about to write whole."""
        return self._before.get((run_id, tool_call_id), {})

    def around(self, make_gate: Callable[[ApprovalDesk], ApprovalGate]) -> Callable[[ApprovalDesk], ApprovalGate]:
        return lambda desk: _ModeGate(self, make_gate(desk), desk)


@dataclass(frozen=True, slots=True)
class _ModeGate:
    """The gate of one run."""

    modes: Modes
    inner: ApprovalGate
    desk: ApprovalDesk

    async def check(
        self,
        *,
        tool: str,
        tool_call_id: str,
        action: Action,
        run_id: str,
        session_id: str,
        ask: Ask,
        account: Account | None = None,
    ) -> object:
        holder = await self.modes.holder(session_id)
        mode = self.modes.of(holder)
        changes = action.kind is not ActionKind.READ
        if changes and mode is Mode.PLAN:
            raise ToolFailed(
                f"Not run: the session is in plan mode, in which {tool} may change nothing. Say what you would do.",
                code="approval_denied_by_policy",
            )
        if tool == WRITES_WHOLE_FILES:
            before = await asyncio.to_thread(lambda: {path: self.modes.read_text(path) for path in action.paths})
            self.modes._before[run_id, tool_call_id] = before
        answer = await self.inner.check(
            tool=tool,
            tool_call_id=tool_call_id,
            action=action,
            run_id=run_id,
            session_id=session_id,
            ask=ask,
            account=account,
        )
        was_asked = isinstance(answer, ApprovalAnswer) and answer.outcome == "user"
        allowed = self.modes._allowed.setdefault(holder, set())
        if changes and mode is Mode.ASK and not was_asked and tool not in allowed:
            answer = await self._ask(tool, tool_call_id, action, run_id, session_id, ask)
            if answer.choice == "session":
                allowed.add(tool)
        return answer

    async def _ask(
        self, tool: str, tool_call_id: str, action: Action, run_id: str, session_id: str, ask: Ask
    ) -> ApprovalAnswer:
        if ask is not Ask.WAIT:
            raise ToolFailed(f"Not run: the session asks before {tool}, and nobody can be asked here.")
        answer = await self.desk.ask(
            ApprovalQuestion(
                id=new_id("appr"),
                run_id=run_id,
                session_id=session_id,
                tool=tool,
                tool_call_id=tool_call_id,
                command=action.text,
                description=f"This uses {tool}, and the session asks before everything that writes or runs.",
                pattern=f"mode:{tool}",
                choices=("once", "session", "deny"),
                allow_permanent=False,
            )
        )
        if answer.choice == "deny":
            why = "nobody answered in time, which counts as a no" if answer.outcome == "timeout" else "the user said no"
            raise ToolFailed(f"Not run: {why}. Find another way or ask what to do.", code="approval_denied")
        return answer
