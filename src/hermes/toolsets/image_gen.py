"""The `image_generate` tool: a picture of OpenAI's images API, saved as a file."""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import Any

from pydantic import Field

from hermes.core.errors import ToolFailed
from hermes.core.ports import Action, ToolContext, ToolResult
from hermes.core.toolset import TOOLSETS
from hermes.toolsets import disk
from hermes.toolsets.endpoint import Endpoint
from hermes.toolsets.fetch import Fetcher
from hermes.toolsets.media import PICTURES, kind_of, target
from hermes.toolsets.paths import Reach
from hermes.toolsets.tool import Arguments, BaseTool, one_line
from hermes.toolsets.toolset import Toolset

MOST_BYTES = 50 << 20
KINDS = ("png", "jpeg", "webp", "gif")


class ImageGenArguments(Arguments):
    prompt: str = Field(min_length=1, max_length=32_000)
    size: str = Field("", description="Such as 1024x1024.", pattern=r"^([0-9]{2,5}x[0-9]{2,5}|auto)?$")
    path: str = Field("", description="Where to save it; a new file of the working directory by default.")


class ImageGenTool(BaseTool[ImageGenArguments]):
    name = "image_generate"
    description = "Make a picture from a description and save it as a file."
    arguments = ImageGenArguments

    def __init__(self, endpoint: Endpoint | None, reach: Reach, size: str | None = None) -> None:
        super().__init__()
        self._endpoint = endpoint
        self._reach = reach
        self._size = size

    def summary(self, arguments: ImageGenArguments) -> str:
        return arguments.prompt

    def action(self, arguments: ImageGenArguments, context: ToolContext) -> Action:
        there = target(arguments.prompt, arguments.path, "image", context)
        return there.action("write a picture", KINDS, context)

    async def run(self, arguments: ImageGenArguments, context: ToolContext) -> ToolResult:
        endpoint = self._endpoint
        if endpoint is None:
            raise ToolFailed("No service that makes pictures is configured here.")
        there = target(arguments.prompt, arguments.path, "image", context)
        self._reach.check(there.path)  # before it costs anything
        size = arguments.size or self._size
        body = {"model": endpoint.model, "prompt": arguments.prompt, "n": 1, **({"size": size} if size else {})}
        reply = await endpoint.post("images/generations", body=body, most_bytes=MOST_BYTES * 4 // 3)
        made = _first(reply.json())
        data = await self._bytes(endpoint, made)
        kind = kind_of(data, PICTURES)
        if kind is None:
            raise endpoint.no_answer("a picture")
        path = there.of_kind(kind)
        await asyncio.to_thread(disk.write_bytes, path, data, self._reach)
        revised = made.get("revised_prompt")
        drawn = f"\nIt was drawn from: {one_line(revised, 500)}" if isinstance(revised, str) and revised else ""
        return ToolResult(f"Saved {path} ({kind}, {len(data):,} bytes).{drawn}", preview=f"saved {path.name}")

    async def _bytes(self, endpoint: Endpoint, made: dict[str, Any]) -> bytes:
        encoded, url = made.get("b64_json"), made.get("url")
        if isinstance(encoded, str) and encoded:
            try:
                return base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError) as error:
                raise endpoint.no_answer("a picture") from error
        if isinstance(url, str) and url:
            fetcher = Fetcher(hosts=(endpoint.host,), timeout_seconds=endpoint.timeout_seconds)
            return (await fetcher.get(url, most_bytes=MOST_BYTES)).data
        raise endpoint.no_answer("a picture")


def _first(answer: Any) -> dict[str, Any]:
    """The entry of the one picture; empty for an answer of another shape."""
    pictures = answer.get("data") if isinstance(answer, dict) else None
    found = pictures[0] if isinstance(pictures, list) and pictures else None
    return found if isinstance(found, dict) else {}


def image_gen_toolset(
    endpoint: Endpoint | None, reach: Reach, *, size: str | None = None, problem: str = ""
) -> Toolset:
    return Toolset(TOOLSETS["image_gen"], (ImageGenTool(endpoint, reach, size),), problem, not problem)
