"""Tools that count what they do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hermes.core.errors import ToolFailed
from hermes.core.model import ToolSpec
from hermes.core.ports import Action, ActionKind, ToolContext, ToolResult

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


@dataclass
class EchoTool:
    """Gives back its `text`. `works` does something else instead."""

    name: str = "echo"
    is_dangerous: bool = False
    is_idempotent: bool = True
    works: Callable[[str], Awaitable[str]] | None = None
    ran: list[str] = field(default_factory=list)

    @property
    def spec(self) -> ToolSpec:
        return ToolSpec(self.name, "Give the text back", SCHEMA)

    def parse(self, arguments: str) -> dict[str, Any]:
        try:
            parsed = json.loads(arguments)
            return {"text": str(parsed["text"])}
        except (ValueError, KeyError, TypeError) as error:
            raise ToolFailed(f"text: {error!r}") from error

    def preview(self, arguments: dict[str, Any]) -> str:
        return str(arguments["text"])

    def action(self, arguments: dict[str, Any], context: ToolContext) -> Action | None:
        return Action(ActionKind.COMMAND, arguments["text"], (), Path("/")) if self.is_dangerous else None

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        self.ran.append(arguments["text"])
        if self.works is not None:
            return ToolResult(await self.works(arguments["text"]))
        await asyncio.sleep(0)
        return ToolResult(f"echo: {arguments['text']}")
