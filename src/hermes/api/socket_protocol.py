"""uvicorn's WebSocket protocol on the websockets library, as this API wants it served."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class SocketProtocol(WebSocketsSansIOProtocol):
    """A handshake that was refused with an answer is complete. uvicorn's own takes it for one without any, and logs an
    error of the application for each client that comes without a key.
    """

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True
