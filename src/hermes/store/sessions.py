"""Sessions and their messages.

Every function runs inside `Database.write` or `Database.read` and commits with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam

from hermes.core.errors import Conflict
from hermes.core.message import Message
from hermes.core.run import Usage
from hermes.core.session import KeptMessage, Session

from . import messages as message_rows
from . import schema, search, turns
from .encoding import row_number
from .problems import is_duplicate
from .statement import Row, Statement

PREVIEW_CHARACTERS = 120


def create(conn: Connection, session: Session) -> None:
    """Raises Conflict `session_exists`."""
    values = {name: getattr(session, name) for name in _PLAIN}
    usage = session.usage
    for name in _USAGE:
        values[name] = getattr(usage, name)
    try:
        _INSERT.run(conn, values)
    except Exception as error:
        if is_duplicate(error):
            raise Conflict(f"the session {session.id!r} exists already", code="session_exists") from error
        raise


def get(conn: Connection, session_id: str) -> Session | None:
    row = _GET.first(conn, {"session": session_id})
    return None if row is None else from_row(row)


def history(conn: Connection, session_id: str) -> list[Message]:
    """All that was said, oldest first. Empty for an unknown session."""
    return [message_rows.decode(row) for row in _HISTORY.all(conn, {"session": session_id})]


def messages_before_run(conn: Connection, session_id: str, run_id: str) -> list[Message]:
    """The session's history without the run's own part."""
    return [message_rows.decode(row) for row in _BEFORE_RUN.all(conn, {"session": session_id, "run": run_id})]


def messages(
    conn: Connection,
    session_id: str,
    after_id: int = 0,
    limit: int = 100,
    *,
    before_id: int | None = None,
    offset: int = 0,
    is_newest: bool = False,
) -> list[KeptMessage]:
    """A page of the messages with their ids, oldest first. `is_newest`: the last ones of what lies between
    `after_id` and `before_id`, instead of the first; `offset` leaves out so many at that end."""
    values = {"session": session_id, "after": row_number(after_id), "limit": limit, "offset": row_number(offset)}
    if before_id is not None:
        values["before"] = row_number(before_id)
    rows = _page(before_id is not None, is_newest).all(conn, values)
    kept = [KeptMessage(place, session_id, run, at, message_rows.decode(row)) for place, run, at, *row in rows]
    return kept[::-1] if is_newest else kept


def messages_of_run(conn: Connection, session_id: str, run_id: str) -> list[KeptMessage]:
    """What a run was asked, said and did, in order."""
    rows = _OF_RUN.all(conn, {"session": session_id, "run": run_id})
    return [KeptMessage(place, session_id, run, at, message_rows.decode(row)) for place, run, at, *row in rows]


def add_messages(conn: Connection, session_id: str, run_id: str | None, added: Sequence[Message], now: float) -> None:
    """Appends, and keeps the session's count, activity and preview (the first user message's head) true."""
    rows = []
    preview = ""
    for message in added:
        row = message_rows.encode(message)
        row["session_id"], row["run_id"], row["created_at"] = session_id, run_id, now
        rows.append(row)
        if not preview and message.role == "user":
            preview = preview_of(row["content"])
    if len(rows) == 1:
        _ADD.run(conn, rows[0])
    elif rows:
        _ADD.run_many(conn, rows)
    _COUNT.run(conn, {"session": session_id, "added": len(rows), "now": now, "head": preview})


def add_usage(
    conn: Connection, session_id: str, usage: Usage, tool_calls: int, now: float, model: str | None = None
) -> None:
    """Adds to the session's totals. `model` becomes the session's when given."""
    values: dict[str, Any] = {f"add_{name}": getattr(usage, name) for name in _USAGE}
    values |= {"session": session_id, "tool_calls": tool_calls, "now": now}
    if usage.cost_usd is None:
        del values["add_cost_usd"]
    if model is not None:
        values["model"] = model
    _add_usage(usage.cost_usd is not None, model is not None).run(conn, values)


def change(conn: Connection, session_id: str, values: Mapping[str, Any]) -> bool:
    """`values` of title, ended_at and end_reason. False when there is no such session."""
    return _change(frozenset(values)).run(conn, {"session": session_id, **values}) > 0


def open_run(conn: Connection, session_id: str) -> str | None:
    """The id of a run of this session that has not ended."""
    row = _OPEN_RUN.first(conn, {"session": session_id})
    return None if row is None else str(row[0])


def delete(conn: Connection, session_id: str) -> bool:
    """With its messages, runs and events, and the sessions of runs that these delegated. False when there was none."""
    count = 0
    for one in reversed(family(conn, session_id)):
        search.forget(conn, one)
        count = _DELETE.run(conn, {"session": one})
    return count > 0


def family(conn: Connection, session_id: str) -> list[str]:
    """The session, and behind it those of the runs that were delegated in it, or in one of these: whoever opens such a
    session and goes on there may delegate again."""
    found = [session_id]
    for one in found:
        found += [child for (child,) in _CHILDREN.all(conn, {"session": one}) if child not in found]
    return found


def purge_stateless(conn: Connection, idle_since: float, limit: int = 200) -> int:
    """Deletes stateless sessions last active before then, with all that hangs on them. Returns how many: at most
    `limit`, so that the writer is never held long; call again until it is 0."""
    stale = [row[0] for row in _STALE.all(conn, {"idle_since": idle_since, "limit": limit})]
    return sum(delete(conn, one) for one in stale if turns.is_free(conn, "session", one) and not open_run(conn, one))


_SESSIONS, _MESSAGES, _RUNS = schema.sessions, schema.messages, schema.runs
_USAGE = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "api_calls",
    "cost_usd",
)
_PLAIN = (
    "id",
    "owner",
    "source",
    "started_at",
    "last_active",
    "title",
    "model",
    "user_id",
    "session_key",
    "system_prompt",
    "parent_session_id",
    "ended_at",
    "end_reason",
    "is_stateless",
    "message_count",
    "tool_call_count",
    "preview",
    "model_choice",
)
COLUMNS = [_SESSIONS.c[name] for name in (*_PLAIN, *_USAGE)]


def from_row(row: Row) -> Session:
    """From the values of COLUMNS."""
    values: dict[str, Any] = dict(zip(_PLAIN, row, strict=False))
    values["is_stateless"] = bool(values["is_stateless"])
    return Session(**values, usage=Usage(*row[len(_PLAIN) :]))


def preview_of(text: str) -> str:
    """One line of the head of a text."""
    line = " ".join(text[: 4 * PREVIEW_CHARACTERS].split())
    return line if len(line) <= PREVIEW_CHARACTERS else line[: PREVIEW_CHARACTERS - 1] + "…"


_INSERT = Statement(sa.insert(_SESSIONS).values({name: bindparam(name) for name in (*_PLAIN, *_USAGE)}))
_GET = Statement(sa.select(*COLUMNS).where(_SESSIONS.c.id == bindparam("session")))
_PARENTS = _RUNS.alias("parents")
_CHILDREN = Statement(
    sa.select(_RUNS.c.session_id)
    .join(_PARENTS, _PARENTS.c.id == _RUNS.c.parent_run_id)
    .where(_PARENTS.c.session_id == bindparam("session"))
    .distinct()
)
_DELETE = Statement(sa.delete(_SESSIONS).where(_SESSIONS.c.id == bindparam("session")))

_MESSAGE_COLUMNS = [_MESSAGES.c[name] for name in message_rows.COLUMNS]
_OF_SESSION = _MESSAGES.c.session_id == bindparam("session")
_HISTORY = Statement(sa.select(*_MESSAGE_COLUMNS).where(_OF_SESSION).order_by(_MESSAGES.c.id))
_BEFORE_RUN = Statement(
    sa.select(*_MESSAGE_COLUMNS)
    .where(_OF_SESSION, sa.or_(_MESSAGES.c.run_id.is_(None), _MESSAGES.c.run_id != bindparam("run")))
    .order_by(_MESSAGES.c.id)
)
_PLACED = sa.select(_MESSAGES.c.id, _MESSAGES.c.run_id, _MESSAGES.c.created_at, *_MESSAGE_COLUMNS)
_OF_RUN = Statement(_PLACED.where(_OF_SESSION, _MESSAGES.c.run_id == bindparam("run")).order_by(_MESSAGES.c.id))


@cache
def _page(before_one: bool, is_newest: bool) -> Statement:
    query = _PLACED.where(_OF_SESSION, _MESSAGES.c.id > bindparam("after"))
    if before_one:
        query = query.where(_MESSAGES.c.id < bindparam("before"))
    order = _MESSAGES.c.id.desc() if is_newest else _MESSAGES.c.id
    return Statement(query.order_by(order).limit(bindparam("limit")).offset(bindparam("offset")))


_ADD = Statement(
    sa.insert(_MESSAGES).values(
        {name: bindparam(name) for name in ("session_id", "run_id", "created_at", *message_rows.COLUMNS)}
    )
)
_COUNT = Statement(
    sa.update(_SESSIONS)
    .where(_SESSIONS.c.id == bindparam("session"))
    .values(
        message_count=_SESSIONS.c.message_count + bindparam("added"),
        last_active=bindparam("now"),
        preview=sa.case((_SESSIONS.c.preview == "", bindparam("head")), else_=_SESSIONS.c.preview),
    )
)


@cache
def _add_usage(with_cost: bool, with_model: bool) -> Statement:
    values: dict[str, Any] = {name: _SESSIONS.c[name] + bindparam(f"add_{name}") for name in _USAGE[:-1]}
    values["tool_call_count"] = _SESSIONS.c.tool_call_count + bindparam("tool_calls")
    values["last_active"] = bindparam("now")
    if with_cost:
        values["cost_usd"] = sa.func.coalesce(_SESSIONS.c.cost_usd, 0.0) + bindparam("add_cost_usd")
    if with_model:
        values["model"] = bindparam("model")
    return Statement(sa.update(_SESSIONS).where(_SESSIONS.c.id == bindparam("session")).values(values))


@cache
def _change(names: frozenset[str]) -> Statement:
    if unknown := names - {"title", "ended_at", "end_reason"}:
        raise TypeError(f"change does not set {', '.join(sorted(unknown))}")
    values: dict[str, Any] = {name: bindparam(name) for name in names}
    return Statement(sa.update(_SESSIONS).where(_SESSIONS.c.id == bindparam("session")).values(values))


_HAS_OPEN_RUN = sa.exists().where(_RUNS.c.session_id == _SESSIONS.c.id, _RUNS.c.finished_at.is_(None))
_OPEN_RUN = Statement(
    sa.select(_RUNS.c.id).where(_RUNS.c.session_id == bindparam("session"), _RUNS.c.finished_at.is_(None)).limit(1)
)
_STALE = Statement(
    sa.select(_SESSIONS.c.id)
    .where(_SESSIONS.c.is_stateless, _SESSIONS.c.last_active < bindparam("idle_since"), ~_HAS_OPEN_RUN)
    .limit(bindparam("limit"))
)
