"""Responses and the chains they form. A chain is the session its responses were said in (docs/adr/0060).

A response keeps only what its own request brought: the fields its object repeats and its own input items. What was
said is in the session's messages, what happened in the run's events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam

from hermes.core.errors import Conflict
from hermes.core.message import Message

from . import messages as message_rows
from . import sessions as session_store
from . import turns
from .encoding import from_json, to_json
from .problems import is_duplicate
from .schema import messages, response_chains, responses, runs, sessions
from .statement import InsertInto, Row, Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptResponse:
    """`request` and `input` are JSON values; `created_at` in unix seconds."""

    id: str
    run_id: str
    session_id: str
    owner: str
    created_at: float
    previous_response_id: str | None = None
    request: Mapping[str, Any]
    input: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """The result of a tool call as the model saw it. `place` grows within a session."""

    place: int
    tool_call_id: str
    content: str


def add(conn: Connection, response: KeptResponse) -> None:
    """Its run and its chain must be there."""
    values = {name: getattr(response, name) for name in _COLUMNS}
    _ADD.run(conn, values | {"request": to_json(response.request), "input": to_json(response.input)})


def get(conn: Connection, response_id: str, owner: str) -> KeptResponse | None:
    return _kept(_GET.first(conn, {"response": response_id, "of_owner": owner}))


def delete(conn: Connection, response_id: str, owner: str) -> bool:
    """False when there was none. The last one takes its chain along, and the session that was made for it."""
    kept = get(conn, response_id, owner)
    if kept is None:
        return False
    turns.wait_for(conn, "session", kept.session_id)  # another may just go on with the chain
    _DELETE.run(conn, {"response": response_id})
    if not _ANY_OF_CHAIN.first(conn, {"session": kept.session_id}):
        _drop(conn, kept.session_id)
    return True


def keep_chain(conn: Connection, session_id: str, owner: str, now: float, conversation: str | None = None) -> None:
    """Makes the session a chain, or notes that it was used. Raises Conflict `conversation_taken` when another chain
    has that name, or this one another name."""
    try:
        _KEEP_CHAIN.run(conn, {"session_id": session_id, "owner": owner, "used_at": now, "conversation": conversation})
    except Exception as error:
        if is_duplicate(error):
            raise _taken(conversation) from error
        raise
    if conversation is not None and chain_named(conn, owner, conversation) != session_id:
        raise _taken(conversation)


def chain_named(conn: Connection, owner: str, conversation: str) -> str | None:
    """The session of a conversation."""
    row = _NAMED.first(conn, {"of_owner": owner, "name": conversation})
    return None if row is None else row[0]


def touch(conn: Connection, session_id: str, now: float) -> None:
    """Somebody read a response of the chain."""
    _TOUCH.run(conn, {"session": session_id, "now": now})


def used_at(conn: Connection, session_id: str) -> float | None:
    row = _USED.first(conn, {"session": session_id})
    return None if row is None else row[0]


def is_newest(conn: Connection, session_id: str, run_id: str, but: str) -> bool:
    """Whether nothing was said in the session behind this run, and no other run but `but` waits to."""
    if _OTHERS_OPEN.first(conn, {"session": session_id, "run": run_id, "but": but}):
        return False
    newest = _NEWEST.first(conn, {"session": session_id})
    return newest is None or newest[0] == run_id


def history_to(conn: Connection, session_id: str, run_id: str) -> list[Message]:
    """What was said in the session up to the end of this run."""
    values = {"session": session_id, "upto": _end_of(conn, session_id, run_id)}
    return [message_rows.decode(row) for row in _HISTORY_TO.all(conn, values)]


def branch(conn: Connection, session_id: str, run_id: str, into: str) -> None:
    """Copies what was said up to the end of this run into another session, which becomes a child of this one."""
    _COPY.run(conn, {"session": session_id, "upto": _end_of(conn, session_id, run_id), "into": into})
    _ADOPT.run(conn, {"parent": session_id, "into": into})


def add_system(conn: Connection, session_id: str, text: str) -> None:
    """System text that a request brought holds for the rest of its chain; what it says already is not said twice."""
    row = _SYSTEM.first(conn, {"session": session_id})
    known = row[0] if row is not None else None
    if known and text in known:
        return
    _SET_SYSTEM.run(conn, {"session": session_id, "text": f"{known}\n\n{text}" if known else text})


def tool_outputs(conn: Connection, session_id: str, run_id: str, after: int = 0) -> list[ToolOutput]:
    """Results of the run's tool calls behind a place, in the order they came."""
    rows = _OUTPUTS.all(conn, {"session": session_id, "run": run_id, "after": after})
    return [ToolOutput(*row) for row in rows]


