"""uvicorn, as this app wants it served: `uvicorn.Config(app, **serve_options())`, beside host and port."""

from __future__ import annotations

from typing import Any

import orjson

from hermes.http import server
from hermes.http.protocol import LimitedProtocol


class HttpProtocol(LimitedProtocol):
    def error_body(self, status: int, code: str, message: str) -> bytes:
        return orjson.dumps({"ok": False, "error": {"code": code, "message": message}})

    def _should_upgrade(self) -> bool:
        """There is no WebSocket here: one who asks for it is answered like anybody."""
        return False


def serve_options() -> dict[str, Any]:
    return {**server.serve_options(HttpProtocol), "ws": "none"}
