"""The lines of `hermes db export`: JSON objects, each with its `type` (docs/database.md)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hermes import __version__
from hermes.api.sessions.handlers import message_object
from hermes.core.event import event_data
from hermes.core.session import Session
from hermes.runs.run_object import run_object
from hermes.store import dump
from hermes.store.database import Connection
from hermes.store.session_list import summary

FORMAT = 1


def lines(
    conn: Connection, now: float, only: str | None = None, *, with_events: bool = True
) -> Iterator[dict[str, Any]]:
    """What the line is of, then each session with its messages, its runs, and each run with its events. The objects
    are those of the API, and of `hermes sessions export`, with their owners."""
    yield {"type": "export", "format": FORMAT, "version": __version__, "created_at": now}
    for session in dump.sessions(conn, only):
        yield {"type": "session", **_session(session)}
        for message in dump.messages(conn, session):
            yield {"type": "message", **message_object(message)}
        for run in dump.runs(conn, session):
            yield {"type": "run", "owner": run.owner, "source": run.source, **run_object(run)}
            for kept in dump.events(conn, run) if with_events else ():
                about = {"event": kept.event.name, "run_id": run.id, "seq": kept.seq, "timestamp": kept.timestamp}
                yield {**event_data(kept.event), **about, "type": "event"}


def _session(session: Session) -> dict[str, Any]:
    return {"owner": session.owner, **summary(session), "system_prompt": session.system_prompt}
