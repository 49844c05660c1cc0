"""uvicorn, as this API wants it served. `hermes.gateway` starts it with `serve_options`."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from typing import Any

import orjson

from hermes.api.errors import INVALID, Rule, envelope
from hermes.api.services import JSON_LIMIT_BYTES
from hermes.http import server
from hermes.http.protocol import LimitedProtocol

SOCKET_PATHS = (b"/v1/responses",)
"""How the paths of WebSockets end, behind the name of a profile or not."""


class HttpProtocol(LimitedProtocol):
    def error_body(self, status: int, code: str, message: str) -> bytes:
        return orjson.dumps(envelope(message, code, Rule(status, INVALID)))

    def _should_upgrade(self) -> bool:
        """Only a handshake that can become a connection leaves HTTP; any other is answered like a request, in our
        envelope, which the WebSocket library does not know.
        """
        path = self.url.partition(b"?")[0]
        return path.endswith(SOCKET_PATHS) and super()._should_upgrade() and is_handshake(self.scope)


def is_handshake(scope: Mapping[str, Any]) -> bool:
    """Whether it asks for a WebSocket in the way RFC 6455 says."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    try:
        key = base64.b64decode(headers.get(b"sec-websocket-key", b""), validate=True)
    except ValueError:
        return False
    return scope["method"] == "GET" and len(key) == 16 and headers.get(b"sec-websocket-version") == b"13"


def socket_protocol(**options: Any) -> asyncio.Protocol:
    """Imported for the first connection, for no start needs it."""
    from hermes.api.socket_protocol import SocketProtocol

    return SocketProtocol(**options)


def serve_options() -> dict[str, Any]:
    """For `uvicorn.Config(app, **serve_options())`, beside host and port."""
    return {
        **server.serve_options(HttpProtocol),
        "ws": socket_protocol,
        "ws_max_size": JSON_LIMIT_BYTES,
        "ws_per_message_deflate": False,
    }
