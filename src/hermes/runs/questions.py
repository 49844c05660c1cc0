"""Waiting for what a person answers. A question and its answer are rows: whoever wrote the answer, here or on another
node, the one who asked hears it; of an answer and the end of the time one wins, in the row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from hermes.core.clock import Clock
from hermes.runs.events import Recorder
from hermes.store.database import Connection, Database

Answer = TypeVar("Answer")


class Questions(Generic[Answer]):
    """The open questions of one run.

    `get_answer` reads the answer of a question's row, `resolve` writes one that nobody has given yet, and `tell` makes
    an answer an event of the run. `late` is the answer that the end of the time is.
    """

    def __init__(
        self,
        database: Database,
        recorder: Recorder,
        clock: Clock,
        timeout_seconds: float,
        *,
        get_answer: Callable[[Connection, str], Answer | None],
        resolve: Callable[[Connection, str, Answer, float], object],
        tell: Callable[[str, Answer], Awaitable[None]],
        late: Answer,
    ) -> None:
        self._database = database
        self._recorder = recorder
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._get_answer = get_answer
        self._resolve = resolve
        self._tell = tell
        self._late = late
        self._waiting: dict[str, asyncio.Future[Answer]] = {}

    @property
    def are_open(self) -> bool:
        return bool(self._waiting)

    async def given(self, question_id: str) -> Answer | None:
        """The answer that came while nobody conducted the run; it is told now."""
        answer = await self._database.read(self._get_answer, question_id)
        if answer is not None:
            await self._tell(question_id, answer)
        return answer

    async def ask(
        self, question_id: str, record: Callable[[float, float, Callable[[], None]], Awaitable[object]]
    ) -> Answer:
        """`record(now, expires_at, before_sent)` keeps the question and its event. Always returns, unless cancelled."""
        now = self._clock.now()
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def show() -> None:
            self._waiting[question_id] = answer

        try:
            await record(now, now + self._timeout_seconds, show)
            await self.settle()  # answered in the moment in which it was asked
            timer = asyncio.ensure_future(self._clock.sleep(self._timeout_seconds))
            try:
                await asyncio.wait((answer, timer), return_when=asyncio.FIRST_COMPLETED)
            finally:
                timer.cancel()
            if not answer.done():
                await self._expire(question_id)
            return await answer
        finally:
            self._waiting.pop(question_id, None)

    async def settle(self) -> None:
        """Take up the answers that are kept: each is an event of the run, and goes to whoever waits for it."""
        for question_id in tuple(self._waiting):
            given = await self._database.read(self._get_answer, question_id)
            answer = self._waiting.pop(question_id, None) if given is not None else None
            if given is None or answer is None:
                continue
            try:
                await self._tell(question_id, given)
            finally:
                if not answer.done():
                    answer.set_result(given)

    async def _expire(self, question_id: str) -> None:
        """Nobody answered, unless somebody does in this moment: of the two one wins."""
        fence, now = self._recorder.fence, self._clock.now()

        def resolve(conn: Connection) -> None:
            fence(conn)
            self._resolve(conn, question_id, self._late, now)

        await self._database.write(resolve, durable=True)
        await self.settle()
