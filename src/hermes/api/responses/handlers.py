"""/v1/responses: a request becomes a run, and its events become a response (spec: api-server section 4)."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from hermes.api.answers import JsonAnswer, headers_of, owner_of
from hermes.api.chat.answer import answer_headers
from hermes.api.documented import documented, read_query
from hermes.api.limits import read_object
from hermes.api.responses.answer import ToolOutputs, response_id, run_suffix
from hermes.api.responses.chain import Started, start
from hermes.api.responses.documentation import (
    CreateResponse,
    DeletedResponse,
    InputItems,
    InputItemsQuery,
    ResponseObject,
    ResponseQuery,
)
from hermes.api.responses.items import Item, references, with_ids
from hermes.api.responses.request import parse
from hermes.api.responses.run import ResponseRun, ResumedResponse, response_now, run_headers
from hermes.api.responses.stream import ResponseStream
from hermes.api.services import Services
from hermes.core.errors import Conflict, InvalidInput, NotFound, TooLarge
from hermes.core.event import is_final
from hermes.core.run import Run
from hermes.store import responses as response_store
from hermes.store.responses import KeptResponse

CANCEL_SECONDS = 5.0
"""How long the answer to a cancel waits for the run's end."""
TOUCH_AFTER_SECONDS = 60.0
"""A chain whose use was noted so recently is not written again by a reader."""
MAX_REFERENCES = 200

_ITEM_ID = re.compile(r"[a-z]{2,4}_(?P<suffix>[0-9a-f]{32})_i?[0-9]{1,6}\Z")
_RESPONSE_ID = re.compile(r"resp_[A-Za-z0-9_-]{1,128}\Z")


@documented(
    body=CreateResponse,
    answer=ResponseObject,
    also=("text/event-stream",),
    errors=(
        "previous_response_not_found",
        "conversation_taken",
        "session_not_found",
        "unsupported_parameter",
        "unsupported_content_type",
        "invalid_content_part",
        "file_not_found",
        "invalid_image_url",
    ),
)
async def create(request: Request, services: Services) -> ASGIApp:
    """Make a response.

    It goes on with a chain by `previous_response_id`, or with a named `conversation`. Streamed with `stream`; with
    `background` it is answered at once and read later.
    """
    body = await read_object(request)
    key = owner_of(request)
    known = await referenced(body.get("input"), key.id, services)
    call = parse(body, headers_of(request), key, services.settings, known)
    started = await start(call, services)
    if call.is_background and not call.is_stream:
        return JsonAnswer(await _begun(started, services), headers=answer_headers(started.run, started.request, ()))
    return ResponseRun(services, started, is_stream=call.is_stream, waits_for_start=not call.is_background)


@documented(query=ResponseQuery, answer=ResponseObject, also=("text/event-stream",), errors=("response_not_found",))
async def show(request: Request, services: Services) -> ASGIApp:
    """Read a response, or its stream.

    `stream=true` gives its events, from the first or behind `starting_after`, whether it still runs or has ended.
    """
    query = read_query(request, ResponseQuery)
    if query.starting_after is not None and not query.stream:
        raise InvalidInput("starting_after is for stream=true", param="starting_after")
    kept, run = await _kept(request, services)
    await _touch(kept, services)
    if query.stream:
        return ResumedResponse(services, run, kept, -1 if query.starting_after is None else query.starting_after)
    return JsonAnswer(await response_now(kept, run, services), headers=run_headers(run))


@documented(answer=DeletedResponse, errors=("response_not_found", "response_in_progress"))
async def delete(request: Request, services: Services) -> Response:
    """Delete a response.

    What was said stays in its chain, which later responses go on from; with its last response the chain goes too.
    """
    kept, run = await _kept(request, services)
    if not run.status.is_final:
        raise Conflict(f"{kept.id} is in progress; cancel it first, or wait", code="response_in_progress")
    await services.database.write(response_store.delete, kept.id, kept.owner, durable=True)
    return JsonAnswer({"id": kept.id, "object": "response", "deleted": True})


