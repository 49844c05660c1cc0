"""The `speech_to_text` tool: OpenAI's transcriptions API."""

from __future__ import annotations

from pydantic import Field

from hermes.core.errors import ToolFailed
from hermes.core.ports import Action, ToolContext, ToolResult
from hermes.core.toolset import TOOLSETS
from hermes.toolsets import output
from hermes.toolsets.endpoint import Endpoint
from hermes.toolsets.fetch import Fetcher
from hermes.toolsets.media import SOUNDS, SUFFIXES, Source
from hermes.toolsets.paths import Reach
from hermes.toolsets.tool import Arguments, BaseTool, one_line
from hermes.toolsets.toolset import Toolset

LONGEST_TRANSCRIPT = 50_000
MEDIA_TYPES = {"mp3": "audio/mpeg", "m4a": "audio/mp4"}


class SttArguments(Arguments):
    audio: str = Field(description="File path or https URL.")
    language: str = Field("", description="ISO 639-1 code, if known.", pattern=r"^([a-z]{2,3})?$")


class SttTool(BaseTool[SttArguments]):
    name = "speech_to_text"
    description = "Write down what is said in a recording (MP3, WAV, M4A, OGG, FLAC, WebM)."
    arguments = SttArguments
    is_idempotent = True

    def __init__(
        self,
        endpoint: Endpoint | None,
        reach: Reach,
        fetcher: Fetcher | None = None,
        *,
        language: str | None = None,
        most_bytes: int = 25 << 20,
    ) -> None:
        super().__init__()
        self._endpoint = endpoint
        self._language = language
        self._source = Source(
            reach=reach, fetcher=fetcher or Fetcher(), kinds=SOUNDS, what="recording", most_bytes=most_bytes
        )

    def summary(self, arguments: SttArguments) -> str:
        return arguments.audio

    def action(self, arguments: SttArguments, context: ToolContext) -> Action | None:
        return self._source.action(arguments.audio, context)

    async def run(self, arguments: SttArguments, context: ToolContext) -> ToolResult:
        import aiohttp

        endpoint = self._endpoint
        if endpoint is None:
            raise ToolFailed("No service that writes down speech is configured here.")
        sound = await self._source.load(arguments.audio, context)
        form = aiohttp.FormData()
        name = f"{sound.name.rpartition('.')[0] or sound.name}.{SUFFIXES.get(sound.kind, sound.kind)}"
        media_type = MEDIA_TYPES.get(sound.kind, f"audio/{sound.kind}")
        form.add_field("file", sound.data, filename=name, content_type=media_type)
        form.add_field("model", endpoint.model)
        form.add_field("response_format", "json")
        if language := arguments.language or self._language:
            form.add_field("language", language)
        answer = (await endpoint.post("audio/transcriptions", form=form)).json()
        text = answer.get("text") if isinstance(answer, dict) else None
        if not isinstance(text, str):
            raise endpoint.no_answer("a text")
        text = text.strip()
        if not text:
            return ToolResult("[nothing is said in the recording]", preview="nothing said")
        return ToolResult(output.cut(text, LONGEST_TRANSCRIPT), preview=one_line(text))


def stt_toolset(
    endpoint: Endpoint | None,
    reach: Reach,
    fetcher: Fetcher | None = None,
    *,
    language: str | None = None,
    most_bytes: int = 25 << 20,
    problem: str = "",
) -> Toolset:
    tool = SttTool(endpoint, reach, fetcher, language=language, most_bytes=most_bytes)
    return Toolset(TOOLSETS["stt"], (tool,), problem, not problem)
