"""The app: what every request passes before the router, in this order, on one screen.

Host → request id and security headers → CORS → limits → access → router. Whatever goes wrong on the way leaves in the
error envelope with the same headers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hermes.core.errors import HermesError, InvalidInput, NotFound
from hermes.core.hosts import AllowedHosts, is_loopback_name
from hermes.core.peers import Peers
from hermes.core.tally import OTHER, HttpTally
from hermes.home.logs import log_context
from hermes.http.headers import SECURITY_HEADERS, request_id_of
from hermeslink import __version__
from hermeslink.api import (
    approvals,
    archive,
    audit,
    auth,
    blobs,
    catalog,
    conversation_events,
    conversations,
    cron,
    devices,
    documentation,
    expose,
    logs,
    memory,
    messages,
    metrics,
    model_configs,
    models,
    pages,
    pairing,
    permissions,
    plans,
    profile_creation,
    profiles,
    public,
    runs,
    skills,
    statistics,
    status,
    system,
    tool_configs,
    updates,
)
from hermeslink.api.access import PUBLIC, Gate, Row, check_scope
from hermeslink.api.bodies import first_fault
from hermeslink.api.dependencies import CALLER, PEER, REQUEST_ID
from hermeslink.api.errors import MethodNotAllowed, error_response, is_inside
from hermeslink.api.limits import BODY_TIMEOUT_SECONDS, UPLOADS, limited, read_json
from hermeslink.api.origins import Origins, is_of_another_page
from hermeslink.api.paths import ROW, LetIn, Paths, Place
from hermeslink.core.caller import Caller

if TYPE_CHECKING:
    from hermeslink.app import Link

log = logging.getLogger(__name__)
access_log = logging.getLogger("hermeslink.access")

GROUPS: tuple[APIRouter, ...] = (
    public.router,
    auth.router,
    pairing.router,
    devices.router,
    audit.router,
    documentation.router,
    status.router,
    models.router,
    model_configs.router,
    runs.router,
    cron.router,
    profiles.router,
    permissions.router,
    profile_creation.router,
    catalog.router,
    tool_configs.router,
    memory.router,
    skills.router,
    system.router,
    blobs.router,
    statistics.router,
    conversations.router,
    conversation_events.router,
    messages.router,
    approvals.router,
    archive.router,
    plans.router,
    pages.router,
    logs.router,
    expose.router,
    metrics.router,
    updates.router,
)
"""One file each: what belongs together by its noun."""

MAX_LOGGED_PATH = 300
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Those that are counted by name; a client may send any word."""


def create_app(
    link: Link, groups: Sequence[APIRouter] = GROUPS, *, body_timeout_seconds: float = BODY_TIMEOUT_SECONDS
) -> FastAPI:
    """`lifespan` does nothing: whoever opened `link` closes it when the server has ended."""
    routes, http = routes_of(groups), HttpTally()
    app = FastAPI(
        title="Hermes Link",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=[Middleware(Door, link, Paths(rows_of(groups)), http, body_timeout_seconds)],
        exception_handlers={
            HermesError: _failed,
            RequestValidationError: _invalid,
            HTTPException: _refused,
        },
    )
    app.state.link = link
    app.state.routes = routes
    app.state.http = http
    app.router.routes = [LetIn(routes)]
    return app


def routes_of(groups: Sequence[APIRouter]) -> list[APIRoute]:
    return [route for group in groups for route in group.routes if isinstance(route, APIRoute)]


def rows_of(groups: Sequence[APIRouter]) -> list[Row]:
    return [(method, route.path) for route in routes_of(groups) for method in sorted(route.methods or ())]


