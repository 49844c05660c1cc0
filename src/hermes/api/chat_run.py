"""The answer to a chat while its run goes on: plain or streamed, and what happens when the client leaves."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.types import Receive, Scope, Send

from hermes.api import sse
from hermes.api.chat_answer import answer_headers, chat_answer, failure, warnings
from hermes.api.chat_stream import ChatStream
from hermes.api.errors import kept_error_response
from hermes.api.services import Services
from hermes.core import event as events
from hermes.core.errors import Conflict, Draining, HermesError, NotFound, StoreUnavailable
from hermes.core.event import RunEvent, is_final, lasting
from hermes.core.run import Run, RunRequest


class ChatRun:
    """An ASGI answer that follows one run to its end."""

    def __init__(
        self,
        services: Services,
        run: Run,
        request: RunRequest,
        model: str,
        *,
        is_stream: bool,
        include_usage: bool,
    ) -> None:
        self.services = services
        self.run = run
        self.request = request
        self.model = model
        self.is_stream = is_stream
        self.include_usage = include_usage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with sse.Feed(self.services.runner.follow(self.run.id), receive, self.services.stop) as feed:
            if self.is_stream:
                await self._stream(feed, scope, send)
            else:
                await self._plain(feed, scope, receive, send)
            if feed.is_disconnected and not self.request.is_durable:
                await self._give_up(feed)

    async def _plain(self, feed: sse.Feed, scope: Scope, receive: Receive, send: Send) -> None:
        happened: list[RunEvent] = []
        while not (happened and is_final(happened[-1])):
            batch = await feed.next()
            happened += [kept.event for kept in lasting(batch)]
            if not batch and feed.is_over:
                break
        if happened and is_final(happened[-1]):
            answer = chat_answer(self.run, self.request, happened, self.model)
            await answer(scope, receive, send)
        elif not feed.is_disconnected:
            raise self._cut(feed)

    async def _stream(self, feed: sse.Feed, scope: Scope, send: Send) -> None:
        settings = self.services.settings
        stream = ChatStream(
            self.run,
            self.model,
            include_usage=self.include_usage,
            is_whole=not settings.is_streaming,
            tool_progress=settings.tool_progress,
        )
        happened = await self._until_begun(feed)
        if feed.is_disconnected:
            return
        told = answer_headers(self.run, self.request, warnings(happened))
        if happened and is_final(happened[-1]) and not any(isinstance(e, events.RunStarted) for e in happened):
            await kept_error_response(failure(happened[-1]), headers=told)(scope, _never, send)
            return
        if feed.is_stopping and not happened:
            raise self._cut(feed)
        await sse.begin(send, {**sse.HEADERS, **told})
        opening = [event for event in happened if not isinstance(event, events.Warned)]
        await sse.write(send, stream.first() + b"".join(map(stream.event, opening)))
        while not stream.has_ended and not feed.is_disconnected:
            try:
                batch = await feed.next(settings.keepalive_seconds)
            except Exception as error:  # noqa: BLE001 it is too late for a status
                await sse.write(send, stream.error(sse.told(error, self.run.id)))
                break
            body = b"".join([stream.event(kept.event) for kept in lasting(batch)])
            if not batch:
                body = stream.error(self._cut(feed)) if feed.is_over else sse.KEEP_ALIVE
            if body and not feed.is_disconnected:
                await sse.write(send, body)
        if not feed.is_disconnected:
            await sse.write(send, b"", is_last=True)

    async def _until_begun(self, feed: sse.Feed) -> list[RunEvent]:
        """What happened up to the run's beginning. A run that never gets a place is then refused with a status of its
        own; one that waits longer than the line lets it is answered, so that the client sees signs of life.
        """
        happened: list[RunEvent] = []
        while not any(isinstance(event, events.RunStarted) or is_final(event) for event in happened):
            batch = await feed.next(self.services.settings.queue_timeout_seconds + 1)
            happened += [kept.event for kept in lasting(batch)]
            if not batch:
                break
        return happened

    def _cut(self, feed: sse.Feed) -> HermesError:
        if feed.is_stopping or self.services.state() == "draining":
            return Draining("the gateway is stopping; the run can be read again after its restart")
        return StoreUnavailable(f"the events of run {self.run.id!r} ended before the run did")

    async def _give_up(self, feed: sse.Feed) -> None:
        """The client is gone: the run gets the grace to end by itself, then it is stopped. What was said is kept."""
        grace = asyncio.ensure_future(self.services.clock.sleep(self.services.settings.disconnect_grace_seconds))
        ended = asyncio.ensure_future(feed.ended())
        stopping = asyncio.Event()
        forget = self.services.stop.listen(stopping.set)
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
                await self.services.runner.stop(self.run.id, self.run.owner, "the client closed the connection")


async def _never() -> dict[str, str]:
    return {"type": "http.disconnect"}
