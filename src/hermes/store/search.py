"""Full-text search over all messages, through an index that is made on demand (docs/adr/0068).

The index is a cache over `messages`: nothing is written to it during a turn. `catch_up` adds what came since, a batch
a transaction, before a search and from the gateway's housekeeping; the first call makes the tables, and dropping them
loses nothing. On SQLite it keeps no text of its own (`content=messages`), so a message must be taken out of it before
it is deleted: `forget`, which `sessions.delete` and `sessions.purge_stateless` call. A row whose message is gone is
never found, because every hit is joined with its message; `has_orphans` finds such rows and `drop` starts anew.

FTS5's own snippet() is not used: its time grows with the square of the hits in a message, and one message of a word
said 20,000 times took it 13 s. `store.snippet` is linear.

PostgreSQL keeps the same index as tsvectors (`search_tsvector`), made, caught up and forgotten in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam

from hermes.core.errors import InvalidInput

from . import search_fts5, search_tsvector
from .encoding import clean, row_number
from .schema import messages, sessions
from .snippet import Term, is_written_without_spaces, marker, words_of
from .statement import Statement
from .turns import wait_for

BATCH_MESSAGES = 500
BATCH_CHARACTERS = 100_000
"""What one transaction adds at most: the writer is held for about 10 ms. Of a longer message the head is indexed."""

MAX_QUERY_CHARACTERS = 1000
MAX_WORDS = 32


@dataclass(frozen=True, slots=True)
class Hit:
    """A message that was found; `snippet` as `store.snippet` makes it."""

    message_id: int
    session_id: str
    title: str | None
    source: str
    run_id: str | None
    role: str
    tool: str | None
    created_at: float
    snippet: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """None: any. Sessions of chats that re-send their history are left out unless asked for, or named by `source`.
    `but_session_id` and `but_run_id` are left out; `is_said`: only the words of people and of the agent, no results."""

    source: str | None = None
    session_id: str | None = None
    role: str | None = None
    include_stateless: bool = False
    session_key: str | None = None
    but_session_id: str | None = None
    but_run_id: str | None = None
    is_said: bool = False


ANY = Filter()


def parse(query: str) -> list[Term]:
    """`red "green blue" yel*`: all of them must be there, in any order and case. Nothing in a query is syntax beside
    the quotes and a star behind a word; words are what consists of letters and digits.

    Raises InvalidInput where it has no word, or too many.
    """
    if len(query) > MAX_QUERY_CHARACTERS:
        raise InvalidInput(f"q has {len(query)} characters; the limit is {MAX_QUERY_CHARACTERS}", param="q")
    terms = []
    for phrase, star, word in _TERM.findall(clean(query)):
        text = phrase or word.rstrip("*")
        if is_written_without_spaces(text) or any(character.isalnum() for character in text):
            terms.append(Term(text.strip(), bool(star) or word.endswith("*")))
    if not terms:
        raise InvalidInput("q has no word to look for", param="q")
    count = sum(len(words_of(term.text)) for term in terms)
    if count > MAX_WORDS:
        raise InvalidInput(f"q has {count} words; the limit is {MAX_WORDS}", param="q")
    return terms


def find(
    conn: Connection,
    owner: str,
    terms: Sequence[Term],
    *,
    limit: int,
    before_id: int | None = None,
    only: Filter = ANY,
) -> list[Hit]:
    """The newest messages first, of the owner's sessions, with an id below `before_id`."""
    is_scan = any(is_written_without_spaces(term.text) for term in terms)
    if not is_scan and not _is_made(conn):
        return []
    values: dict[str, Any] = {"owner": owner, "most": limit}
    if is_scan:
        values |= {f"like_{number}": like(term.text) for number, term in enumerate(terms)}
    else:
        values["match"] = _index(conn).question(terms)
    if before_id is not None:
        values["before"] = row_number(before_id)
    for name in ("source", "session_id", "role", "session_key", "but_session_id", "but_run_id"):
        if getattr(only, name) is not None:
            values[f"of_{name}"] = getattr(only, name)
    hides_stateless = not only.include_stateless and only.source is None and only.session_id is None
    dialect = conn.dialect.name
    statement = _find(dialect, len(terms) if is_scan else 0, frozenset(values), hides_stateless, only.is_said)
    marked = marker(terms)
    return [Hit(*[*facts, marked(text)]) for *facts, text in statement.all(conn, values)]


def catch_up(conn: Connection, most: int = BATCH_MESSAGES) -> int:
    """Adds the oldest messages that are not in the index yet. Returns how many: 0 when it is whole."""
    wait_for(conn, "search")
    _index(conn).make(conn)
    _index(conn).settle(conn)
    for statement in _MAKE_STATE:
        statement.run(conn, {})
    indexed_to = _indexed_to(conn)
    last, count, characters = indexed_to, 0, 0
    for message_id, length in _NEXT.all(conn, {"after": indexed_to, "most": most}):
        characters += length
        if count and characters > BATCH_CHARACTERS:
            break
        last, count = message_id, count + 1
    if count:
        _index(conn).add(conn, indexed_to, last)
        _MOVE.run(conn, {"last": last})
    return count


def pending(conn: Connection) -> int:
    """How many messages a search would miss now, at most."""
    row = _NEWEST.first(conn, {})
    newest = row[0] if row is not None and row[0] is not None else 0
    return max(0, newest - (_indexed_to(conn) if _is_made(conn) else 0))


