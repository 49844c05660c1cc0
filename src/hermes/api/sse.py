"""Server-sent events: reading a run while watching the client, and the bytes that every stream shares."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from types import TracebackType

from starlette.types import Message, Receive, Send

from hermes.api.services import Stop
from hermes.core.errors import HermesError
from hermes.core.event import KeptEvent

log = logging.getLogger(__name__)

KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"

HEADERS: dict[str, str] = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}

MAX_WAITING = 1000
"""Events that are read ahead of a slow client; further ones stay in the store."""


class Feed:
    """A run's events, and what else may end an answer: the client leaves, the server stops. Use as a context manager.

    `next` gives all events that are ready, so that they go out in one write. It gives none after a silence, and when
    `is_over`.
    """

    def __init__(self, events: AsyncIterator[KeptEvent], receive: Receive, stop: Stop) -> None:
        self.has_ended = False
        self.is_disconnected = False
        self._events = events
        self._receive = receive
        self._stop = stop
        self._ready: list[KeptEvent] = []
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._patience_ends = 0.0
        self._room: asyncio.Future[None] | None = None
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    async def __aenter__(self) -> Feed:
        loop = asyncio.get_running_loop()
        self._tasks = (loop.create_task(self._read()), loop.create_task(self._watch()))
        self._forget = self._stop.listen(self._wake)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._forget()
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def is_stopping(self) -> bool:
        return self._stop.is_set

    @property
    def is_over(self) -> bool:
        return self.has_ended or self.is_disconnected or self._stop.is_set

    async def next(self, silence_seconds: float | None = None) -> list[KeptEvent]:
        """Raises what reading the run raised, once everything before it was given."""
        if not self._ready and not self.is_over:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            if silence_seconds is not None:
                self._patience_ends = loop.time() + silence_seconds
                if self._timer is not None and self._timer.when() > self._patience_ends:
                    self._timer.cancel()
                    self._timer = None
                if self._timer is None:
                    self._timer = loop.call_at(self._patience_ends, self._silence)
            try:
                await self._waiter
            finally:
                self._waiter = None
        ready, self._ready = self._ready, []
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        if not ready and self._error is not None:
            raise self._error
        return ready

    async def ended(self) -> None:
        """Returns when the run's events have ended, read or not."""
        await asyncio.wait((self._tasks[0],))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _silence(self) -> None:
        """One timer serves many waits: most of them end before it, and then it is only moved."""
        loop = asyncio.get_running_loop()
        if self._waiter is not None and loop.time() < self._patience_ends:
            self._timer = loop.call_at(self._patience_ends, self._silence)
        else:
            self._timer = None
            self._wake()

    async def _read(self) -> None:
        try:
            async for kept in self._events:
                self._ready.append(kept)
                self._wake()
                if len(self._ready) >= MAX_WAITING:
                    self._room = asyncio.get_running_loop().create_future()
                    await self._room
        except Exception as error:  # noqa: BLE001 `next` raises it
            self._error = error
        finally:
            close = getattr(self._events, "aclose", None)  # left in the middle, a generator is not closed by itself
            if close is not None:
                await close()
        self.has_ended = True
        self._wake()

    async def _watch(self) -> None:
        message: Message = {}
        while message.get("type") != "http.disconnect":
            try:
                message = await self._receive()
            except Exception:  # noqa: BLE001 a body that is refused here was nobody's: this answer has its own
                break
        self.is_disconnected = True
        self._wake()


async def begin(send: Send, headers: dict[str, str]) -> None:
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 200, "headers": raw})


async def write(send: Send, body: bytes, *, is_last: bool = False) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": not is_last})


def told(error: Exception, run_id: str) -> HermesError:
    """What a reader is told when its stream, not the run, has failed. What is no business of his goes to the log."""
    if isinstance(error, HermesError):
        return error
    log.error("the stream of %s failed", run_id, exc_info=error)
    return HermesError("The stream failed inside the server; its log says why.")
