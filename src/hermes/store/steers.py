"""What people say to a run while it goes on: kept when it is accepted, gone when the model has heard it."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from .encoding import clean
from .schema import steers
from .statement import Statement


def add(conn: Connection, run_id: str, text: str, now: float) -> None:
    _ADD.run(conn, {"run_id": run_id, "text": clean(text), "created_at": now})


def waiting(conn: Connection, run_id: str) -> list[str]:
    """Oldest first."""
    return [text for (text,) in _WAITING.all(conn, {"run": run_id})]


def heard(conn: Connection, run_id: str) -> None:
    """The oldest that waits is part of the session now."""
    _HEARD.run(conn, {"run": run_id, "of_run": run_id})


_OF_RUN = steers.c.run_id == bindparam("run")
_ADD = Statement(insert(steers).values({name: bindparam(name) for name in ("run_id", "text", "created_at")}))
_WAITING = Statement(select(steers.c.text).where(_OF_RUN).order_by(steers.c.id))
_FIRST = select(func.min(steers.c.id)).where(steers.c.run_id == bindparam("of_run")).scalar_subquery()
_HEARD = Statement(delete(steers).where(_OF_RUN, steers.c.id == _FIRST))
