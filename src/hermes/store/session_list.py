"""Lists of sessions, and the form in which a session is shown."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import cache
from itertools import islice
from operator import itemgetter
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection, bindparam

from hermes.core.session import Session

from .schema import runs, sessions
from .search import like
from .sessions import COLUMNS, from_row
from .statement import Statement

CHILD_SOURCE = "subagent"
"""Sessions that another session's run made. A fork is not one of them: it is a conversation of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Which sessions. `before`: (last_active, id) of the last one seen, instead of an offset.

    `words` must stand in the title or the preview, as they are; ASCII letters in any case. Stateless ones and children
    are hidden unless asked for, or named by their source.
    """

    limit: int = 50
    offset: int = 0
    before: tuple[float, str] | None = None
    source: str | None = None
    words: str | None = None
    include_stateless: bool = False
    include_children: bool = False


def list_sessions(conn: Connection, owner: str, listing: Listing | None = None) -> list[Session]:
    """The most recently active first."""
    asked = listing or Listing()
    lists = [_list(_shape(asked)).all(conn, values) for values in _values(owner, asked, asked.offset + asked.limit)]
    newest_first = heapq.merge(*lists, key=_activity, reverse=True)
    return [from_row(row) for row in islice(newest_first, asked.offset, asked.offset + asked.limit)]


def summaries(conn: Connection, owner: str, listing: Listing) -> list[str]:
    """`list_sessions` as JSON texts, each what `summary` gives. Fifty of them cost 0.25 ms in which Python is free to
    do something else; rows that Python turns into JSON cost 0.4 ms of its own time (docs/adr/0069)."""
    if listing.include_stateless or listing.source is not None or conn.dialect.name != "sqlite":
        return [orjson.dumps(summary(session)).decode() for session in list_sessions(conn, owner, listing)]
    [values] = _values(owner, listing, listing.limit)
    row = _summaries(_shape(listing)).first(conn, {**values, "skipped": listing.offset})
    return [] if row is None or row[0] is None else str(row[0]).split(_SEPARATOR)


def summary(session: Session) -> dict[str, Any]:
    """What lists, the API and the command line show of a session (spec: api-server section 6)."""
    usage = session.usage
    return {
        "id": session.id,
        "source": session.source,
        "user_id": session.user_id,
        "model": session.model or session.model_choice,
        "title": session.title,
        "started_at": session.started_at,
        "ended_at": session.ended_at,
        "end_reason": session.end_reason,
        "message_count": session.message_count,
        "tool_call_count": session.tool_call_count,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "estimated_cost_usd": usage.cost_usd,
        "actual_cost_usd": None,
        "api_call_count": usage.api_calls,
        "parent_session_id": session.parent_session_id,
        "has_system_prompt": session.system_prompt is not None,
        "has_model_config": session.model_choice is not None,
        "last_active": session.last_active,
        "preview": session.preview,
    }


def beginning_with(conn: Connection, owner: str, beginning: str, limit: int = 5) -> list[Session]:
    """The owner's sessions whose id begins so. None for an empty beginning."""
    if not beginning:
        return []
    values = {"owner": owner, "beginning": beginning, "after": beginning + "\U0010ffff", "limit": limit}
    return [from_row(row) for row in _BEGINNING.all(conn, values)]


def idle(
    conn: Connection, owner: str, idle_since: float, *, source: str | None = None, limit: int = 10_000
) -> list[tuple[str, str | None, float]]:
    """(id, title, last_active) of the owner's sessions last active before then and without an open run, oldest first:
    all of them, or those of one source."""
    values: dict[str, Any] = {"owner": owner, "idle_since": idle_since, "limit": limit}
    if source is not None:
        values["source"] = source
    return [(row[0], row[1], row[2]) for row in _idle(source is not None).all(conn, values)]


_SEPARATOR = "\x1e"  # JSON holds it as an escape only
_activity = itemgetter([column.name for column in COLUMNS].index("last_active"), 0)


