"""The WebSocket form of the responses API: `response.create` messages in, the events of each response out, in turn.

What was made with `store: false` is remembered by its connection alone, and only the newest: a client goes on from it
with `previous_response_id` for as long as the connection lives.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

from hermes.api import sse
from hermes.api.auth import Principal
from hermes.api.errors import error_envelope, kept_envelope, rule_of, rule_of_kept
from hermes.api.limits import parse_json
from hermes.api.responses.answer import ToolOutputs, response_id
from hermes.api.responses.chain import Past, Started, start
from hermes.api.responses.handlers import referenced
from hermes.api.responses.request import ResponseCall, parse
from hermes.api.responses.stream import ResponseStream
from hermes.api.run_answer import cut_short, give_up, refused, until_begun
from hermes.api.services import Services
from hermes.core.errors import Busy, HermesError, InvalidInput
from hermes.http.headers import RawHeaders
from hermes.store import sessions as session_store

log = logging.getLogger(__name__)

MAX_WAITING = 32
"""Messages that are read ahead while a response is under way. A client that sends more, or more than one message may
have together, is cut off: were it made to wait, nobody would hear that it left, or that its key was revoked.
"""
GOING_AWAY = 1001
TRY_LATER = 1013


async def serve(socket: WebSocket, services: Services) -> None:
    """The life of one connection. Its headers hold for every response on it."""
    await socket.accept()
    connection = _Connection(socket, services)
    reader = asyncio.ensure_future(connection.read())
    forget = services.stop.listen(connection.wake)
    try:
        await connection.answer_all()
    finally:
        forget()
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


class _Connection:
    def __init__(self, socket: WebSocket, services: Services) -> None:
        self.socket = socket
        self.services = services
        self.principal: Principal = socket.scope["hermes.principal"]
        self.headers: RawHeaders = socket.scope["hermes.headers"]
        self.is_gone = asyncio.Event()
        self._messages: asyncio.Queue[str | bytes | None] = asyncio.Queue(MAX_WAITING)
        self._waiting_size = 0
        self._remembered: tuple[str, Past] | None = None

    async def read(self) -> None:
        try:
            while (message := await self.socket.receive())["type"] == "websocket.receive":
                if not self._take(message.get("text") or message.get("bytes") or ""):
                    await self._refuse_more()
                    return
        finally:
            self.is_gone.set()
            self.wake()

    def wake(self) -> None:
        """Ends the waiting for a next message."""
        if self._messages.empty():
            self._messages.put_nowait(None)

    async def answer_all(self) -> None:
        while not (self.is_gone.is_set() or self.services.stop.is_set):
            message = await self._messages.get()
            if message is not None:
                self._waiting_size -= len(message)
                if not self.is_gone.is_set():
                    await self._answer(message)
        if not self.is_gone.is_set():
            await self.socket.close(GOING_AWAY, "the gateway is stopping")

    def _take(self, message: str | bytes) -> bool:
        is_room = not self._messages.full() and (
            self._messages.empty() or self._waiting_size + len(message) <= self.services.settings.json_limit_bytes
        )
        if is_room:
            self._messages.put_nowait(message)
            self._waiting_size += len(message)
        return is_room

    async def _refuse_more(self) -> None:
        error = Busy(
            f"more than {MAX_WAITING} messages wait for their turn, or more bytes than one message may have: send the "
            "next one when a response has ended",
            retry_after_seconds=1,
        )
        with suppress(WebSocketDisconnect):
            await self._send(error_event(error))
            self.is_gone.set()  # from now on nothing else is sent
            await self.socket.close(TRY_LATER, "too many messages")

    async def _answer(self, message: str | bytes) -> None:
        call: ResponseCall | None = None
        has_worked = False
        try:
            call = await self._read_call(message)
            has_worked = await self._respond(call)
        except HermesError as error:
            await self._send(error_event(error))
        except Exception:
            log.exception("a response on a WebSocket failed")
            await self._send(error_event(HermesError("The request failed inside the server; its log says why.")))
        finally:
            if not has_worked and call is not None:
                self._forget(call.previous)

    async def _read_call(self, message: str | bytes) -> ResponseCall:
        body = parse_json(message.encode() if isinstance(message, str) else message)
        if not isinstance(body, dict):
            raise InvalidInput("a message must be a JSON object")
        if body.get("type") != "response.create":
            raise InvalidInput("type must be response.create", param="type")
        await self.services.look()
        known = await referenced(body.get("input"), self.principal.id, self.services)
        return parse(body, self.headers, self.principal, self.services.settings, known, is_socket=True)

    async def _respond(self, call: ResponseCall) -> bool:
        """Whether the response has completed."""
        past = self._past(call)
        started = await start(call, self.services, past)
        run = started.run
        async with sse.Feed(self.services.runner.follow(run.id), self._until_gone, self.services.stop) as feed:
            stream = await self._stream(feed, started)
            if feed.is_disconnected and not started.request.is_durable:
                await give_up(self.services, run, feed)
        has_completed = stream is not None and stream.has_completed
        if has_completed and not call.is_stored:
            await self._remember(call, started, past)
        return has_completed

    async def _stream(self, feed: sse.Feed, started: Started) -> ResponseStream | None:
        happened = await until_begun(feed, self.services)
        refusal = refused(happened)
        if refusal is not None:
            await self._send(kept_error_event(refusal))
            return None
        outputs = ToolOutputs(self.services.database, started.run)
        stream = ResponseStream(started.run, started.fields, outputs, started.previous)
        shown = stream.first()
        while not feed.is_disconnected:
            await outputs.fetch([kept.event for kept in happened])
            for event in [*shown, *(event for kept in happened for event in stream.event(kept))]:
                await self._send(event)
            shown = []
            if stream.has_ended:
                break
            happened = await feed.next()
            if not happened and feed.is_over and not feed.is_disconnected:
                raise cut_short(self.services, feed, started.run)
        return stream

    def _past(self, call: ResponseCall) -> Past | None:
        if call.is_stored or self._remembered is None or self._remembered[0] != call.previous:
            return None
        return self._remembered[1]

    async def _remember(self, call: ResponseCall, started: Started, past: Past | None) -> None:
        run, asked = started.run, started.request
        said = await self.services.database.read(session_store.history, run.session_id)
        system = [text for text in ((past.system if past else ""), call.system) if text]
        self._remembered = (response_id(run.id), Past((*(asked.history or ()), *said), "\n\n".join(system)))

    def _forget(self, previous: str | None) -> None:
        """A failed continuation takes what it was to go on from along (the public API's rule)."""
        if self._remembered is not None and self._remembered[0] == previous:
            self._remembered = None

    async def _until_gone(self) -> dict[str, Any]:
        await self.is_gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, event: Mapping[str, Any]) -> None:
        """Nothing happens where the client has left: what becomes of its run is decided in one place."""
        if self.is_gone.is_set():
            return
        try:
            await self.socket.send_text(orjson.dumps(event).decode())
        except WebSocketDisconnect:
            self.is_gone.set()


def error_event(error: HermesError) -> dict[str, Any]:
    return {"type": "error", "status": rule_of(error).status, **error_envelope(error)}


def kept_error_event(error: Mapping[str, Any]) -> dict[str, Any]:
    """For a run that was refused before it began."""
    return {"type": "error", "status": rule_of_kept(error).status, **kept_envelope(error)}