class Door:
    """In front of everything. A route that it does not know is not there."""

    def __init__(self, app: ASGIApp, link: Link, paths: Paths, http: HttpTally, body_timeout_seconds: float) -> None:
        settings = link.settings
        self.app = app
        self.paths = paths
        self.http = http
        self.body_timeout_seconds = body_timeout_seconds
        self.stopping = link.stopping
        self.hosts = AllowedHosts(
            allowed=settings.allowed_hosts,
            setting="the setting: hermeslink config set allowed-hosts NAME",
            also=lambda: link.network.host_names() | link.published.names(),
            learn=link.published.learn,
        )
        self.origins = Origins(settings.cors_origins)
        self.peers = Peers(settings.trusted_proxies, link.published.tunnel)
        self.gate = Gate(link.devices, link.clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        scope[REQUEST_ID] = request_id = request_id_of(scope["headers"]).decode("ascii")
        outgoing = Outgoing(send, request_id, self.http, closes=self.stopping.is_set())
        with log_context(request_id=request_id):
            try:
                await self._pass(scope, receive, outgoing)
            except HermesError as error:
                if is_inside(error):
                    log.exception("a request failed")
                await outgoing.fail(error, scope, receive)
            except Exception:
                log.exception("a request failed")
                await outgoing.fail(HermesError("The request failed inside the service."), scope, receive)
            finally:
                self._count(scope, outgoing)
                _log(scope, outgoing, time.perf_counter() - began)

    def _count(self, scope: Scope, outgoing: Outgoing) -> None:
        method, (_, path) = scope["method"], scope.get(ROW, ("", ""))
        self.http.requests[path or OTHER, method if method in METHODS else OTHER, outgoing.status] += 1
        self.http.streams -= outgoing.is_event_stream

    async def _pass(self, scope: Scope, receive: Receive, outgoing: Outgoing) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        method = scope["method"]
        host = await self.hosts.admit(scope["headers"], scope.get("server"))
        grants = self.origins.check(method, host, headers)
        preflight = self.origins.preflight(grants, headers) if method == "OPTIONS" else None
        outgoing.headers += preflight if preflight is not None else grants
        if preflight is not None:
            return await Response(status_code=204)(scope, receive, outgoing)

        asked = "GET" if method == "HEAD" else method
        place = self.paths.find(asked, scope["path"])
        row = _row(asked, place)
        body = limited(receive, headers, self.body_timeout_seconds, is_upload=row in UPLOADS)
        peer = self.peers.of(scope.get("client"), headers, scope["http_version"])
        if peer.is_local and (not is_loopback_name(host) or is_of_another_page(headers, host)):
            peer = type(peer)(peer.address, is_local=False)
        caller = await self.gate.identify(row, peer, headers)
        scope[PEER], scope[CALLER], scope[ROW] = peer, caller, row
        if place is None:
            raise NotFound(f"there is nothing at {scope['path'][:200]}")
        if method == "OPTIONS":
            return await Response(status_code=204, headers={"Allow": place.allowed})(scope, receive, outgoing)
        if asked not in place.methods:
            raise MethodNotAllowed(method, place.allowed)
        check_scope(row, caller, place.parameters)
        if method == "HEAD":
            outgoing.is_head = True
            with suppress(HeadAnswered):
                await self.app({**scope, "method": "GET"}, receive, outgoing)
            return None
        if method == "GET" or row in UPLOADS:
            return await self.app(scope, body, outgoing)
        return await self.app(*await read_json(scope, headers, body), outgoing)


class HeadAnswered(Exception):
    """Nobody reads what a GET would say: it is not made, and a stream of events does not begin."""


class Outgoing:
    """A `send` that adds the headers of every answer and knows whether it has begun."""

    def __init__(self, send: Send, request_id: str, http: HttpTally, *, closes: bool) -> None:
        self.request_id = request_id
        self.headers = [*SECURITY_HEADERS, (b"x-request-id", request_id.encode("ascii"))]
        if closes:  # a client that keeps its connections would ask a service that is no longer there
            self.headers.append((b"connection", b"close"))
        self.status = 0
        self.is_head = False
        self.is_event_stream = False
        self._http = http
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = list(message.get("headers", ()))
            set_by_route = {name for name, _ in own}
            self.is_event_stream = any(value.startswith(b"text/event-stream") for _, value in own)
            self._http.streams += self.is_event_stream
            message["headers"] = [*own, *(header for header in self.headers if header[0] not in set_by_route)]
        await self._send(message)
        if self.is_head:
            await self._send({"type": "http.response.body", "body": b""})
            raise HeadAnswered

    async def fail(self, error: HermesError, scope: Scope, receive: Receive) -> None:
        if self.status:  # too late for another: the answer has no end, and the server closes the connection
            log.warning("an answer broke off: %s", error.message)
            return
        await error_response(error, self.request_id)(scope, receive, self)


def _row(method: str, place: Place | None) -> Row:
    """What access and limits go by. To ask what a path is served with takes no more than the least that it serves."""
    if place is None:
        return method, ""
    public = [one for one in place.methods if (one, place.path) in PUBLIC] if method == "OPTIONS" else []
    return (public[0] if public else method), place.path


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HermesError)
    if is_inside(error):
        log.error("a request failed", exc_info=error)
    return error_response(error, request.scope[REQUEST_ID])


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return error_response(first_fault(error), request.scope[REQUEST_ID])


async def _refused(request: Request, error: Exception) -> Response:
    """What the router or FastAPI says no to, which the door has not."""
    assert isinstance(error, HTTPException)
    kinds = {404: NotFound("there is nothing here"), 400: InvalidInput("the request cannot be read")}
    return await _failed(request, kinds.get(error.status_code) or HermesError(f"{error.status_code}: {error.detail}"))


def _log(scope: Scope, outgoing: Outgoing, seconds: float) -> None:
    if not access_log.isEnabledFor(logging.INFO):
        return
    caller: Caller | None = scope.get(CALLER)
    path = scope.get("raw_path", b"").decode("latin-1").partition("?")[0][:MAX_LOGGED_PATH]
    access_log.info(
        "%s %s %d %.1fms %s",
        scope["method"],
        path,
        outgoing.status,
        seconds * 1000,
        caller.device_id if caller is not None else "-",
    )
