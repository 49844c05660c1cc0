"""The answer to a request while its run goes on: whole or streamed, and what happens when the client leaves."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hermes.api import sse
from hermes.api.chat.answer import failure
from hermes.api.errors import kept_error_response
from hermes.api.services import Services
from hermes.core import event as events
from hermes.core.errors import Conflict, Draining, HermesError, NotFound, StoreUnavailable
from hermes.core.event import KeptEvent, is_final
from hermes.core.run import Run


class RunAnswer(ABC):
    """An ASGI answer that follows one run to its end. `is_durable`: the run goes on whoever reads it."""

    def __init__(self, services: Services, run: Run, *, is_durable: bool) -> None:
        self.services = services
        self.run = run
        self.is_durable = is_durable

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with sse.Feed(self.services.runner.follow(self.run.id), receive, self.services.stop) as feed:
            await self.answer(feed, scope, receive, send)
            if feed.is_disconnected and not self.is_durable:
                await give_up(self.services, self.run, feed)

    @abstractmethod
    async def answer(self, feed: sse.Feed, scope: Scope, receive: Receive, send: Send) -> None: ...


class WholeAnswer(RunAnswer):
    """All at once, when the run has ended."""

    @abstractmethod
    async def whole(self, happened: Sequence[KeptEvent]) -> Response:
        """`happened` ends with the run's final event."""

    async def answer(self, feed: sse.Feed, scope: Scope, receive: Receive, send: Send) -> None:
        happened: list[KeptEvent] = []
        while not (happened and is_final(happened[-1].event)):
            batch = await feed.next()
            happened += batch
            if not batch and feed.is_over:
                break
        if happened and is_final(happened[-1].event):
            answer = await self.whole(happened)
            await answer(scope, receive, send)
        elif not feed.is_disconnected:
            raise cut_short(self.services, feed, self.run)


class StreamedAnswer(RunAnswer):
    """Server-sent events. What they look like is the protocol's, in the methods below.

    `waits_for_start`: it begins with the run, so that one which never gets a place is refused with a status of its own.
    """

    waits_for_start = True

    @abstractmethod
    def headers(self, happened: Sequence[KeptEvent]) -> dict[str, str]:
        """From what happened until it begins."""

    @abstractmethod
    async def opening(self, happened: Sequence[KeptEvent]) -> bytes:
        """How it begins, with what happened until then."""

    @abstractmethod
    async def more(self, happened: Sequence[KeptEvent]) -> bytes: ...

    @abstractmethod
    def broken(self, error: HermesError) -> bytes:
        """Its last words when it, not the run, has failed."""

    @property
    @abstractmethod
    def has_ended(self) -> bool:
        """Whether it has said its last words."""

    async def answer(self, feed: sse.Feed, scope: Scope, receive: Receive, send: Send) -> None:
        happened = await until_begun(feed, self.services) if self.waits_for_start else []
        if feed.is_disconnected:
            return
        told = self.headers(happened)
        refusal = refused(happened)
        if refusal is not None:
            await kept_error_response(refusal, headers=told)(scope, receive, send)
            return
        if feed.is_stopping and not happened:
            raise cut_short(self.services, feed, self.run)
        await sse.begin(send, {**sse.HEADERS, **told})
        await sse.write(send, await self.opening(happened))
        while not self.has_ended and not feed.is_disconnected:
            try:
                batch = await feed.next(self.services.settings.keepalive_seconds)
                body = await self.more(batch) if batch else b""
            except Exception as error:  # noqa: BLE001 it is too late for a status
                await sse.write(send, self.broken(sse.told(error, self.run.id)))
                break
            if not batch:
                body = self.broken(cut_short(self.services, feed, self.run)) if feed.is_over else sse.KEEP_ALIVE
            if body and not feed.is_disconnected:
                await sse.write(send, body)
        if not feed.is_disconnected:
            await sse.write(send, b"", is_last=True)


class EitherAnswer(WholeAnswer, StreamedAnswer):
    """Whole or streamed, as the request asks."""

    def __init__(self, services: Services, run: Run, *, is_stream: bool, is_durable: bool) -> None:
        super().__init__(services, run, is_durable=is_durable)
        self.is_stream = is_stream

    async def answer(self, feed: sse.Feed, scope: Scope, receive: Receive, send: Send) -> None:
        kind = StreamedAnswer if self.is_stream else WholeAnswer
        await kind.answer(self, feed, scope, receive, send)


async def until_begun(feed: sse.Feed, services: Services) -> list[KeptEvent]:
    """What happened up to the run's beginning. A run that never gets a place is then refused with a status of its
    own; one that waits longer than the line lets it is answered, so that the client sees signs of life.
    """
    happened: list[KeptEvent] = []
    while not any(isinstance(kept.event, events.RunStarted) or is_final(kept.event) for kept in happened):
        batch = await feed.next(services.settings.queue_timeout_seconds + 1)
        happened += batch
        if not batch:
            break
    return happened


def refused(happened: Sequence[KeptEvent]) -> dict[str, object] | None:
    """The error of a run that ended before it began."""
    if not happened or not is_final(happened[-1].event):
        return None
    if any(isinstance(kept.event, events.RunStarted) for kept in happened):
        return None
    return dict(failure(happened[-1].event))


def cut_short(services: Services, feed: sse.Feed, run: Run) -> HermesError:
    """A run that is parked has no end yet, and its events have."""
    if feed.is_stopping or services.state() == "draining":
        return Draining("the gateway is stopping; the run can be read again after its restart")
    return StoreUnavailable(f"the events of run {run.id!r} ended before the run did")


async def give_up(services: Services, run: Run, feed: sse.Feed) -> None:
    """The client is gone: the run gets the grace to end by itself, then it is stopped. What was said is kept."""
    grace = asyncio.ensure_future(services.clock.sleep(services.settings.disconnect_grace_seconds))
    ended = asyncio.ensure_future(feed.ended())
    stopping = asyncio.Event()
    forget = services.stop.listen(stopping.set)
    stopped = asyncio.ensure_future(stopping.wait())
    try:
        if not feed.is_stopping:
            await asyncio.wait((grace, ended, stopped), return_when=asyncio.FIRST_COMPLETED)
    finally:
        forget()
        for waiting in (grace, ended, stopped):
            waiting.cancel()
    if not feed.has_ended and not feed.is_stopping:
        with contextlib.suppress(Conflict, NotFound):
            await services.runner.stop(run.id, run.owner, "the client closed the connection")
