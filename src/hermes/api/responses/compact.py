"""POST /v1/responses/compact: a conversation, said again by the model in as few words as will do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from hermes.api import headers as names
from hermes.api.answers import JsonAnswer, headers_of, owner_of
from hermes.api.chat.answer import answer_headers, failure, warnings
from hermes.api.chat.completions import fingerprint
from hermes.api.chat.parameters import ignored_fields, model_name
from hermes.api.content import prepared
from hermes.api.documented import documented
from hermes.api.errors import kept_error_response
from hermes.api.limits import read_object
from hermes.api.responses.answer import response_id, run_suffix, usage_object
from hermes.api.responses.chain import Past, past_of
from hermes.api.responses.documentation import CompactedResponse, CompactRequest
from hermes.api.responses.handlers import referenced
from hermes.api.responses.items import compaction_content, parse_input
from hermes.api.responses.request import SOURCE, instructions_of, previous_of
from hermes.api.run_answer import WholeAnswer
from hermes.api.services import Services
from hermes.core import event as events
from hermes.core.errors import InvalidInput
from hermes.core.event import KeptEvent
from hermes.core.message import Message
from hermes.core.run import Ask, IdempotencyClaim, Limits, Run, RunRequest
from hermes.http.headers import RawHeaders

ROUTE = "POST /v1/responses/compact"
KNOWN = frozenset({"model", "input", "previous_response_id", "instructions", "prompt_cache_key"})

TASK = (
    "Summarise the conversation so far, so that it can go on from your summary alone. Say what the user wants, what "
    "was decided and done, every name, number, path and fact that may be needed again, and what is still open. Write "
    "no greeting and no comment on the summary."
)


@documented(
    body=CompactRequest,
    answer=CompactedResponse,
    errors=(
        "previous_response_not_found",
        "unsupported_content_type",
        "invalid_content_part",
        "invalid_image_url",
        "file_not_found",
    ),
)
async def compact(request: Request, services: Services) -> ASGIApp:
    """Make a conversation shorter.

    The model summarises `input`, or the chain of `previous_response_id`, in one call. The item that comes back stands
    for all of it as the beginning of the next `input`. The chain itself stays as it is.
    """
    body = await read_object(request)
    headers, key = headers_of(request), owner_of(request)
    model = model_name(body.get("model"))
    if model is None:
        raise InvalidInput("model must be given", param="model")
    found = parse_input(body.get("input") or [], await referenced(body.get("input"), key.id, services))
    previous = previous_of(body.get("previous_response_id"))
    past = Past() if previous is None else await past_of(previous, key.id, services)
    history = (*past.messages, *found.messages)
    if not history:
        raise InvalidInput("input or previous_response_id must bring something to compact", param="input")
    told = [past.system, *found.system, instructions_of(body.get("instructions")) or ""]
    asked = _run_request(body, headers, key.id, history, told)
    asked = replace(asked, model=services.settings.chosen_model(model))
    asked = await prepared(asked, services, found.remote_images)
    run = await services.runner.start(asked)
    return Compaction(services, run, asked)


class Compaction(WholeAnswer):
    """The answer once the summary is there."""

    def __init__(self, services: Services, run: Run, request: RunRequest) -> None:
        super().__init__(services, run, is_durable=request.is_durable)
        self.request = request

    async def whole(self, happened: Sequence[KeptEvent]) -> Response:
        told = answer_headers(self.run, self.request, warnings([kept.event for kept in happened]))
        final = happened[-1].event
        if not isinstance(final, events.RunCompleted):
            return kept_error_response(failure(final), headers=told)
        return JsonAnswer(compaction_object(self.run, final), headers=told)


def compaction_object(run: Run, final: events.RunCompleted) -> dict[str, Any]:
    item = {
        "type": "compaction",
        "id": f"cmp_{run_suffix(run.id)}_0",
        "encrypted_content": compaction_content(final.output),
    }
    return {
        "id": response_id(run.id),
        "object": "response.compaction",
        "created_at": int(run.created_at),
        "output": [item],
        "usage": usage_object(final.usage),
    }


def _run_request(
    body: Mapping[str, Any], headers: RawHeaders, owner: str, history: Sequence[Message], told: Sequence[str]
) -> RunRequest:
    """One call of the model, without tools; nothing of it can be found again but by its Idempotency-Key."""
    key = names.idempotency_key(headers)
    return RunRequest(
        owner=owner,
        source=SOURCE,
        messages=(Message("user", TASK),),
        session_key=names.session_key(headers),
        history=tuple(history),
        is_stateless=True,
        instructions="\n\n".join(text for text in told if text),
        toolsets=(),
        tool_choice="none",
        limits=Limits(max_steps=1),
        ask=Ask.DENY,
        is_durable=names.is_detached(headers) or key is not None,
        idempotency=None if key is None else IdempotencyClaim(key, fingerprint(body, None, None, route=ROUTE)),
        skip_context_files=True,
        skip_memory=True,
        warnings=tuple(ignored_fields(body, KNOWN)),
    )
