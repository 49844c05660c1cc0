"""What a client gets of a response: the answer to its request, its stream read again, its object as it stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from hermes.api import headers as names
from hermes.api.answers import JsonAnswer
from hermes.api.chat.answer import answer_headers, failure, warnings
from hermes.api.errors import kept_error_response
from hermes.api.responses.answer import ToolOutputs
from hermes.api.responses.chain import Started
from hermes.api.responses.stream import ResponseStream, sse_bytes
from hermes.api.run_answer import EitherAnswer, StreamedAnswer
from hermes.api.services import Services
from hermes.api.sse import DONE
from hermes.core import event as events
from hermes.core.errors import HermesError
from hermes.core.event import KeptEvent
from hermes.core.run import Run
from hermes.store import events as event_store
from hermes.store.responses import KeptResponse

EVENTS_AT_ONCE = 500


class ResponseRun(EitherAnswer):
    """The answer to the request that started the run."""

    def __init__(self, services: Services, started: Started, *, is_stream: bool, waits_for_start: bool) -> None:
        super().__init__(services, started.run, is_stream=is_stream, is_durable=started.request.is_durable)
        self.request = started.request
        self.waits_for_start = waits_for_start
        self.outputs = ToolOutputs(services.database, started.run)
        self.stream = ResponseStream(started.run, started.fields, self.outputs, started.previous)

    @property
    def has_ended(self) -> bool:
        return self.stream.has_ended

    async def whole(self, happened: Sequence[KeptEvent]) -> Response:
        told, final = self.headers(happened), happened[-1].event
        if not isinstance(final, events.RunCompleted):
            used_tools = any(isinstance(kept.event, events.ToolStarted) for kept in happened)
            return kept_error_response(failure(final), used_tools=used_tools, headers=told)
        await self.outputs.fetch([kept.event for kept in happened])
        for kept in happened:
            self.stream.event(kept)
        return JsonAnswer(self.stream.response(), headers=told)

    def headers(self, happened: Sequence[KeptEvent]) -> dict[str, str]:
        return answer_headers(self.run, self.request, warnings([kept.event for kept in happened]))

    async def opening(self, happened: Sequence[KeptEvent]) -> bytes:
        return b"".join(map(sse_bytes, self.stream.first())) + await self.more(happened)

    async def more(self, happened: Sequence[KeptEvent]) -> bytes:
        await self.outputs.fetch([kept.event for kept in happened])
        shown = b"".join([sse_bytes(event) for kept in happened for event in self.stream.event(kept)])
        return shown + DONE if self.has_ended else shown

    def broken(self, error: HermesError) -> bytes:
        return sse_bytes(self.stream.error(error))


class ResumedResponse(StreamedAnswer):
    """The stream of a kept response behind the event numbered `after`. Reading it changes nothing."""

    waits_for_start = False

    def __init__(self, services: Services, run: Run, kept: KeptResponse, after: int) -> None:
        super().__init__(services, run, is_durable=True)
        self.after = after
        self.outputs = ToolOutputs(services.database, run)
        self.stream = stream_of(kept, run, self.outputs)

    @property
    def has_ended(self) -> bool:
        return self.stream.has_ended

    def headers(self, happened: Sequence[KeptEvent]) -> dict[str, str]:
        return run_headers(self.run)

    async def opening(self, happened: Sequence[KeptEvent]) -> bytes:
        return self._behind(self.stream.first())

    async def more(self, happened: Sequence[KeptEvent]) -> bytes:
        await self.outputs.fetch([kept.event for kept in happened])
        shown = self._behind([event for kept in happened for event in self.stream.event(kept)])
        return shown + DONE if self.has_ended else shown

    def broken(self, error: HermesError) -> bytes:
        return sse_bytes(self.stream.error(error))

    def _behind(self, shown: Sequence[dict[str, Any]]) -> bytes:
        return b"".join([sse_bytes(event) for event in shown if event["sequence_number"] > self.after])


def stream_of(kept: KeptResponse, run: Run, outputs: ToolOutputs) -> ResponseStream:
    return ResponseStream(run, kept.request, outputs, kept.previous_response_id)


def run_headers(run: Run) -> dict[str, str]:
    return {names.SESSION_ID: run.session_id, names.RUN_ID: run.id}


async def response_now(kept: KeptResponse, run: Run, services: Services) -> dict[str, Any]:
    """The object as it stands, from what is in the store."""
    outputs = ToolOutputs(services.database, run)
    stream = stream_of(kept, run, outputs)
    after = 0
    while page := await services.database.read(event_store.after, run.id, after, EVENTS_AT_ONCE):
        await outputs.fetch([one.event for one in page])
        for one in page:
            stream.event(one)
        after = page[-1].seq
    return stream.response()
