"""The ASGI app: what every request passes before the router, in this order, on one screen.

Host → request id and security headers → CORS → auth → router, which knows each route's scope and body limit. Whatever
goes wrong on the way leaves in the error envelope with the same headers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import orjson
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hermes.api.access_log import AccessLine
from hermes.api.auth import PUBLIC_PATHS, Gatekeeper
from hermes.api.cors import Cors
from hermes.api.errors import error_envelope, error_response
from hermes.api.open_requests import OpenRequests
from hermes.api.routes import ROUTES, ApiRoute, build_router
from hermes.api.services import Services
from hermes.api.socket_outgoing import OutgoingSocket
from hermes.core.errors import HermesError, Unauthorized
from hermes.core.tally import OTHER, HttpTally
from hermes.home.logs import log_context
from hermes.http.headers import SECURITY_HEADERS, request_id_of

log = logging.getLogger(__name__)

GONE = {"type": "http.disconnect"}
GONE_SOCKET = {"type": "websocket.disconnect", "code": 1008}
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Those that are counted by name; a client may send any word."""


def build_api(services: Services, routes: Sequence[ApiRoute] = ROUTES) -> Api:
    return Api(services, build_router(services, routes))


class Api:
    def __init__(self, services: Services, router: ASGIApp) -> None:
        self.services = services
        self.router = router
        self.cors = Cors(services.settings.cors_origins)
        self.gatekeeper = Gatekeeper(services.keys, services.clock, services.settings.trusted_proxies, services.tunnel)
        self.open = OpenRequests(services.keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._answer_socket(scope, receive, send)
        else:
            await _lifespan(receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        scope["hermes.headers"] = headers
        outgoing = Outgoing(send, request_id_of(scope["headers"]), self.services.http)
        if self.services.stop.is_announced:
            outgoing.close_connection()
        with log_context(request_id=outgoing.request_id.decode("ascii")):
            try:
                await self._pass(scope, headers, receive, outgoing)
            finally:
                self._log(scope, outgoing, time.perf_counter() - began)

    async def _pass(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, outgoing: Outgoing) -> None:
        try:
            host = await self.services.hosts.admit(scope["headers"], scope.get("server"))
            grants = self.cors.check(scope["method"], host, headers)
            outgoing.headers += grants
            preflight = self.cors.preflight(grants, headers) if scope["method"] == "OPTIONS" else None
            if preflight is not None:
                outgoing.headers = [*outgoing.base, *preflight]
                await Response(status_code=204)(scope, receive, outgoing)
                return
            if not is_public(scope["method"], scope["path"]):
                principal = await self.gatekeeper.check(scope.get("client"), headers, scope["http_version"])
                scope["hermes.principal"] = principal
                await self.services.look()
                with self.open.hold(principal, receive, GONE, lambda: outgoing.cut(scope, receive)) as held:
                    await self.router(scope, held.receive, outgoing)
            else:
                await self.router(scope, receive, outgoing)
        except HermesError as error:
            await outgoing.fail(error, scope, receive)
        except Exception:
            log.exception("a request failed")
            await outgoing.fail(HermesError("The request failed inside the server; its log says why."), scope, receive)

    async def _answer_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket passes what a request passes. Opening one is a write: it needs its page's origin."""
        began = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        scope["hermes.headers"], scope["method"] = headers, "GET"
        outgoing = OutgoingSocket(send, request_id_of(scope["headers"]), self.services.http)
        with log_context(request_id=outgoing.request_id.decode("ascii")):
            try:
                host = await self.services.hosts.admit(scope["headers"], scope.get("server"))
                self.cors.check("POST", host, headers)
                principal = await self.gatekeeper.check(scope.get("client"), headers, scope["http_version"])
                scope["hermes.principal"] = principal
                await self.services.look()
                with self.open.hold(principal, receive, GONE_SOCKET, outgoing.cut) as held:
                    await self.router(scope, held.receive, outgoing)
            except HermesError as error:
                await outgoing.fail(error, scope, receive)
            except Exception:
                log.exception("a WebSocket failed")
                told = HermesError("The connection failed inside the server; its log says why.")
                await outgoing.fail(told, scope, receive)
            finally:
                outgoing.close()
                self._log(scope, outgoing, time.perf_counter() - began)

    def _log(self, scope: Scope, outgoing: Outgoing | OutgoingSocket, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else OTHER
        self.services.http.requests[scope.get("hermes.route", OTHER), method, outgoing.status] += 1
        if outgoing.is_event_stream:
            self.services.http.streams -= 1
        key = scope.get("hermes.principal")
        path = scope.get("raw_path", b"").decode("latin-1").partition("?")[0]
        name = key.name if key is not None else None
        request_id = outgoing.request_id.decode("ascii")
        self.services.access(AccessLine(scope["method"], path, outgoing.status, seconds, name, request_id))


class Outgoing:
    """A `send` that adds the headers of every answer and knows whether it has begun."""

    def __init__(self, send: Send, request_id: bytes, tally: HttpTally) -> None:
        self.request_id = request_id
        self._tally = tally
        self.base = [*SECURITY_HEADERS, (b"x-request-id", request_id)]
        self.headers = self.base.copy()
        self.status = 0
        self.is_cut = False
        self.is_event_stream = False
        self._is_done = False
        self._send = send

    def close_connection(self) -> None:
        """Behind this answer: a client that keeps its connections would ask a server that is no longer there."""
        for headers in (self.base, self.headers):
            headers.append((b"connection", b"close"))

    async def __call__(self, message: Message) -> None:
        if not self.is_cut:
            await self._pass_on(message)

    async def _pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = list(message.get("headers", ()))
            set_by_route = {name for name, _ in own}
            self.is_event_stream = any(value.startswith(b"text/event-stream") for _, value in own)
            if self.is_event_stream:
                self._tally.streams += 1
            message["headers"] = [*own, *(header for header in self.headers if header[0] not in set_by_route)]
        elif not message.get("more_body"):
            self._is_done = True
        await self._send(message)

    async def cut(self, scope: Scope, receive: Receive) -> None:
        """The key was revoked meanwhile: the client is told, and gets nothing of what the handler still sends."""
        self.is_cut = True
        error = Unauthorized("Invalid API key: it was revoked or rotated")
        if not self.status:
            await error_response(error)(scope, receive, self._pass_on)
        elif self.is_event_stream and not self._is_done:
            told = b"event: error\ndata: " + orjson.dumps(error_envelope(error)) + b"\n\n"
            await self._pass_on({"type": "http.response.body", "body": told, "more_body": False})

    async def fail(self, error: HermesError, scope: Scope, receive: Receive) -> None:
        if self.is_cut:
            return
        if self.status:  # too late for another status: the connection breaks off, and the client sees that it did
            log.error("a request broke off: %s", error.message)
            raise error
        await error_response(error, scope["path"])(scope, receive, self)


def is_public(method: str, path: str) -> bool:
    return path in PUBLIC_PATHS and method in ("GET", "HEAD")


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
