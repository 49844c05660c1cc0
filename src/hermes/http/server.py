"""uvicorn in a process that ends by its own rules."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import uvicorn

KEEP_ALIVE_SECONDS = 75
CUT_AFTER_SECONDS = 1
"""How long a connection may hold up the exit of a server that has ended its streams: one whose client reads nothing."""


class Server(uvicorn.Server):
    """Signals are the process's: it ends what goes on before the server stops."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve_options(http: type[asyncio.Protocol]) -> dict[str, Any]:
    """For `uvicorn.Config(app, **serve_options(…))`, beside host, port, and what is said of WebSockets.

    No proxy's headers are believed there: `hermes.core.peers` decides about them.
    """
    return {
        "http": http,
        "lifespan": "off",
        "server_header": False,
        "proxy_headers": False,
        "access_log": False,
        "log_config": None,
        "timeout_keep_alive": KEEP_ALIVE_SECONDS,
        "timeout_graceful_shutdown": CUT_AFTER_SECONDS,
    }


def loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    """uvloop where there is one, None for asyncio's own."""
    if sys.platform == "win32":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.Loop
