"""uvicorn, as Link wants it served."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_LIMIT_BYTES = 64 * 1024
HEAD_TIMEOUT_SECONDS = 15.0
KEEP_ALIVE_SECONDS = 75
CUT_AFTER_SECONDS = 1
"""How long a connection may hold up the exit of a server that has ended its streams: one whose client reads nothing."""

_PHRASES = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's, with limits on how large a request's head is and how slowly it comes, and errors in our envelope."""

    head_timeout_seconds = HEAD_TIMEOUT_SECONDS

    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_done()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_timer is not None and self._head_bytes > HEAD_LIMIT_BYTES:
            self._refuse(431, "head_too_large", f"the request's head is larger than {HEAD_LIMIT_BYTES} bytes")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._head_timer is None:
            self._expect_head()
            self._head_bytes = 1  # it came behind the request before it

    def on_headers_complete(self) -> None:
        self._head_done()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "invalid_request", "the request is no valid HTTP")

    def _should_upgrade(self) -> bool:
        """Link has no WebSockets: a request for one is answered like any other."""
        return False

    def _unsupported_upgrade_warning(self) -> None:
        """That is no news for the log."""

    def _expect_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(self.head_timeout_seconds, self._head_late)

    def _head_done(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_late(self) -> None:
        if self._head_bytes:
            self._refuse(408, "request_timeout", "the request's head did not arrive in time")
        else:
            self.transport.close()

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answers in the router's stead: there is no request to route."""
        self._head_done()
        if self.transport.is_closing():
            return
        body = json.dumps({"ok": False, "error": {"code": code, "message": message}}).encode()
        head = (
            f"HTTP/1.1 {status} {_PHRASES[status]}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            "cache-control: no-store\r\nx-content-type-options: nosniff\r\nreferrer-policy: no-referrer\r\n"
            "content-security-policy: default-src 'none'; frame-ancestors 'none'\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def serve_options() -> dict[str, Any]:
    """For `uvicorn.Config(app, **serve_options())`. No proxy's headers are believed there: the API decides on them."""
    return {
        "http": HttpProtocol,
        "ws": "none",
        "lifespan": "off",
        "server_header": False,
        "proxy_headers": False,
        "access_log": False,
        "log_config": None,
        "timeout_keep_alive": KEEP_ALIVE_SECONDS,
        "timeout_graceful_shutdown": CUT_AFTER_SECONDS,
    }
