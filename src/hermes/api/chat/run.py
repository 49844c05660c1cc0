"""The answer to a chat while its run goes on, plain or streamed."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response

from hermes.api.chat.answer import answer_headers, chat_answer, warnings
from hermes.api.chat.stream import ChatStream
from hermes.api.run_answer import EitherAnswer
from hermes.api.services import Services
from hermes.core import event as events
from hermes.core.errors import HermesError
from hermes.core.event import KeptEvent, lasting
from hermes.core.run import Run, RunRequest


class ChatRun(EitherAnswer):
    """An ASGI answer that follows one run to its end."""

    def __init__(
        self,
        services: Services,
        run: Run,
        request: RunRequest,
        model: str,
        *,
        is_stream: bool,
        include_usage: bool,
    ) -> None:
        super().__init__(services, run, is_stream=is_stream, is_durable=request.is_durable)
        self.request = request
        self.model = model
        self._chunks = ChatStream(
            run,
            model,
            include_usage=include_usage,
            is_whole=not services.settings.is_streaming,
            tool_progress=services.settings.tool_progress,
        )

    @property
    def has_ended(self) -> bool:
        return self._chunks.has_ended

    async def whole(self, happened: Sequence[KeptEvent]) -> Response:
        return chat_answer(self.run, self.request, [kept.event for kept in lasting(happened)], self.model)

    def headers(self, happened: Sequence[KeptEvent]) -> dict[str, str]:
        return answer_headers(self.run, self.request, warnings([kept.event for kept in lasting(happened)]))

    async def opening(self, happened: Sequence[KeptEvent]) -> bytes:
        """Warnings are in the headers already."""
        shown = [kept for kept in happened if not isinstance(kept.event, events.Warned)]
        return self._chunks.first() + await self.more(shown)

    async def more(self, happened: Sequence[KeptEvent]) -> bytes:
        return b"".join([self._chunks.event(kept.event) for kept in lasting(happened)])

    def broken(self, error: HermesError) -> bytes:
        return self._chunks.error(error)
