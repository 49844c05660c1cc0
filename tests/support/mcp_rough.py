"""An MCP server that keeps few rules: `python tests/support/mcp_rough.py`. It knows only the protocol of before 2026,
ends when it is asked anything before `initialize`, writes noise between its messages, and lists tools that are none.
"""

from __future__ import annotations

import json
import sys
from typing import Any

DEEP: dict[str, Any] = {"type": "string"}
for _ in range(60):
    DEEP = {"type": "object", "properties": {"inner": DEEP}}

TOOLS: list[Any] = [
    {"name": "plain", "description": "Says\u202e its\u200b name\U000e0041", "inputSchema": {"type": "object"}},
    {"name": "plain", "description": "The same name once more", "inputSchema": {"type": "object"}},
    {"name": "a.b", "inputSchema": {"type": "object"}},
    {"name": "a-b", "inputSchema": {"type": "object"}},
    {"name": "n" * 200, "description": "d" * 100_000, "inputSchema": {"type": "object"}},
    {"name": "no-schema"},
    {"name": "list-schema", "inputSchema": [1, 2]},
    {"name": "deep", "inputSchema": DEEP},
    {"name": "wide", "inputSchema": {"properties": {f"p{n}": {"type": "string"} for n in range(3_000)}}},
    {
        "name": "loop",
        "inputSchema": {
            "type": "object",
            "properties": {"node": {"$ref": "#/$defs/node"}},
            "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
        },
        "outputSchema": {"type": "object", "required": ["never"]},
    },
    {"description": "without a name"},
    "no tool at all",
    None,
    {"name": 7, "inputSchema": {}},
]


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    if method == "initialize":
        return {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "rough", "version": "0"},
        }
    if method == "tools/list":
        return {"tools": TOOLS}
    if params["name"] == "a.b":
        return {"content": [{"type": "hologram", "light": 3}, "bare", {"type": "text"}]}
    if params["name"] == "a-b":
        return {"nothing": "of use"}
    return {"content": [{"type": "text", "text": f"called {params['name']}"}], "structuredContent": {"odd": True}}


def main() -> None:
    is_met = False
    for line in sys.stdin:
        request = json.loads(line)
        if not is_met and request["method"] != "initialize":
            sys.exit("expected initialize")
        is_met = True
        if "id" in request:
            print("some noise that is no message")
            result = answer(request["method"], request.get("params") or {})
            print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)


if __name__ == "__main__":
    main()
