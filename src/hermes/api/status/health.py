"""Whether the server lives (public, says nothing else) and how it is (with a key)."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hermes.api.answers import JsonAnswer
from hermes.api.services import Check, Services
from hermes.core.errors import HermesError

PLATFORM = "hermes-agent"
CHECK_TIMEOUT_SECONDS = 2.0


async def show(request: Request, services: Services) -> Response:
    """Whether requests may be sent here: 200 `ok`, or 503 `draining` once the server is about to stop. Public.

    For load balancers and monitors; it looks at nothing else, and says nothing else.
    """
    status, code = ("draining", 503) if services.is_leaving else ("ok", 200)
    return JsonAnswer({"status": status, "platform": PLATFORM, "version": services.version}, code)


async def show_detailed(request: Request, services: Services) -> Response:
    """How the server is: its checks, its state, its load.

    200 also when degraded, unless `?fail=degraded` asks for 503 (the same body, for monitors that look at the status).
    """
    names = list(services.checks)
    results = await asyncio.gather(*(_result(services, name) for name in names))
    checks = {name: _row(result) for name, result in zip(names, results, strict=True)}
    status = "ok" if all(result.is_ok for result in results) else "degraded"
    nodes = await nodes_of(services)
    now = services.clock.now()
    runner = services.runner
    body: dict[str, Any] = {
        "status": status,
        "readiness": {"status": status, "checks": checks},
        "platform": PLATFORM,
        "version": services.version,
        "gateway_state": "draining" if services.is_leaving else services.state(),
        "platforms": {
            "api_server": {
                "state": "connected",
                "error_code": None,
                "error_message": None,
                "updated_at": services.started_at,
            }
        },
        "active_agents": runner.active,
        "queued_runs": runner.queued,
        "gateway_busy": runner.active > 0,
        "gateway_drainable": services.state() == "running" and not services.is_leaving,
        "nodes": nodes,
        "pid": os.getpid(),
        "uptime_seconds": round(max(0.0, now - services.started_at), 3),
        "rss_bytes": rss_bytes(),
        "updated_at": now,
    }
    failed = status == "degraded" and request.query_params.get("fail") == "degraded"
    return JsonAnswer(body, 503 if failed else 200)


async def nodes_of(services: Services) -> list[dict[str, Any]] | None:
    """The nodes of the database, this one among them; None when the database does not say."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            return await services.nodes()
    except (TimeoutError, HermesError):
        return None


async def _result(services: Services, name: str) -> Check:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            return await services.checks[name]()
    except TimeoutError:
        return Check(is_ok=False, detail=f"no answer within {CHECK_TIMEOUT_SECONDS:g} s")
    except HermesError as error:
        return Check(is_ok=False, detail=error.message)
    except Exception as error:  # noqa: BLE001 a check that fails is a finding, not a fault of this route
        return Check(is_ok=False, detail=type(error).__name__)


def _row(check: Check) -> dict[str, Any]:
    return {"status": "ok" if check.is_ok else "degraded", "detail": check.detail or None}


def rss_bytes() -> int:
    """Resident memory now; its peak where the system only tells that."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
