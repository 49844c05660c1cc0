"""The one table of routes. The router, scopes, /v1/capabilities and the tests are made from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from hermes.api import auth, capabilities, chat_completions, health, home_page, models, runs, toolsets
from hermes.api.auth import Scope as KeyScope
from hermes.api.errors import MethodNotAllowed
from hermes.api.services import Services
from hermes.core.errors import Forbidden, NotFound, Unauthorized

Handler = Callable[[Request, Services], Awaitable[ASGIApp]]


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """`scope` None is for the paths of `auth.PUBLIC_PATHS`. `features` are what /v1/capabilities promises for it.

    `name` is its name among the endpoints of /v1/capabilities; a second path of the same thing has none.
    `is_stream`: its GET may not end, so there is no HEAD.
    """

    method: str
    path: str
    handler: Handler
    scope: KeyScope | None
    name: str = ""
    features: tuple[str, ...] = field(default=())
    is_stream: bool = False


READ, CHAT = KeyScope.READ, KeyScope.CHAT

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
    ApiRoute("GET", "/v1/runs/{run_id}", runs.show, READ, "run_status", ("run_status",)),
    ApiRoute("GET", "/v1/runs/{run_id}/events", runs.events, READ, "run_events", ("run_events_sse",), is_stream=True),
    ApiRoute("POST", "/v1/runs/{run_id}/approval", runs.approve, CHAT, "run_approval", ("run_approval_response",)),
    ApiRoute("POST", "/v1/runs/{run_id}/stop", runs.stop, CHAT, "run_stop", ("run_stop",)),
    ApiRoute("GET", "/", home_page.show, None),
)


def build_router(services: Services, routes: Sequence[ApiRoute] = ROUTES) -> Router:
    by_path: dict[str, list[ApiRoute]] = {}
    for route in routes:
        if (route.scope is None) != (route.path in auth.PUBLIC_PATHS):
            raise ValueError(f"{route.path} is public in one place and not in the other")
        by_path.setdefault(route.path, []).append(route)
    endpoints = [Route(path, Endpoint(path, of_path, services)) for path, of_path in by_path.items()]
    return Router(endpoints, redirect_slashes=False, default=_not_found)


class Endpoint:
    """The methods of one path."""

    def __init__(self, path: str, routes: Sequence[ApiRoute], services: Services) -> None:
        self.__name__ = path
        self.services = services
        self.routes = {route.method: route for route in routes}
        get = self.routes.get("GET")
        if get is not None and not get.is_stream:
            self.routes["HEAD"] = get
        self.allowed = ", ".join(sorted({*self.routes, "OPTIONS"}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self.routes.get(scope["method"])
        if route is None:
            if scope["method"] != "OPTIONS":
                raise MethodNotAllowed(scope["method"], self.allowed)
            await Response(status_code=204, headers={"Allow": self.allowed})(scope, receive, send)
            return
        if route.scope is not None:
            principal = scope.get("hermes.principal")
            if principal is None:
                raise Unauthorized("Invalid API key")
            if not principal.may(route.scope):
                raise Forbidden(f"this key lacks the scope {route.scope.value!r}", code="insufficient_scope")
        answer = await route.handler(Request(scope, receive, send), self.services)
        await answer(scope, receive, send)


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    raise NotFound(f"there is nothing at {scope['path'][:200]}; GET /v1/capabilities lists what there is")
