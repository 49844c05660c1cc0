"""The `text_to_speech` tool: OpenAI's speech API, saved as a file."""

from __future__ import annotations

import asyncio

from pydantic import Field

from hermes.core.errors import ToolFailed
from hermes.core.ports import Action, ToolContext, ToolResult
from hermes.core.toolset import TOOLSETS
from hermes.toolsets import disk
from hermes.toolsets.endpoint import Endpoint
from hermes.toolsets.media import target
from hermes.toolsets.paths import Reach
from hermes.toolsets.tool import Arguments, BaseTool
from hermes.toolsets.toolset import Toolset

LONGEST_TEXT = 4_096
"""Characters that OpenAI takes at once."""
MOST_BYTES = 100 << 20


class TtsArguments(Arguments):
    text: str = Field(min_length=1, max_length=LONGEST_TEXT)
    voice: str = Field("", max_length=100)
    path: str = Field("", description="Where to save it; a new file of the working directory by default.")


class TtsTool(BaseTool[TtsArguments]):
    name = "text_to_speech"
    description = "Speak a text into an audio file."
    arguments = TtsArguments

    def __init__(
        self, endpoint: Endpoint | None, reach: Reach, voice: str = "alloy", audio_format: str = "mp3"
    ) -> None:
        super().__init__()
        self._endpoint = endpoint
        self._reach = reach
        self._voice = voice
        self._format = audio_format

    def summary(self, arguments: TtsArguments) -> str:
        return arguments.text

    def action(self, arguments: TtsArguments, context: ToolContext) -> Action:
        there = target(arguments.text, arguments.path, "speech", context)
        return there.action("write speech", (self._format,), context)

    async def run(self, arguments: TtsArguments, context: ToolContext) -> ToolResult:
        endpoint = self._endpoint
        if endpoint is None:
            raise ToolFailed("No service that speaks is configured here.")
        there = target(arguments.text, arguments.path, "speech", context)
        self._reach.check(there.path)
        body = {
            "model": endpoint.model,
            "input": arguments.text,
            "voice": arguments.voice or self._voice,
            "response_format": self._format,
        }
        reply = await endpoint.post("audio/speech", body=body, most_bytes=MOST_BYTES)
        if not reply.data or reply.media_type.startswith(("text/", "application/json")):
            raise endpoint.no_answer("sound")
        path = there.of_kind(self._format)
        await asyncio.to_thread(disk.write_bytes, path, reply.data, self._reach)
        return ToolResult(f"Saved {path} ({self._format}, {len(reply.data):,} bytes).", preview=f"saved {path.name}")


def tts_toolset(
    endpoint: Endpoint | None,
    reach: Reach,
    *,
    voice: str = "alloy",
    audio_format: str = "mp3",
    problem: str = "",
) -> Toolset:
    return Toolset(TOOLSETS["tts"], (TtsTool(endpoint, reach, voice, audio_format),), problem, not problem)
