"""Reads a server's messages before the package does, and takes out what would make it refuse all of them.

One tool with a schema that is none, or one block of a kind that nobody knows, costs that tool or block, not the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcp.client._transport import ReadStream
    from mcp.shared.message import SessionMessage

LONGEST_TOOL_NAME = 256
_HINTS = frozenset({"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"})
_TEXTS = {
    "text": ("text",),
    "image": ("data", "mimeType"),
    "audio": ("data", "mimeType"),
    "resource_link": ("name", "uri"),
}


class LenientStream:
    """`ended` is called once, when nothing more comes."""

    def __init__(self, stream: ReadStream[SessionMessage | Exception], ended: Callable[[], None]) -> None:
        self._stream = stream
        self._ended = ended

    @property
    def last_context(self) -> Any:
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> SessionMessage | Exception:
        try:
            return _mended(await self._stream.receive())
        except BaseException:
            self._ended()
            raise

    async def aclose(self) -> None:
        self._ended()
        await self._stream.aclose()

    def __aiter__(self) -> LenientStream:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return _mended(await self._stream.__anext__())
        except BaseException:
            self._ended()
            raise

    async def __aenter__(self) -> LenientStream:
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._ended()
        return await self._stream.__aexit__(exc_type, exc, traceback)


def _mended(item: SessionMessage | Exception) -> SessionMessage | Exception:
    result = getattr(getattr(item, "message", None), "result", None)
    if isinstance(result, dict):
        tools, content = result.get("tools"), result.get("content")
        if isinstance(tools, list):
            result["tools"] = [tool for tool in map(listed, tools) if tool is not None]
        if isinstance(content, list):
            result["content"] = [block(one) for one in content]
        elif "structuredContent" in result and content is None:
            result["content"] = []
    return item


def listed(tool: object) -> dict[str, Any] | None:
    """A tool of a list with what is used of it, which its output schema is not; None without a name."""
    name = tool.get("name") if isinstance(tool, dict) else None
    if not isinstance(tool, dict) or not isinstance(name, str) or not 0 < len(name) <= LONGEST_TOOL_NAME:
        return None
    schema, text, hints = tool.get("inputSchema"), tool.get("description"), tool.get("annotations")
    kept: dict[str, Any] = {"name": name, "inputSchema": schema if isinstance(schema, dict) else {"type": "object"}}
    kept["inputSchema"] = {**kept["inputSchema"], "type": "object"}
    if isinstance(text, str):
        kept["description"] = text
    if isinstance(hints, dict):
        kept["annotations"] = {key: value for key, value in hints.items() if key in _HINTS and isinstance(value, bool)}
    return kept


def block(given: object) -> dict[str, Any]:
    """A block of a result; one that is none becomes text."""
    if isinstance(given, dict):
        needed = _TEXTS.get(str(given.get("type")))
        if needed is not None and all(isinstance(given.get(key), str) for key in needed):
            kept = {key: given[key] for key in ("type", *needed)}
            if isinstance(given.get("description"), str):
                kept["description"] = given["description"]
            return kept
        inner = given.get("resource")
        if given.get("type") == "resource" and isinstance(inner, dict) and isinstance(inner.get("uri"), str):
            for key in ("text", "blob"):
                if isinstance(inner.get(key), str):
                    mime = {"mimeType": inner["mimeType"]} if isinstance(inner.get("mimeType"), str) else {}
                    return {"type": "resource", "resource": {"uri": inner["uri"], key: inner[key], **mime}}
    return {"type": "text", "text": json.dumps(given, ensure_ascii=False, default=str)}
