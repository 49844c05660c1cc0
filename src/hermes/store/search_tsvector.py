"""The search index on PostgreSQL: a table of tsvectors, filled on demand like the other one (docs/adr/0091).

Words are folded here and not by the server: what is a word, and which letters are alike, is the same on both
databases and in the snippets, and no extension or dictionary of the server's is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam

from .schema import messages
from .search_fts5 import HEAD_CHARACTERS
from .snippet import Term, fold, words_of
from .statement import Statement

LONGEST_WORD = 500
"""Characters of a word that count; the server refuses words of 2 kB."""


def make(conn: Connection) -> None:
    for statement in _MAKE:
        statement.run(conn, {})


def settle(conn: Connection) -> None:
    """Waits for the writes of messages that are under way, and holds up others: an id that is given may come into sight
    behind a higher one, and the index would have passed it by."""
    _SETTLE.run(conn, {})


def drop(conn: Connection) -> None:
    _DROP.run(conn, {})


def is_made(conn: Connection) -> bool:
    row = _MADE.first(conn, {})
    return row is not None and row[0] is not None


def add(conn: Connection, after: int, last: int) -> None:
    """Messages with after < id ≤ last."""
    rows = _TEXTS.all(conn, {"after": after, "last": last})
    _ADD.run_many(conn, [{"id": message_id, "words": _folded(text)} for message_id, text in rows])


def forget(conn: Connection, session_id: str, indexed_to: int) -> None:
    _FORGET.run(conn, {"session": session_id, "indexed_to": indexed_to})


def has_orphans(conn: Connection) -> bool:
    return _ORPHAN.first(conn, {}) is not None


def question(terms: Sequence[Term]) -> str:
    """As tsquery has it: words are letters and digits alone, so nothing in it is syntax but what stands here."""
    return " & ".join(map(_phrase, terms))


def found() -> tuple[sa.FromClause, sa.ColumnElement[bool], sa.ColumnElement[int]]:
    """The index joined with its messages, the condition with the bind parameter `match`, and the message's id."""
    joined = _INDEX.join(messages, messages.c.id == _INDEX.c.message_id)
    return joined, _INDEX.c.words.op("@@")(sa.cast(bindparam("match"), _TsQuery())), _INDEX.c.message_id


def _folded(text: str) -> str:
    return " ".join(word[:LONGEST_WORD] for word in words_of(fold(text)))


def _phrase(term: Term) -> str:
    words = [word[:LONGEST_WORD] for word in words_of(fold(term.text))]
    return "(" + " <-> ".join(words) + (":*" if term.is_prefix else "") + ")"


class _TsQuery(sa.types.UserDefinedType[str]):
    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "tsquery"


_INDEX = sa.table("message_search", sa.column("message_id", sa.Integer), sa.column("words"))
_MAKE = (
    Statement(
        sa.text("CREATE TABLE IF NOT EXISTS message_search (message_id BIGINT PRIMARY KEY, words tsvector NOT NULL)")
    ),
    Statement(sa.text("CREATE INDEX IF NOT EXISTS message_search_words ON message_search USING gin (words)")),
)
_SETTLE = Statement(sa.text("LOCK TABLE messages IN SHARE MODE"))
_DROP = Statement(sa.text("DROP TABLE IF EXISTS message_search"))
_MADE = Statement(sa.select(sa.func.to_regclass(sa.literal_column("'message_search'"))))
_TEXTS = Statement(
    sa.select(messages.c.id, sa.func.substr(messages.c.content, 1, HEAD_CHARACTERS)).where(
        messages.c.id > bindparam("after"), messages.c.id <= bindparam("last")
    )
)
_ADD = Statement(
    sa.text(
        "INSERT INTO message_search (message_id, words) "
        "VALUES (CAST(:id AS bigint), to_tsvector('simple', CAST(:words AS text)))"
    )
)
_OF_SESSION = sa.select(messages.c.id).where(
    messages.c.session_id == bindparam("session"), messages.c.id <= bindparam("indexed_to")
)
_FORGET = Statement(sa.delete(_INDEX).where(_INDEX.c.message_id.in_(_OF_SESSION)))
_ORPHAN = Statement(
    sa.select(_INDEX.c.message_id).where(~sa.exists().where(messages.c.id == _INDEX.c.message_id)).limit(1)
)
