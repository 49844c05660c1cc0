"""/v1/models: this agent under its name, and the aliases of `model_routes`."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hermes.api.answers import JsonAnswer
from hermes.api.services import Services
from hermes.core.errors import NotFound


async def list_models(request: Request, services: Services) -> Response:
    """The agent under its name, and the aliases of `model_routes`."""
    return JsonAnswer({"object": "list", "data": [_model(services, one) for one in _ids(services)]})


async def show(request: Request, services: Services) -> Response:
    """One of them."""
    wanted = request.path_params["model_id"]
    if wanted not in _ids(services):
        raise NotFound(f"no model {wanted[:200]!r}; GET /v1/models lists them", code="model_not_found", param="model")
    return JsonAnswer(_model(services, wanted))


def _ids(services: Services) -> list[str]:
    return list(dict.fromkeys((services.settings.model_id, *services.settings.model_aliases)))


def _model(services: Services, model_id: str) -> dict[str, Any]:
    own = services.settings.model_id
    return {
        "id": model_id,
        "object": "model",
        "created": int(services.started_at),
        "owned_by": "hermes",
        "root": own,
        "parent": None if model_id == own else own,
    }
