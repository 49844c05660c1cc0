"""Values to keep, with only what a test says about them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from hermes.core.run import Run, RunStatus
from hermes.core.session import Session
from hermes.store import runs, sessions


def a_session(id: str = "s", **fields: Any) -> Session:  # noqa: A002 the field's own name
    values: dict[str, Any] = {"owner": "alice", "source": "api", "started_at": 1.0, "last_active": 1.0}
    return Session(id=id, **(values | fields))


def a_run(id: str = "r", session_id: str = "s", **fields: Any) -> Run:  # noqa: A002 the field's own name
    values: dict[str, Any] = {"owner": "alice", "source": "api", "status": RunStatus.RUNNING}
    values |= {"created_at": 1.0, "updated_at": 1.0}
    return Run(id=id, session_id=session_id, **(values | fields))


def keep_session(conn: Connection, id: str = "s", **fields: Any) -> None:  # noqa: A002 the field's own name
    sessions.create(conn, a_session(id, **fields))


def keep_run(conn: Connection, id: str = "r", session_id: str = "s", **fields: Any) -> None:  # noqa: A002 as above
    """With its session, unless that is there."""
    if sessions.get(conn, session_id) is None:
        sessions.create(conn, a_session(session_id))
    runs.insert(conn, a_run(id, session_id, **fields))