def _time(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """SQLite's JSON has 15 digits, which is too few for a time to come back as it was."""
    exact = sa.func.json(sa.func.printf(sa.literal_column("'%!.17g'"), column))
    return sa.case((column.is_(None), None), else_=exact)


def _flag(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
    return sa.func.json(sa.case((condition, sa.literal_column("'true'")), else_=sa.literal_column("'false'")))


_SHOWN: dict[str, sa.ColumnElement[Any]] = {
    "id": sessions.c.id,
    "source": sessions.c.source,
    "user_id": sessions.c.user_id,
    "model": sa.func.coalesce(sessions.c.model, sessions.c.model_choice),
    "title": sessions.c.title,
    "started_at": _time(sessions.c.started_at),
    "ended_at": _time(sessions.c.ended_at),
    "end_reason": sessions.c.end_reason,
    "message_count": sessions.c.message_count,
    "tool_call_count": sessions.c.tool_call_count,
    "input_tokens": sessions.c.input_tokens,
    "output_tokens": sessions.c.output_tokens,
    "cache_read_tokens": sessions.c.cache_read_tokens,
    "cache_write_tokens": sessions.c.cache_write_tokens,
    "reasoning_tokens": sessions.c.reasoning_tokens,
    "estimated_cost_usd": _time(sessions.c.cost_usd),
    "actual_cost_usd": sa.null(),
    "api_call_count": sessions.c.api_calls,
    "parent_session_id": sessions.c.parent_session_id,
    "has_system_prompt": _flag(sessions.c.system_prompt.is_not(None)),
    "has_model_config": _flag(sessions.c.model_choice.is_not(None)),
    "last_active": _time(sessions.c.last_active),
    "preview": sessions.c.preview,
}


@dataclass(frozen=True, slots=True)
class _Shape:
    by_source: bool
    after_one: bool
    by_words: bool
    hides_children: bool


def _shape(asked: Listing) -> _Shape:
    hides_children = not asked.include_children and asked.source is None
    return _Shape(asked.source is not None, asked.before is not None, asked.words is not None, hides_children)


def _values(owner: str, asked: Listing, most: int) -> list[dict[str, Any]]:
    """Once for each stretch of the index that is asked for: in each of them the sessions lie in order."""
    values: dict[str, Any] = {"owner": owner, "most": most}
    if asked.source is not None:
        values["source"] = asked.source
    if asked.before is not None:
        values["before_time"], values["before_id"] = asked.before
    if asked.words is not None:
        values["words"] = like(asked.words)
    kinds = (False, True) if asked.include_stateless or asked.source is not None else (False,)
    return [{**values, "is_stateless": kind} for kind in kinds]


@cache
def _list(shape: _Shape) -> Statement:
    return Statement(_chosen(sa.select(*COLUMNS), shape))


@cache
def _summaries(shape: _Shape) -> Statement:
    pairs = [part for name, column in _SHOWN.items() for part in (sa.literal_column(f"'{name}'"), column)]
    one = sa.func.json_object(*pairs).label("one")
    chosen = _chosen(sa.select(one), shape).offset(bindparam("skipped")).subquery()
    return Statement(sa.select(sa.func.group_concat(chosen.c.one, sa.literal_column(f"char({ord(_SEPARATOR)})"))))


def _chosen(query: sa.Select[Any], shape: _Shape) -> sa.Select[Any]:
    query = query.where(sessions.c.owner == bindparam("owner"), sessions.c.is_stateless == bindparam("is_stateless"))
    if shape.by_source:
        query = query.where(sessions.c.source == bindparam("source"))
    if shape.hides_children:
        query = query.where(sessions.c.source != sa.literal_column(f"'{CHILD_SOURCE}'"))
    if shape.by_words:
        words: Any = bindparam("words")
        query = query.where(
            sa.or_(sessions.c.title.ilike(words, escape="\\"), sessions.c.preview.ilike(words, escape="\\"))
        )
    place = sa.tuple_(sessions.c.last_active, sessions.c.id)
    if shape.after_one:
        query = query.where(place < sa.tuple_(bindparam("before_time"), bindparam("before_id")))
    newest_first = sessions.c.last_active.desc(), sessions.c.id.desc()
    return query.order_by(*newest_first).limit(bindparam("most"))


_BEGINNING = Statement(
    sa.select(*COLUMNS)
    .where(
        sessions.c.owner == bindparam("owner"),
        sessions.c.id >= bindparam("beginning"),
        sessions.c.id < bindparam("after"),
    )
    .order_by(sessions.c.id)
    .limit(bindparam("limit"))
)
_HAS_OPEN_RUN = sa.exists().where(runs.c.session_id == sessions.c.id, runs.c.finished_at.is_(None))


@cache
def _idle(by_source: bool) -> Statement:
    query = sa.select(sessions.c.id, sessions.c.title, sessions.c.last_active).where(
        sessions.c.owner == bindparam("owner"), sessions.c.last_active < bindparam("idle_since"), ~_HAS_OPEN_RUN
    )
    if by_source:
        query = query.where(sessions.c.source == bindparam("source"))
    return Statement(query.order_by(sessions.c.last_active).limit(bindparam("limit")))
