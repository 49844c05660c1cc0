"""The search index on SQLite: FTS5 without text of its own (docs/adr/0068)."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam

from .schema import messages
from .snippet import Term
from .statement import Statement

HEAD_CHARACTERS = 100_000
"""How much of a message is indexed."""


def make(conn: Connection) -> None:
    for statement in _MAKE:
        statement.run(conn, {})


def settle(conn: Connection) -> None:
    """One writer: whoever has an id has written."""


def drop(conn: Connection) -> None:
    _DROP.run(conn, {})


def is_made(conn: Connection) -> bool:
    return _MADE.first(conn, {}) is not None


def add(conn: Connection, after: int, last: int) -> None:
    """Messages with after < id ≤ last."""
    _ADD.run(conn, {"after": after, "last": last})


def forget(conn: Connection, session_id: str, indexed_to: int) -> None:
    _FORGET.run(conn, {"session": session_id, "indexed_to": indexed_to})


def has_orphans(conn: Connection) -> bool:
    return _ORPHAN.first(conn, {}) is not None


def question(terms: Sequence[Term]) -> str:
    """Within quotes nothing is syntax. NUL would end the expression; `clean` took it out."""
    return " AND ".join('"' + term.text.replace('"', '""') + '"' + (" *" if term.is_prefix else "") for term in terms)


def found() -> tuple[sa.FromClause, sa.ColumnElement[bool], sa.ColumnElement[int]]:
    """The index joined with its messages, the condition with the bind parameter `match`, and the message's id."""
    joined = _INDEX.join(messages, messages.c.id == _INDEX.c.rowid)
    return joined, _INDEX.c.message_search.op("MATCH")(bindparam("match")), _INDEX.c.rowid


_INDEX = sa.table("message_search", sa.column("rowid", sa.Integer), sa.column("message_search"), sa.column("content"))
_WORDS = sa.table("message_search_docsize", sa.column("id", sa.Integer))
_MASTER = sa.table("sqlite_master", sa.column("name", sa.String))
_HEAD = sa.func.substr(messages.c.content, 1, HEAD_CHARACTERS)

# remove_diacritics 2: "facade" finds "façade"
_MAKE = (
    Statement(
        sa.text(
            "CREATE VIRTUAL TABLE IF NOT EXISTS message_search USING fts5("
            "content, content='messages', content_rowid='id', tokenize='unicode61 remove_diacritics 2')"
        )
    ),
)
_DROP = Statement(sa.text("DROP TABLE IF EXISTS message_search"))
_MADE = Statement(sa.select(_MASTER.c.name).where(_MASTER.c.name == sa.literal("message_search")))
_ADD = Statement(
    sa.insert(_INDEX).from_select(
        ["rowid", "content"],
        sa.select(messages.c.id, _HEAD).where(messages.c.id > bindparam("after"), messages.c.id <= bindparam("last")),
    )
)
_FORGET = Statement(
    sa.insert(_INDEX).from_select(
        ["message_search", "rowid", "content"],
        sa.select(sa.literal_column("'delete'"), messages.c.id, _HEAD).where(
            messages.c.session_id == bindparam("session"), messages.c.id <= bindparam("indexed_to")
        ),
    )
)
_ORPHAN = Statement(sa.select(_WORDS.c.id).where(~sa.exists().where(messages.c.id == _WORDS.c.id)).limit(1))
