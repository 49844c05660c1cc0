"""The one table of routes. The router, scopes, /v1/capabilities and the tests are made from it."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from hermes.api import auth
from hermes.api.auth import Scope as KeyScope
from hermes.api.chat import completions as chat_completions
from hermes.api.errors import MethodNotAllowed
from hermes.api.limits import too_large
from hermes.api.pages import home as home_page
from hermes.api.services import Services
from hermes.api.status import capabilities, health, models, toolsets
from hermes.core.errors import Forbidden, NotFound, Unauthorized
from hermes.http.body import LimitedBody

Handler = Callable[[Request, Services], Awaitable[ASGIApp]]


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """`scope` None is for the paths of `auth.PUBLIC_PATHS`. `features` are what /v1/capabilities promises for it.

    `handler` as text, `module.function` within hermes.api, is imported when it is first asked for: a start needs the
    hot routes only. `name` is its name among the endpoints of /v1/capabilities; a second path of the same thing has
    none. `is_stream`: its GET may not end, so there is no HEAD. `takes`: which limit its body has.
    """

    method: str
    path: str
    handler: Handler | str
    scope: KeyScope | None
    name: str = ""
    features: tuple[str, ...] = field(default=())
    is_stream: bool = False
    takes: Literal["json", "upload"] = "json"

    def resolve(self) -> Handler:
        if not isinstance(self.handler, str):
            return self.handler
        module, _, function = self.handler.rpartition(".")
        return cast(Handler, getattr(importlib.import_module(f"hermes.api.{module}"), function))


READ, CHAT, ADMIN = KeyScope.READ, KeyScope.CHAT, KeyScope.ADMIN

ROUTES: tuple[ApiRoute, ...] = (
    ApiRoute(
        "POST",
        "/v1/chat/completions",
        chat_completions.create,
        CHAT,
        "chat_completions",
        ("chat_completions", "chat_completions_streaming", "tool_progress_events", "approval_events", "client_tools"),
    ),
    ApiRoute("GET", "/health", health.show, None, "health"),
    ApiRoute("GET", "/v1/health", health.show, None),
    ApiRoute("GET", "/health/detailed", health.show_detailed, READ, "health_detailed"),
    ApiRoute("GET", "/v1/models", models.list_models, READ, "models"),
    ApiRoute("GET", "/v1/models/{model_id}", models.show, READ, "model"),
    ApiRoute("GET", "/v1/capabilities", capabilities.show, READ, "capabilities"),
    ApiRoute("GET", "/v1/toolsets", toolsets.list_toolsets, READ, "toolsets"),
    # runs
    ApiRoute("POST", "/v1/runs", "runs.handlers.create", CHAT, "runs", ("run_submission",)),
    ApiRoute("GET", "/v1/runs", "runs.handlers.list_runs", READ, "run_list"),
    ApiRoute("GET", "/v1/runs/{run_id}", "runs.handlers.show", READ, "run_status", ("run_status",)),
    ApiRoute(
        "GET", "/v1/runs/{run_id}/events", "runs.events.events", READ, "run_events", ("run_events_sse",), is_stream=True
    ),
    ApiRoute(
        "POST", "/v1/runs/{run_id}/approval", "runs.handlers.approve", CHAT, "run_approval", ("run_approval_response",)
    ),
    ApiRoute("POST", "/v1/runs/{run_id}/clarify", "runs.handlers.clarify", CHAT, "run_clarify", ("run_clarify",)),
    ApiRoute("POST", "/v1/runs/{run_id}/steer", "runs.handlers.steer", CHAT, "run_steer", ("run_steer",)),
    ApiRoute("POST", "/v1/runs/{run_id}/stop", "runs.handlers.stop", CHAT, "run_stop", ("run_stop",)),
    # responses
    ApiRoute(
        "POST",
        "/v1/responses",
        "responses.handlers.create",
        CHAT,
        "responses",
        ("responses_api", "responses_streaming"),
    ),
    ApiRoute("WEBSOCKET", "/v1/responses", "responses.socket.serve", CHAT, "responses_websocket"),
    ApiRoute("POST", "/v1/responses/compact", "responses.compact.compact", CHAT, "responses_compact"),
    ApiRoute("GET", "/v1/responses/{response_id}", "responses.handlers.show", READ, "response", is_stream=True),
    ApiRoute("DELETE", "/v1/responses/{response_id}", "responses.handlers.delete", CHAT, "response_delete"),
    ApiRoute("POST", "/v1/responses/{response_id}/cancel", "responses.handlers.cancel", CHAT, "response_cancel"),
    ApiRoute(
        "GET", "/v1/responses/{response_id}/input_items", "responses.handlers.input_items", READ, "response_input_items"
    ),
    # sessions
    ApiRoute("GET", "/api/sessions", "sessions.handlers.list_sessions", READ, "sessions", ("session_resources",)),
    ApiRoute("POST", "/api/sessions", "sessions.handlers.create", CHAT, "session_create"),
    ApiRoute("GET", "/api/sessions/search", "sessions.handlers.search", READ, "session_search", ("session_search",)),
    ApiRoute("GET", "/api/sessions/{session_id}", "sessions.handlers.show", READ, "session"),
    ApiRoute("PATCH", "/api/sessions/{session_id}", "sessions.handlers.change", CHAT, "session_update"),
    ApiRoute("DELETE", "/api/sessions/{session_id}", "sessions.handlers.delete", CHAT, "session_delete"),
    ApiRoute("GET", "/api/sessions/{session_id}/messages", "sessions.handlers.list_messages", READ, "session_messages"),
    ApiRoute(
        "POST", "/api/sessions/{session_id}/fork", "sessions.handlers.fork", CHAT, "session_fork", ("session_fork",)
    ),
    ApiRoute("POST", "/api/sessions/{session_id}/chat", "sessions.chat.chat", CHAT, "session_chat", ("session_chat",)),
    ApiRoute(
        "POST",
        "/api/sessions/{session_id}/chat/stream",
        "sessions.chat.stream",
        CHAT,
        "session_chat_stream",
        ("session_chat_streaming",),
    ),
    # jobs
    ApiRoute("GET", "/api/jobs", "jobs.handlers.list_jobs", ADMIN, "jobs", ("jobs_admin",)),
    ApiRoute("POST", "/api/jobs", "jobs.handlers.create", ADMIN, "job_create"),
    ApiRoute("GET", "/api/jobs/{job_id}", "jobs.handlers.show", ADMIN, "job"),
    ApiRoute("PATCH", "/api/jobs/{job_id}", "jobs.handlers.change", ADMIN, "job_update"),
    ApiRoute("DELETE", "/api/jobs/{job_id}", "jobs.handlers.delete", ADMIN, "job_delete"),
    ApiRoute("POST", "/api/jobs/{job_id}/pause", "jobs.handlers.pause", ADMIN, "job_pause"),
    ApiRoute("POST", "/api/jobs/{job_id}/resume", "jobs.handlers.resume", ADMIN, "job_resume"),
    ApiRoute("POST", "/api/jobs/{job_id}/run", "jobs.handlers.run", ADMIN, "job_run"),
    ApiRoute("GET", "/api/jobs/{job_id}/runs", "jobs.handlers.list_runs", ADMIN, "job_runs"),
    # files
    ApiRoute("POST", "/v1/files", "files.handlers.create", CHAT, "files", ("files_api",), takes="upload"),
    ApiRoute("GET", "/v1/files", "files.handlers.list_files", READ, "file_list"),
    ApiRoute("GET", "/v1/files/{file_id}", "files.handlers.show", READ, "file"),
    ApiRoute("GET", "/v1/files/{file_id}/content", "files.handlers.content", READ, "file_content"),
    ApiRoute("DELETE", "/v1/files/{file_id}", "files.handlers.delete", CHAT, "file_delete"),
    # the server itself
    ApiRoute("GET", "/v1/skills", "status.skills.list_skills", READ, "skills", ("skills_api",)),
    ApiRoute("GET", "/metrics", "status.metrics.show", READ, "metrics"),
    ApiRoute("GET", "/openapi.json", "pages.openapi.show", ADMIN, "openapi"),
    ApiRoute("GET", "/docs", "pages.docs.show", None),
    ApiRoute("GET", "/docs/swagger-ui-bundle.js", "pages.docs.script", None),
    ApiRoute("GET", "/docs/swagger-ui.css", "pages.docs.style", None),
    ApiRoute("GET", "/docs/docs.js", "pages.docs.script", None),
    ApiRoute("GET", "/docs/docs.css", "pages.docs.style", None),
    ApiRoute("GET", "/", home_page.show, None),
)


def build_router(services: Services, routes: Sequence[ApiRoute] = ROUTES) -> Router:
    by_path: dict[str, list[ApiRoute]] = {}
    for route in routes:
        if (route.scope is None) != (route.path in auth.PUBLIC_PATHS):
            raise ValueError(f"{route.path} is public in one place and not in the other")
        if route.method != "WEBSOCKET":
            by_path.setdefault(route.path, []).append(route)
    endpoints = [Route(path, Endpoint(path, of_path, services)) for path, of_path in by_path.items()]
    sockets = [WebSocketRoute(r.path, SocketEndpoint(r, services)) for r in routes if r.method == "WEBSOCKET"]
    return Router([*endpoints, *sockets], redirect_slashes=False, default=_not_found)


class Endpoint:
    """The methods of one path."""

    def __init__(self, path: str, routes: Sequence[ApiRoute], services: Services) -> None:
        self.__name__ = path
        self.services = services
        self.routes = {route.method: route for route in routes}
        self.handlers: dict[str, Handler] = {}
        get = self.routes.get("GET")
        if get is not None and not get.is_stream:
            self.routes["HEAD"] = get
        self.allowed = ", ".join(sorted({*self.routes, "OPTIONS"}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["hermes.route"] = self.__name__
        method = scope["method"]
        route = self.routes.get(method)
        if route is None:
            if method != "OPTIONS":
                raise MethodNotAllowed(method, self.allowed)
            await Response(status_code=204, headers={"Allow": self.allowed})(scope, receive, send)
            return
        _check_scope(scope, route)
        settings = self.services.settings
        most = settings.upload_limit_bytes if route.takes == "upload" else settings.json_limit_bytes
        limited = LimitedBody(receive, scope["hermes.headers"], most, settings.body_timeout_seconds, too_large)
        handler = self.handlers.get(method) or self.handlers.setdefault(method, route.resolve())
        answer = await handler(Request(scope, limited, send), self.services)
        await answer(scope, limited, send)


class SocketEndpoint:
    """A route that is a WebSocket. Its handler gets the connection before it is accepted."""

    def __init__(self, route: ApiRoute, services: Services) -> None:
        self.route = route
        self.services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["hermes.route"] = self.route.path
        _check_scope(scope, self.route)
        socket = WebSocket(scope, receive, send)
        await self.route.resolve()(socket, self.services)  # type: ignore[arg-type]


def _check_scope(scope: Scope, route: ApiRoute) -> None:
    if route.scope is None:
        return
    principal = scope.get("hermes.principal")
    if principal is None:
        raise Unauthorized("Invalid API key")
    if not principal.may(route.scope):
        raise Forbidden(f"this key lacks the scope {route.scope.value!r}", code="insufficient_scope")


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    raise NotFound(f"there is nothing at {scope['path'][:200]}; GET /v1/capabilities lists what there is")
