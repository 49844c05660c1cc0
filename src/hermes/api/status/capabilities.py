"""/v1/capabilities: what a client may count on, made from the table of routes."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hermes.api import headers
from hermes.api.answers import JsonAnswer
from hermes.api.services import Services
from hermes.api.status.health import PLATFORM

# Names that clients look up. What no route of this build brings is false.
PUBLISHED_FEATURES = (
    "chat_completions",
    "chat_completions_streaming",
    "responses_api",
    "responses_streaming",
    "run_submission",
    "run_status",
    "run_events_sse",
    "run_stop",
    "run_steer",
    "run_approval_response",
    "run_clarify",
    "tool_progress_events",
    "approval_events",
    "client_tools",
    "session_resources",
    "session_chat",
    "session_chat_streaming",
    "session_fork",
    "session_search",
    "jobs_admin",
    "files_api",
    "skills_api",
    "audio_api",
    "realtime_voice",
)


async def show(request: Request, services: Services) -> Response:
    """What a client may count on: features by their published names, and the routes behind them.

    A feature that is false is not in this build. Some values are text: the name of a header.
    """
    from hermes.api.routes import ROUTES

    brought = {feature for route in ROUTES for feature in route.features}
    features: dict[str, Any] = {name: name in brought for name in PUBLISHED_FEATURES}
    features["idempotency"] = True
    features["session_continuity_header"] = headers.SESSION_ID
    features["session_key_header"] = headers.SESSION_KEY
    features["cors"] = bool(services.settings.cors_origins)
    return JsonAnswer(
        {
            "object": "hermes.api_server.capabilities",
            "platform": PLATFORM,
            "model": services.settings.model_id,
            "auth": {"type": "bearer", "required": True},
            "runtime": {"mode": "server_agent", "tool_execution": "server", "split_runtime": True},
            "features": features,
            "endpoints": {r.name: {"method": r.method, "path": r.path} for r in ROUTES if r.name},
        }
    )
