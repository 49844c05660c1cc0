"""What a tool of an MCP server gave, as text for a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hermes.toolsets.output import clean, cut

if TYPE_CHECKING:
    from mcp_types import CallToolResult

OUTPUT_CHARACTERS = 30_000
NOTHING = "(the tool gave nothing back)"


def as_text(result: CallToolResult) -> str:
    """All blocks of the result, cut to size. What is no text is named: kind, type and size."""
    pieces = [_block(block) for block in result.content]
    structured = result.structured_content
    if structured is not None and not any(_is_same(piece, structured) for piece in pieces):
        pieces.append(json.dumps(structured, ensure_ascii=False, default=str))
    text = "\n\n".join(piece for piece in pieces if piece)
    return cut(clean(text), OUTPUT_CHARACTERS) or NOTHING


def _block(block: Any) -> str:
    match block.type:
        case "text":
            return str(block.text)
        case "image" | "audio":
            return f"[{block.type}, {block.mime_type}, {_size(block.data)}; it cannot be shown here]"
        case "resource_link":
            about = f": {block.description}" if block.description else ""
            return f"[resource {block.name} at {block.uri}{about}]"
        case "resource":
            inner = block.resource
            if getattr(inner, "text", None) is not None:
                return f"[resource {inner.uri}]\n{inner.text}"
            return f"[resource {inner.uri}, {inner.mime_type or 'of unknown type'}, {_size(inner.blob)}]"
    return f"[{block.type}]"


def _size(base64: str) -> str:
    return f"{len(base64) * 3 // 4:,} bytes"


def _is_same(text: str, structured: object) -> bool:
    """Servers that give structure send it as text too, for clients that do not know it."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):  # the second: brackets by the thousand
        given = text
    return given == structured or (isinstance(structured, Mapping) and dict(structured) == {"result": given})