@documented(answer=ResponseObject, errors=("response_not_found", "response_not_background"))
async def cancel(request: Request, services: Services) -> Response:
    """Stop a response that runs in the background. One that has ended already is given as it is."""
    kept, run = await _kept(request, services)
    if not kept.request.get("background"):
        raise InvalidInput(
            f"{kept.id} was not made with background; closing its connection stops it", code="response_not_background"
        )
    if not run.status.is_final:
        with suppress(Conflict):
            await services.runner.stop(run.id, run.owner, "cancelled by the user")
        with suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS):
                await _until_end(run, services)
        run = await services.runner.get(run.id, run.owner)
    return JsonAnswer(await response_now(kept, run, services), headers=run_headers(run))


@documented(query=InputItemsQuery, answer=InputItems, errors=("response_not_found",))
async def input_items(request: Request, services: Services) -> Response:
    """List the items that the request of a response brought. The newest come first unless `order` is asc."""
    query = read_query(request, InputItemsQuery)
    kept, run = await _kept(request, services)
    items = with_ids(kept.input, run_suffix(run.id))
    if query.order == "desc":
        items.reverse()
    if query.after is not None:
        ids = [item["id"] for item in items]
        if query.after not in ids:
            raise InvalidInput(f"after names no input item of {kept.id}", param="after")
        items = items[ids.index(query.after) + 1 :]
    page = items[: query.limit]
    first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
    has_more = len(items) > len(page)
    return JsonAnswer({"object": "list", "data": page, "first_id": first, "last_id": last, "has_more": has_more})


async def referenced(value: object, owner: str, services: Services) -> Mapping[str, Item]:
    """The stored items, input or output, that an input only names. What is not there is left to the reader to tell."""
    asked = references(value)
    found = {match["suffix"] for item_id in asked if (match := _ITEM_ID.match(item_id))}
    if len(found) > MAX_REFERENCES:
        raise InvalidInput(f"input has references into more than {MAX_REFERENCES} responses", param="input")
    items: dict[str, Item] = {}
    for suffix in found:
        kept = await services.database.read(response_store.get, response_id(suffix), owner)
        if kept is not None:
            run = await services.runner.get(kept.run_id, owner)
            shown = [*with_ids(kept.input, suffix), *(await response_now(kept, run, services))["output"]]
            items |= {item["id"]: item for item in shown}
    _check_size(asked, items, services.settings.json_limit_bytes)
    return items


def _check_size(asked: Sequence[str], items: Mapping[str, Item], most: int) -> None:
    """A few bytes stand for a whole item, and each time they are there it is kept and said again."""
    uses = Counter(item_id for item_id in asked if item_id in items)
    size = sum(count * len(orjson.dumps(items[item_id])) for item_id, count in uses.items())
    if size > most:
        raise TooLarge(f"the items that input refers to have {size} bytes together; the limit is {most}", param="input")


async def _begun(started: Started, services: Services) -> dict[str, Any]:
    """A background response as it is when its request is answered."""
    run = started.run
    if run.is_replay:
        kept = await services.database.read(response_store.get, response_id(run.id), run.owner)
        if kept is not None:
            return await response_now(kept, run, services)
    outputs = ToolOutputs(services.database, run)
    return ResponseStream(run, started.fields, outputs, started.previous).response()


async def _kept(request: Request, services: Services) -> tuple[KeptResponse, Run]:
    """Raises NotFound `response_not_found`; someone else's response is as unknown as none."""
    sent, owner = request.path_params["response_id"], owner_of(request).id
    kept = None
    if _RESPONSE_ID.match(sent) is not None:
        kept = await services.database.read(response_store.get, sent, owner)
    if kept is None:
        raise NotFound(f"no response {sent[:128]!r}", code="response_not_found", param="response_id")
    return kept, await services.runner.get(kept.run_id, owner)


async def _touch(kept: KeptResponse, services: Services) -> None:
    """The chains that are read stay."""
    now = services.clock.now()
    used_at = await services.database.read(response_store.used_at, kept.session_id)
    if used_at is not None and now - used_at > TOUCH_AFTER_SECONDS:
        await services.database.write(response_store.touch, kept.session_id, now)


async def _until_end(run: Run, services: Services) -> None:
    async for one in services.runner.follow(run.id):
        if is_final(one.event):
            return