def forget(conn: Connection, session_id: str) -> None:
    """Takes a session's messages out of the index. In the transaction that deletes them, before they are deleted."""
    if _is_made(conn):
        _index(conn).forget(conn, session_id, _indexed_to(conn))


def has_orphans(conn: Connection) -> bool:
    """Whether the index holds words of a message that was deleted without `forget`. Reads the whole index's ids."""
    return _is_made(conn) and _index(conn).has_orphans(conn)


def drop(conn: Connection) -> None:
    """The next `catch_up` begins anew."""
    wait_for(conn, "search")
    _index(conn).drop(conn)
    _DROP_STATE.run(conn, {})


# A phrase in quotes (the last one may lack its end) with a star behind it, or a word up to a space or a quote.
_TERM = re.compile(r'"([^"]*)(?:"(\*?)|\Z)|([^\s"]+)')


def like(text: str) -> str:
    """A pattern for LIKE that finds the text within others, with `\\` as the escape."""
    return "%" + re.sub(r"([\\%_])", r"\\\1", text) + "%"


class _Index(Protocol):
    """What the two databases do each in their own way; see `search_fts5`."""

    def make(self, conn: Connection) -> None: ...
    def drop(self, conn: Connection) -> None: ...
    def settle(self, conn: Connection) -> None: ...
    def is_made(self, conn: Connection) -> bool: ...
    def add(self, conn: Connection, after: int, last: int) -> None: ...
    def forget(self, conn: Connection, session_id: str, indexed_to: int) -> None: ...
    def has_orphans(self, conn: Connection) -> bool: ...
    def question(self, terms: Sequence[Term]) -> str: ...
    def found(self) -> tuple[sa.FromClause, sa.ColumnElement[bool], sa.ColumnElement[int]]: ...


def _index(conn: Connection) -> _Index:
    return _index_of(conn.dialect.name)


def _index_of(dialect: str) -> _Index:
    return search_fts5 if dialect == "sqlite" else search_tsvector


def _is_made(conn: Connection) -> bool:
    return _index(conn).is_made(conn)


def _indexed_to(conn: Connection) -> int:
    row = _AT.first(conn, {})
    return 0 if row is None else int(row[0])


_STATE = sa.table("message_search_state", sa.column("id", sa.Integer), sa.column("indexed_to", sa.Integer))

_MAKE_STATE = (
    Statement(
        sa.text("CREATE TABLE IF NOT EXISTS message_search_state (id INTEGER PRIMARY KEY, indexed_to INTEGER NOT NULL)")
    ),
    Statement(sa.text("INSERT INTO message_search_state (id, indexed_to) VALUES (1, 0) ON CONFLICT DO NOTHING")),
)
_DROP_STATE = Statement(sa.text("DROP TABLE IF EXISTS message_search_state"))
_AT = Statement(sa.select(_STATE.c.indexed_to))
_MOVE = Statement(sa.update(_STATE).values(indexed_to=bindparam("last")))
_NEWEST = Statement(sa.select(sa.func.max(messages.c.id)))
_HEAD = sa.func.substr(messages.c.content, 1, search_fts5.HEAD_CHARACTERS)
_NEXT = Statement(
    sa.select(messages.c.id, sa.func.length(_HEAD))
    .where(messages.c.id > bindparam("after"))
    .order_by(messages.c.id)
    .limit(bindparam("most"))
)


@cache
def _find(dialect: str, scanned_terms: int, given: frozenset[str], hides_stateless: bool, is_said: bool) -> Statement:
    """`given` are the names of the values. `scanned_terms` 0: through the index."""
    place: sa.ColumnElement[int] = messages.c.id
    joined: sa.FromClause = messages
    found: list[sa.ColumnElement[bool]]
    if scanned_terms:
        found = [messages.c.content.ilike(bindparam(f"like_{number}"), escape="\\") for number in range(scanned_terms)]
    else:
        joined, condition, place = _index_of(dialect).found()
        found = [condition]
    query = (
        sa.select(
            messages.c.id,
            messages.c.session_id,
            sessions.c.title,
            sessions.c.source,
            messages.c.run_id,
            messages.c.role,
            messages.c.name,
            messages.c.created_at,
            _HEAD,
        )
        .select_from(joined.join(sessions, sessions.c.id == messages.c.session_id))
        .where(*found, sessions.c.owner == bindparam("owner"))
    )
    if "before" in given:
        query = query.where(place < bindparam("before"))
    if "of_source" in given:
        query = query.where(sessions.c.source == bindparam("of_source"))
    if "of_session_id" in given:
        query = query.where(messages.c.session_id == bindparam("of_session_id"))
    if "of_role" in given:
        query = query.where(messages.c.role == bindparam("of_role"))
    if "of_session_key" in given:
        query = query.where(sessions.c.session_key == bindparam("of_session_key"))
    if "of_but_session_id" in given:
        query = query.where(messages.c.session_id != bindparam("of_but_session_id"))
    if "of_but_run_id" in given:
        query = query.where(sa.or_(messages.c.run_id.is_(None), messages.c.run_id != bindparam("of_but_run_id")))
    if is_said:
        query = query.where(sa.or_(messages.c.role == sa.literal("user"), messages.c.role == sa.literal("assistant")))
    if hides_stateless:
        query = query.where(sa.not_(sessions.c.is_stateless))
    return Statement(query.order_by(place.desc()).limit(bindparam("most")))
