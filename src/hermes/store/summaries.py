"""The newest summary of a session's first messages, beside the messages themselves."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam

from hermes.core.ports import Summary

from .encoding import clean
from .schema import session_summaries, sessions
from .statement import InsertInto, Statement


def latest(conn: Connection, session_id: str) -> Summary | None:
    row = _LATEST.first(conn, {"session": session_id})
    return None if row is None else Summary(*row)


def keep(conn: Connection, session_id: str, summary: Summary, now: float) -> None:
    """In the place of an earlier one; not for a session that is gone."""
    if _SESSION.first(conn, {"session": session_id}) is None:
        return
    values = {"covers": summary.covers, "digest": summary.digest, "text": clean(summary.text), "created_at": now}
    _KEEP.run(conn, {"session_id": session_id, **values})


def _keep(insert: InsertInto) -> Any:
    row: Any = insert(session_summaries).values(
        {column.name: bindparam(column.name) for column in session_summaries.columns}
    )
    return row.on_conflict_do_update(
        index_elements=["session_id"],
        set_={name: row.excluded[name] for name in ("covers", "digest", "text", "created_at")},
    )


_LATEST = Statement(
    sa.select(session_summaries.c.covers, session_summaries.c.digest, session_summaries.c.text).where(
        session_summaries.c.session_id == bindparam("session")
    )
)
_SESSION = Statement(sa.select(sessions.c.id).where(sessions.c.id == bindparam("session")))
_KEEP = Statement(_keep)
