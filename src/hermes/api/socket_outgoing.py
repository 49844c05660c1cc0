"""The `send` of a WebSocket: refused before it opens, it is answered like any request; later, by an error event."""

from __future__ import annotations

import logging

import orjson
from starlette.types import Message, Receive, Scope, Send

from hermes.api.errors import error_envelope, error_response, rule_of
from hermes.core.errors import HermesError, Unauthorized
from hermes.core.tally import HttpTally
from hermes.http.headers import SECURITY_HEADERS

log = logging.getLogger(__name__)

POLICY_VIOLATION = 1008
INTERNAL_ERROR = 1011
SWITCHING_PROTOCOLS = 101


class OutgoingSocket:
    """Adds the headers of every answer to what opens or refuses the connection. `status` is what it was opened with."""

    is_event_stream = False

    def __init__(self, send: Send, request_id: bytes, tally: HttpTally) -> None:
        self.request_id = request_id
        self.status = 0
        self.is_cut = False
        self._headers = [*SECURITY_HEADERS, (b"x-request-id", request_id)]
        self._tally = tally
        self._is_open = False
        self._is_closed = False
        self._send = send

    async def __call__(self, message: Message) -> None:
        if self.is_cut:
            return
        kind = message["type"]
        if kind == "websocket.accept":
            self.status, self._is_open = SWITCHING_PROTOCOLS, True
            self._tally.streams += 1
            message["headers"] = [*message.get("headers", ()), *self._headers]
        elif kind == "websocket.http.response.start":
            self.status = message["status"]
            own = list(message.get("headers", ()))
            set_by_route = {name for name, _ in own}
            message["headers"] = [*own, *(header for header in self._headers if header[0] not in set_by_route)]
        elif kind == "websocket.close":
            self._is_closed = True
        await self._send(message)

    async def cut(self) -> None:
        """The key was revoked meanwhile."""
        if self._is_open and not self._is_closed:
            await self._tell(Unauthorized("Invalid API key: it was revoked or rotated"), POLICY_VIOLATION)
        self.is_cut = True

    async def fail(self, error: HermesError, scope: Scope, receive: Receive) -> None:
        if self.is_cut or self._is_closed:
            return
        if not self._is_open:
            await error_response(error, scope["path"])(scope, receive, self)
            return
        log.error("a WebSocket broke off: %s", error.message)
        await self._tell(error, INTERNAL_ERROR)

    def close(self) -> None:
        if self._is_open:
            self._tally.streams -= 1

    async def _tell(self, error: HermesError, code: int) -> None:
        event = {"type": "error", "status": rule_of(error).status, **error_envelope(error)}
        await self({"type": "websocket.send", "text": orjson.dumps(event).decode()})
        await self({"type": "websocket.close", "code": code, "reason": error.code})
