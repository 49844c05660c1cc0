"""The head of a request: how large it may be and how slowly it may come."""

from __future__ import annotations

import asyncio
from abc import abstractmethod

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from hermes.http.headers import SECURITY_HEADERS

HEAD_LIMIT_BYTES = 64 * 1024
HEAD_TIMEOUT_SECONDS = 15.0

_PHRASES = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's, with limits on the head. A subclass says how an error reads and which upgrades there are."""

    head_timeout_seconds = HEAD_TIMEOUT_SECONDS

    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    @abstractmethod
    def error_body(self, status: int, code: str, message: str) -> bytes:
        """As the app's own errors read, in JSON."""

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

    def _unsupported_upgrade_warning(self) -> None:
        """An upgrade that is not served is answered like any request; that is no news for the log."""

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
        body = self.error_body(status, code, message)
        headers = [
            *SECURITY_HEADERS,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (status, _PHRASES[status].encode(), head, body))
        self.transport.close()
