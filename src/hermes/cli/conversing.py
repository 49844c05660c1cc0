"""One turn at a terminal: its events are shown, its questions are put to the person, Ctrl-C stops it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from hermes.cli.keyboard import pressed_keys
from hermes.cli.live import View
from hermes.cli.talk import Talk
from hermes.core import event as events
from hermes.core.errors import HermesError
from hermes.core.event import RunEvent
from hermes.core.run import Run

TICK_SECONDS = 0.1
QUIET_SECONDS = 0.5
"""What somebody typed on before he saw a question is no answer to it: a key counts after a pause."""
ENTER = ("\r", "\n")
ERASE = ("\x7f", "\x08")
ERASE_LINE = "\x15"
WRITE_AN_ANSWER = "write your answer, or the number of one of those, and press Enter"
KEYS = {"o": "once", "y": "once", "s": "session", "a": "always", "d": "deny", "n": "deny", "\x1b": "deny"}


@dataclass(slots=True)
class Ended:
    """`typed`: what the person had begun to write. `leaves`: Ctrl-C twice. `final`: None when it was left."""

    final: RunEvent | None
    typed: str
    leaves: bool = False


@dataclass(slots=True)
class Conversing:
    """What the person does while a run goes on. `presses` has one item for each Ctrl-C, since before the run began."""

    talk: Talk
    run: Run
    view: View
    presses: asyncio.Queue[None]
    monotonic: Callable[[], float] = time.monotonic
    _typed: str = ""
    _questions: list[events.ApprovalRequested] = field(default_factory=list)
    _clarifications: list[events.ClarifyRequested] = field(default_factory=list)
    _asked_at: float = 0.0
    _pressed_at: float = 0.0
    _has_keys: bool = False

    async def to_its_end(self) -> Ended:
        final: RunEvent | None = None
        async with asyncio.TaskGroup() as group:
            with pressed_keys(lambda text: self._hear(text, group)) as has_keys:
                self._has_keys = has_keys
                ticking = group.create_task(self._tick())
                showing = group.create_task(self._show(group))
                leaving = group.create_task(self._pressed_twice(group))
                await asyncio.wait((showing, leaving), return_when=asyncio.FIRST_COMPLETED)
                is_left = leaving.done()
                for task in (ticking, leaving, showing):
                    task.cancel()
                await asyncio.wait((showing,))
                final = None if showing.cancelled() else showing.result()
        return Ended(final, self._typed, is_left)

    async def _show(self, group: asyncio.TaskGroup) -> RunEvent | None:
        try:
            async for kept in self.talk.follow(self.run):
                self.view.show(kept.event)
                self._take_in(kept.event, group)
                if events.is_final(kept.event):
                    return kept.event
        except HermesError as error:
            self.view.note(error.message)
        return None

    def _take_in(self, event: RunEvent, group: asyncio.TaskGroup) -> None:
        match event:
            case events.ApprovalRequested():
                self._questions.append(event)
                self._ask(group)
            case events.ApprovalResponded(approval_id=answered):  # here, or by another who may
                self._questions = [one for one in self._questions if one.approval_id != answered]
                self._ask(group)
            case events.ClarifyRequested():
                self._clarifications.append(event)
                self._ask(group)
            case events.ClarifyResponded(clarify_id=answered):
                self._clarifications = [one for one in self._clarifications if one.clarify_id != answered]
                self._ask(group)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.view.tick()

    def _ask(self, group: asyncio.TaskGroup) -> None:
        if not self._questions:
            self.view.ask(WRITE_AN_ANSWER if self._clarifications else "")
            return
        self._asked_at = self.monotonic()
        words = [f"[{choice[0]}] {choice}" for choice in self._questions[0].choices]
        self.view.ask("  ".join(words) + " ?")
        if not self._has_keys:
            self.view.note("nobody can press a key here: denied")
            self._answer("deny", group)

    def _answer(self, choice: str, group: asyncio.TaskGroup) -> None:
        question = self._questions.pop(0)
        self._do(self.talk.answer(self.run, question.approval_id, choice), group)
        self._ask(group)

    def _hear(self, text: str, group: asyncio.TaskGroup) -> None:
        now = self.monotonic()
        is_meant = now - max(self._asked_at, self._pressed_at) >= QUIET_SECONDS
        self._pressed_at = now
        if self._questions:
            choice = KEYS.get(text.lower())
            if is_meant and choice is not None and choice in self._questions[0].choices:
                self._answer(choice, group)
            return
        for key in text:
            if key in ENTER:
                self._send(group)
            elif key in ERASE:
                self._typed = self._typed[:-1]
            elif key == ERASE_LINE:
                self._typed = ""
            elif key.isprintable():
                self._typed += key
        self.view.type(self._typed)

    def _send(self, group: asyncio.TaskGroup) -> None:
        text, self._typed = self._typed.strip(), ""
        if text in ("/stop", "/quit", "/exit"):
            self._do(self.talk.stop(self.run), group)
        elif text and self._clarifications:
            question = self._clarifications.pop(0)
            is_number = text.isdecimal() and 1 <= int(text) <= len(question.choices)
            answer = question.choices[int(text) - 1] if is_number else text
            self._do(self.talk.clarify(self.run, question.clarify_id, answer), group)
            self._ask(group)
        elif text:
            self._do(self._steer(text), group)

    def _do(self, work: Coroutine[Any, Any, object], group: asyncio.TaskGroup) -> None:
        async def told() -> None:
            try:
                await work
            except HermesError as error:
                self.view.note(error.message)

        group.create_task(told())

    async def _steer(self, text: str) -> None:
        if not await self.talk.steer(self.run, text):
            self._typed = text  # too late: it is in the next prompt

    async def _pressed_twice(self, group: asyncio.TaskGroup) -> None:
        """Ctrl-C stops the run; once more leaves it."""
        await self.presses.get()
        self._do(self.talk.stop(self.run), group)
        await self.presses.get()
