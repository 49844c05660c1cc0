"""Server-sent events: `id`, `event` and `data`, a comment in silence, and an end as soon as there is a reason for one.

A stream ends when its iterator does, when its client leaves, when the device behind it is revoked, and when the service
stops. What came meanwhile goes out in one write.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hermes.core.clock import Clock
from hermes.core.errors import HermesError

log = logging.getLogger(__name__)

KEEP_ALIVE = b": keep-alive\n\n"
SILENCE_SECONDS = 15.0

HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}

MAX_WAITING_BYTES = 256 * 1024
"""Of frames that are read ahead of a slow client; the rest stays where it is kept."""

CUT_SECONDS = 0.3
"""How long an end may take to be told to a client that reads nothing."""

Event = tuple[int | None, str, bytes | dict[str, Any]]
"""Its id, None where the stream cannot be resumed there; its type, empty for none; its data, as JSON already or to
become it. With neither type nor data it says from where a client that is cut off goes on."""


def events_response(request: Request, events: AsyncIterator[Event], until_revoked: asyncio.Event) -> Response:
    """`until_revoked` is `link.devices.revoked(caller.device_id)`. Look for what may be missing before: here it is 200.

    `events` is closed when the stream ends. What it raises breaks the connection off, so that the client resumes.
    """
    link = request.app.state.link
    return EventsResponse(events, (until_revoked, link.stopping), link.clock)


def frame(event: Event) -> bytes:
    event_id, kind, data = event
    if not kind and not data:
        return b"id: %d\n\n" % event_id if event_id is not None else b""
    body = data if isinstance(data, bytes) else orjson.dumps(data)
    head = b"" if event_id is None else b"id: %d\n" % event_id
    name = b"event: %b\n" % kind.encode() if kind else b""
    return b"%b%bdata: %b\n\n" % (head, name, body)


class EventsResponse(Response):
    def __init__(self, events: AsyncIterator[Event], ends: Sequence[asyncio.Event], clock: Clock) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._events = events
        self._ends = ends
        self._clock = clock
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._some, self._room = asyncio.Event(), asyncio.Event()
        self._is_read = False
        self._error: Exception | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(self._write(send))
            ends = [group.create_task(wait) for wait in (_left(receive), *(end.wait() for end in self._ends))]
            others = [group.create_task(self._read()), group.create_task(self._keep_alive())]
            await asyncio.wait((writing, *ends), return_when=asyncio.FIRST_COMPLETED)
            for task in (writing, *ends, *others):
                task.cancel()
        if isinstance(self._error, HermesError):  # nothing ends the answer: the server closes the connection
            log.warning("a stream broke off: %s", self._error.message)
            return
        if self._error is not None:
            raise self._error
        with suppress(TimeoutError):  # a client that reads nothing
            await asyncio.wait_for(send({"type": "http.response.body", "body": b"", "more_body": False}), CUT_SECONDS)

    async def _read(self) -> None:
        try:
            async for event in self._events:
                self._put(frame(event))
                if self._waiting_bytes > MAX_WAITING_BYTES:
                    self._room.clear()
                    await self._room.wait()
        except Exception as error:  # noqa: BLE001 `__call__` raises it, when what came before is sent
            self._error = error
        finally:
            close = getattr(self._events, "aclose", None)  # left in the middle, a generator is not closed by itself
            if close is not None:
                await close()
        self._is_read = True
        self._some.set()

    async def _keep_alive(self) -> None:
        while True:
            await self._clock.sleep(SILENCE_SECONDS)
            if not self._waiting:
                self._put(KEEP_ALIVE)

    async def _write(self, send: Send) -> None:
        while self._waiting or not self._is_read:
            await self._some.wait()
            self._some.clear()
            ready, self._waiting, self._waiting_bytes = self._waiting, [], 0
            self._room.set()
            if ready:
                await send({"type": "http.response.body", "body": b"".join(ready), "more_body": True})

    def _put(self, data: bytes) -> None:
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self._some.set()


async def _left(receive: Receive) -> None:
    with suppress(HermesError):  # a body that nobody asked for, too large or too slow
        while (await receive())["type"] != "http.disconnect":
            pass