def purge_chains(conn: Connection, keep: int, limit: int = 50) -> int:
    """Drops each owner's chains beyond the `keep` most recently used, whole; one that is at work stays.

    Returns how many: at most `limit`, so that the writer is never held long; call again until it is 0.
    """
    beyond = [row[0] for row in _BEYOND.all(conn, {"keep": keep, "most": limit})]
    dropped = 0
    for session_id in beyond:
        if turns.is_free(conn, "session", session_id) and not _IS_AT_WORK.first(conn, {"of": session_id}):
            _drop(conn, session_id)
            dropped += 1
    return dropped


def _drop(conn: Connection, session_id: str) -> None:
    _DROP_CHAIN.run(conn, {"session": session_id})
    if _MADE_FOR_CHAIN.first(conn, {"session": session_id}):
        session_store.delete(conn, session_id)


def _end_of(conn: Connection, session_id: str, run_id: str) -> int:
    """The last message of the run; where it said nothing, the last one before it came."""
    row = _LAST_OF_RUN.first(conn, {"session": session_id, "run": run_id})
    if row is None or row[0] is None:
        row = _LAST_BEFORE.first(conn, {"session": session_id, "run": run_id})
    return 0 if row is None or row[0] is None else row[0]


def _taken(conversation: str | None) -> Conflict:
    return Conflict(
        f"the conversation {conversation!r} is another session's", code="conversation_taken", param="conversation"
    )


def _kept(row: Row | None) -> KeptResponse | None:
    if row is None:
        return None
    values: dict[str, Any] = dict(zip(_COLUMNS, row, strict=True))
    return KeptResponse(**values | {"request": from_json(values["request"]), "input": from_json(values["input"])})


_COLUMNS = ("id", "run_id", "session_id", "owner", "previous_response_id", "created_at", "request", "input")
_ADD = Statement(sa.insert(responses).values({name: bindparam(name) for name in _COLUMNS}))
_GET = Statement(
    sa.select(*(responses.c[name] for name in _COLUMNS)).where(
        responses.c.id == bindparam("response"), responses.c.owner == bindparam("of_owner")
    )
)
_DELETE = Statement(sa.delete(responses).where(responses.c.id == bindparam("response")))
_ANY_OF_CHAIN = Statement(
    sa.select(responses.c.id).where(responses.c.session_id == bindparam("session")).limit(sa.literal(1))
)


def _keep_chain(insert: InsertInto) -> Any:
    row = insert(response_chains).values(
        {name: bindparam(name) for name in ("session_id", "owner", "conversation", "used_at")}
    )
    return row.on_conflict_do_update(
        index_elements=["session_id"],
        set_={
            "used_at": row.excluded.used_at,
            "conversation": sa.func.coalesce(response_chains.c.conversation, row.excluded.conversation),
        },
    )


