"""The run that a path names."""

from __future__ import annotations

import re

from starlette.requests import Request

from hermes.api.answers import owner_of
from hermes.api.services import Services
from hermes.core.errors import NotFound
from hermes.core.run import Run

_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")


async def run_of(request: Request, services: Services) -> Run:
    """Raises NotFound `run_not_found`, for somebody else's too."""
    run_id = request.path_params["run_id"]
    if _RUN_ID.match(run_id) is None:
        raise NotFound(f"no run {run_id[:128]!r}", code="run_not_found")
    return await services.runner.get(run_id, owner_of(request).id)
