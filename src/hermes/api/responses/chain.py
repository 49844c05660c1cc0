"""Where a response belongs: the chain it goes on with, what was said there, and what is kept with its run.

A chain is a session. A response that continues the newest one of its chain goes on in that session; one that
continues an older one branches: a session of its own, into which the history up to there is copied (docs/adr/0060).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hermes.agent.history import open_call_ids
from hermes.api.chat.completions import split_turn
from hermes.api.content import prepared
from hermes.api.responses.answer import RESPONSE_PREFIX, response_id
from hermes.api.responses.request import ResponseCall
from hermes.api.services import Services
from hermes.core.errors import Conflict, InvalidInput, NotFound
from hermes.core.ids import new_id
from hermes.core.message import Message
from hermes.core.run import Run, RunRequest
from hermes.store import responses as response_store
from hermes.store import sessions as session_store
from hermes.store.database import Connection
from hermes.store.responses import KeptResponse

MOST_TRIES = 5

Keep = Callable[[Connection, Run], object]


class Overtaken(Conflict):
    """Another request was first: the place is looked up anew."""


@dataclass(frozen=True, slots=True)
class Past:
    """What a response that is not stored goes on from."""

    messages: Sequence[Message] = ()
    system: str = ""


@dataclass(frozen=True, slots=True)
class Started:
    """`fields` and `previous` are the kept ones: those of the first request where this one repeats it."""

    run: Run
    request: RunRequest
    fields: Mapping[str, Any]
    previous: str | None


async def start(call: ResponseCall, services: Services, past: Past | None = None) -> Started:
    """`past` is what the caller itself remembers of the previous response; None looks it up in the store.

    Raises what `Runner.start` raises, NotFound `previous_response_not_found`, InvalidInput.
    """
    tries = 0
    while True:
        asked = await (_stored(call, services) if call.is_stored else _unstored(call, services, past))
        asked = await prepared(asked, services, call.remote_images)
        try:
            run = await services.runner.start(asked)
        except Conflict as conflict:
            tries += 1
            if tries == MOST_TRIES or not (isinstance(conflict, Overtaken) or conflict.code == "conversation_taken"):
                raise
        else:
            return await _started(call, asked, run, services)


async def _started(call: ResponseCall, asked: RunRequest, run: Run, services: Services) -> Started:
    fields, previous = call.fields, call.previous
    if run.is_replay:
        kept = await services.database.read(response_store.get, response_id(run.id), run.owner)
        if kept is not None:
            fields, previous = kept.request, kept.previous_response_id
    return Started(run, asked, fields, previous)


async def _stored(call: ResponseCall, services: Services) -> RunRequest:
    """The run in the session of its chain, with what makes it a response."""
    request = call.request
    session_id, first = await _place(call, services)
    keep = (*first, _keeper(call))
    if session_id is None:  # the session that would hold this text for the turn is still to be made
        return replace(request, instructions=_joined(call.system, request.instructions), keep=keep)
    return replace(request, session_id=session_id, keep=keep)


async def _place(call: ResponseCall, services: Services) -> tuple[str | None, tuple[Keep, ...]]:
    """The session, None for a new one, and what is checked and done in the transaction before all else."""
    if call.previous is not None:
        previous = await _previous(call.previous, call.request.owner, services)
        if call.session_id not in (None, previous.session_id):
            raise InvalidInput(
                "previous_response_id is of another session than X-Hermes-Session-Id", param="previous_response_id"
            )
        answers = _answering(call, previous.session_id, previous.run_id)
        if await services.database.read(response_store.is_newest, previous.session_id, previous.run_id, ""):
            return previous.session_id, (*answers, _only_if_newest(previous.run_id))
        return new_id("sess"), (*answers, _branching(previous))
    session_id = call.session_id
    if call.conversation is not None:
        owner = call.request.owner
        session_id = await services.database.read(response_store.chain_named, owner, call.conversation)
        if session_id is not None and call.session_id not in (None, session_id):
            raise InvalidInput("conversation is of another session than X-Hermes-Session-Id", param="conversation")
        session_id = session_id or call.session_id
    return session_id, _answering(call, session_id, None)


async def _previous(response: str, owner: str, services: Services) -> KeptResponse:
    kept = None
    if response.startswith(RESPONSE_PREFIX):
        kept = await services.database.read(response_store.get, response, owner)
    if kept is None:
        raise not_found(response)
    return kept


def not_found(previous: str) -> NotFound:
    return NotFound(
        f"Previous response with id {previous[:128]!r} not found.",
        code="previous_response_not_found",
        param="previous_response_id",
    )


def _only_if_newest(previous_run: str) -> Keep:
    def check(conn: Connection, run: Run) -> None:
        if not response_store.is_newest(conn, run.session_id, previous_run, run.id):
            raise Overtaken("another response continued the same one first")

    return check


def _branching(previous: KeptResponse) -> Keep:
    def branch(conn: Connection, run: Run) -> None:
        response_store.branch(conn, previous.session_id, previous.run_id, run.session_id)

    return branch


def _keeper(call: ResponseCall) -> Keep:
    """A response is there with its run or not at all."""

    def keep(conn: Connection, run: Run) -> None:
        now = run.created_at
        response_store.keep_chain(conn, run.session_id, run.owner, now, call.conversation)
        response_store.add(
            conn,
            KeptResponse(
                id=response_id(run.id),
                run_id=run.id,
                session_id=run.session_id,
                owner=run.owner,
                created_at=now,
                previous_response_id=call.previous,
                request=call.fields,
                input=call.input.items,
            ),
        )
        if call.system:
            response_store.add_system(conn, run.session_id, call.system)

    return keep


async def _unstored(call: ResponseCall, services: Services, past: Past | None) -> RunRequest:
    """Nothing of it can be retrieved: the history comes with the request, or is read from the chain."""
    request = call.request
    if call.session_id is not None and call.previous is None and call.conversation is None:
        return replace(request, session_id=call.session_id, instructions=_joined(call.system, request.instructions))
    known = past if past is not None else await _past(call, services)
    _check_open(call, known.messages)
    earlier, turn = split_turn(request.messages)
    history = (*known.messages, *earlier) if request.history is None else (*request.history, *earlier)
    instructions = _joined(known.system, call.system, request.instructions)
    return replace(request, messages=turn, history=history, is_stateless=True, instructions=instructions)


async def _past(call: ResponseCall, services: Services) -> Past:
    database, owner = services.database, call.request.owner
    if call.previous is not None:
        return await past_of(call.previous, owner, services)
    named = None
    if call.conversation is not None:
        named = await database.read(response_store.chain_named, owner, call.conversation)
    if named is None:
        return Past()
    session = await database.read(session_store.get, named)
    return Past(await database.read(session_store.history, named), (session and session.system_prompt) or "")


async def past_of(response: str, owner: str, services: Services) -> Past:
    """What was said up to the end of a response. Raises NotFound `previous_response_not_found`."""
    kept = await _previous(response, owner, services)
    messages = await services.database.read(response_store.history_to, kept.session_id, kept.run_id)
    session = await services.database.read(session_store.get, kept.session_id)
    return Past(messages, (session and session.system_prompt) or "")


def _answering(call: ResponseCall, session_id: str | None, upto_run: str | None) -> tuple[Keep, ...]:
    """Looked at with the run, so that a repeated request, which runs nothing, gets its answer again."""
    if not call.input.unpaired:
        return ()

    def check(conn: Connection, _run: Run) -> None:
        if session_id is None or call.request.history is not None:
            history: Sequence[Message] = ()
        elif upto_run is None:
            history = session_store.history(conn, session_id)
        else:
            history = response_store.history_to(conn, session_id, upto_run)
        _check_open(call, history)

    return (check,)


def _check_open(call: ResponseCall, history: Sequence[Message]) -> None:
    """A result must answer a call that waits for one; providers refuse the history otherwise."""
    if not call.input.unpaired:
        return
    waiting = open_call_ids([*history, *(call.request.history or ())])
    for call_id, param in call.input.unpaired.items():
        if call_id not in waiting:
            raise InvalidInput(
                f"No tool call found for function call output with call_id {call_id[:128]!r}.", param=param
            )


def _joined(*texts: str) -> str:
    return "\n\n".join(text for text in texts if text)