_KEEP_CHAIN = Statement(_keep_chain)
_NAMED = Statement(
    sa.select(response_chains.c.session_id).where(
        response_chains.c.owner == bindparam("of_owner"), response_chains.c.conversation == bindparam("name")
    )
)
_OF_CHAIN = response_chains.c.session_id == bindparam("session")
_TOUCH = Statement(sa.update(response_chains).where(_OF_CHAIN).values(used_at=bindparam("now")))
_USED = Statement(sa.select(response_chains.c.used_at).where(_OF_CHAIN))
_DROP_CHAIN = Statement(sa.delete(response_chains).where(_OF_CHAIN))
_MADE_FOR_CHAIN = Statement(
    sa.select(sessions.c.id).where(sessions.c.id == bindparam("session"), sessions.c.source == sa.literal("responses"))
)

_ranked = sa.select(
    response_chains.c.session_id,
    sa.func.row_number()
    .over(
        partition_by=response_chains.c.owner,
        order_by=(response_chains.c.used_at.desc(), response_chains.c.session_id.desc()),
    )
    .label("rank"),
).subquery()
_at_work = sa.exists().where(runs.c.session_id == _ranked.c.session_id, runs.c.finished_at.is_(None))
_BEYOND = Statement(
    sa.select(_ranked.c.session_id).where(_ranked.c.rank > bindparam("keep"), ~_at_work).limit(bindparam("most"))
)

_IS_AT_WORK = Statement(
    sa.select(runs.c.id).where(runs.c.session_id == bindparam("of"), runs.c.finished_at.is_(None)).limit(sa.literal(1))
)

_OF_SESSION = messages.c.session_id == bindparam("session")
_NEWEST = Statement(sa.select(messages.c.run_id).where(_OF_SESSION).order_by(messages.c.id.desc()).limit(sa.literal(1)))
_OTHERS_OPEN = Statement(
    sa.select(runs.c.id)
    .where(
        runs.c.session_id == bindparam("session"),
        runs.c.finished_at.is_(None),
        runs.c.id.not_in([bindparam("run"), bindparam("but")]),
    )
    .limit(sa.literal(1))
)
_LAST_OF_RUN = Statement(
    sa.select(sa.func.max(messages.c.id)).where(_OF_SESSION, messages.c.run_id == bindparam("run"))
)
_LAST_BEFORE = Statement(
    sa.select(sa.func.max(messages.c.id))
    .join(runs, runs.c.id == bindparam("run"))
    .where(_OF_SESSION, messages.c.created_at <= runs.c.created_at)
)
_HISTORY_TO = Statement(
    sa.select(*(messages.c[name] for name in message_rows.COLUMNS))
    .where(_OF_SESSION, messages.c.id <= bindparam("upto"))
    .order_by(messages.c.id)
)
_COPIED = ("run_id", "created_at", *message_rows.COLUMNS)
_COPY = Statement(
    sa.insert(messages).from_select(
        ["session_id", *_COPIED],
        sa.select(bindparam("into"), *(messages.c[name] for name in _COPIED))
        .where(_OF_SESSION, messages.c.id <= bindparam("upto"))
        .order_by(messages.c.id),
    )
)
_parents = sessions.alias("parents")
_ADOPT = Statement(
    sa.update(sessions)
    .where(sessions.c.id == bindparam("into"))
    .values(
        parent_session_id=bindparam("parent"),
        system_prompt=sa.select(_parents.c.system_prompt).where(_parents.c.id == bindparam("parent")).scalar_subquery(),
        message_count=sa.select(sa.func.count())
        .select_from(messages)
        .where(messages.c.session_id == bindparam("into"))
        .scalar_subquery(),
    )
)
_SYSTEM = Statement(sa.select(sessions.c.system_prompt).where(sessions.c.id == bindparam("session")))
_SET_SYSTEM = Statement(
    sa.update(sessions).where(sessions.c.id == bindparam("session")).values(system_prompt=bindparam("text"))
)
_OUTPUTS = Statement(
    sa.select(messages.c.id, messages.c.tool_call_id, messages.c.content)
    .where(
        _OF_SESSION,
        messages.c.id > bindparam("after"),
        messages.c.run_id == bindparam("run"),
        messages.c.role == sa.literal("tool"),
    )
    .order_by(messages.c.id)
)
