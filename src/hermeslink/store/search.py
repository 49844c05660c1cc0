"""The search index over titles and messages: two tables of FTS5.

A word of letters is found by its beginning, in any case and without its accents. Scripts that are written without
spaces (Chinese, Japanese, Thai …) are indexed sign by sign, so that any run of signs is found, also a single one:
`segmented` puts the spaces in, into the index and into the question alike. The rows have the numbers of what they
index.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from .schema import messages
from .snippet import SIGN, Term

MOST_CHARACTERS = 100_000
"""How much of a message is indexed."""

title_search = sa.table("title_search", sa.column("rowid", sa.Integer), sa.column("text"), sa.column("title_search"))
message_search = sa.table(
    "message_search", sa.column("rowid", sa.Integer), sa.column("text"), sa.column("message_search")
)


def index_title(conn: Connection, number: int, title: str) -> None:
    conn.execute(sa.delete(title_search).where(title_search.c.rowid == number))
    conn.execute(sa.insert(title_search).values(rowid=number, text=segmented(title)))


def index_message(conn: Connection, number: int, text: str) -> None:
    """Once, when its text is whole."""
    conn.execute(sa.delete(message_search).where(message_search.c.rowid == number))
    if text:
        conn.execute(sa.insert(message_search).values(rowid=number, text=segmented(text[:MOST_CHARACTERS])))


def forget(conn: Connection, number: int, conversation_id: str) -> None:
    """Before the rows of the conversation itself are deleted."""
    conn.execute(sa.delete(title_search).where(title_search.c.rowid == number))
    of_it = sa.select(messages.c.number).where(messages.c.conversation_id == conversation_id)
    conn.execute(sa.delete(message_search).where(message_search.c.rowid.in_(of_it)))


def question(terms: Sequence[Term]) -> str:
    """Within quotes nothing is syntax; terms have no quotes."""
    return " AND ".join(f'"{segmented(term.text)}"' + (" *" if term.is_prefix else "") for term in terms)


def matches(table: sa.TableClause, question: str) -> sa.ColumnElement[bool]:
    return sa.column(table.name, _selectable=table).op("MATCH")(question)


def segmented(text: str) -> str:
    """With spaces around each sign of a script that has none between its words."""
    return text if text.isascii() else _SIGN.sub(r" \g<0> ", text)


_SIGN = re.compile(SIGN)
