"""A stand-in for Anthropic's Messages API: it answers what its list says, in that API's own format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from aiohttp import web

Blocks = Sequence[Mapping[str, Any]]
Failure = tuple[int, str, str, Mapping[str, str]]


class AnthropicServer:
    """`answers`: a list of content blocks for a streamed message, or `(status, error type, message, headers)`.

    `cut_after`: close the connection after so many events of each stream.
    """

    def __init__(self, *answers: Blocks | Failure, cut_after: int | None = None) -> None:
        self.answers = list(answers)
        self.cut_after = cut_after
        self.requests: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.base_url = ""

    async def __aenter__(self) -> AnthropicServer:
        app = web.Application()
        app.router.add_post("/v1/messages", self._messages)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(await request.json())
        self.headers.append(request.headers.copy())
        answer = self.answers.pop(0)
        if isinstance(answer, tuple):
            status, kind, message, headers = answer
            body = {"type": "error", "error": {"type": kind, "message": message}}
            return web.json_response(body, status=status, headers=dict(headers))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number, event in enumerate(_events(answer)):
            if number == self.cut_after:
                assert request.transport is not None
                request.transport.abort()
                break
            await response.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
        return response


def _events(blocks: Blocks) -> list[dict[str, Any]]:
    usage = {"input_tokens": 20, "cache_read_input_tokens": 70, "cache_creation_input_tokens": 10, "output_tokens": 1}
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-5-5",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}, {"type": "ping"}]
    reason = "end_turn"
    for index, block in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": _empty(block)})
        if block["type"] == "tool_use":
            reason = "tool_use"
        for delta in _deltas(block):
            events.append({"type": "content_block_delta", "index": index, "delta": delta})
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [
        *events,
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 15}},
        {"type": "message_stop"},
    ]


def _empty(block: Mapping[str, Any]) -> dict[str, Any]:
    match block["type"]:
        case "text":
            return {"type": "text", "text": ""}
        case "thinking":
            return {"type": "thinking", "thinking": "", "signature": ""}
        case _:
            return {**block, "input": {}}


def _deltas(block: Mapping[str, Any]) -> list[dict[str, Any]]:
    match block["type"]:
        case "text":
            return [{"type": "text_delta", "text": word} for word in block["text"].split("|")]
        case "thinking":
            signed = {"type": "signature_delta", "signature": block["signature"]}
            return [{"type": "thinking_delta", "thinking": block["thinking"]}, signed]
        case _:
            text = json.dumps(block["input"])
            return [{"type": "input_json_delta", "partial_json": piece} for piece in (text[:5], text[5:])]
