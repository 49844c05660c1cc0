"""/v1/toolsets: what the agent can do here."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from hermes.api.answers import JsonAnswer
from hermes.api.services import Services


async def list_toolsets(request: Request, services: Services) -> Response:
    """What the agent can do here: its toolsets and their tools."""
    data = [
        {
            "name": toolset.name,
            "label": toolset.label,
            "description": toolset.description,
            "enabled": toolset.is_enabled,
            "configured": toolset.is_configured,
            "tools": list(toolset.tools),
            "problem": toolset.problem or None,
        }
        for toolset in services.toolsets()
    ]
    return JsonAnswer({"object": "list", "platform": "api_server", "data": data})
