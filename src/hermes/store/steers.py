"""What people say to a run while it goes on: kept when it is accepted, gone when the model has heard it."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, func, insert, literal, select, update

from hermes.core.run import RunStatus

from .encoding import clean
from .schema import runs, steers
from .statement import Statement


def add(conn: Connection, run_id: str, text: str, now: float) -> bool:
    """False where the run has ended, or is being stopped. Its end waits for this transaction, and learns of it from the
    row that it waited for."""
    if _STEERED.run(conn, {"run": run_id, "now": now}) == 0:
        return False
    _ADD.run(conn, {"run_id": run_id, "text": clean(text), "created_at": now})
    return True


def waiting(conn: Connection, run_id: str, after: int = 0) -> list[tuple[int, str]]:
    """Oldest first, each with its number; those behind `after`."""
    return [(number, text) for number, text in _WAITING.all(conn, {"run": run_id, "after": after})]


def heard(conn: Connection, run_id: str) -> None:
    """The oldest that waits is part of the session now."""
    _HEARD.run(conn, {"run": run_id, "of_run": run_id})


def forget(conn: Connection, run_id: str) -> None:
    """The run has ended."""
    _FORGET.run(conn, {"run": run_id})


_STEERED = Statement(
    update(runs)
    .where(
        runs.c.id == bindparam("run"),
        runs.c.finished_at.is_(None),
        runs.c.status != literal(RunStatus.STOPPING.value),
    )
    .values(steered_at=bindparam("now"))
)
_OF_RUN = steers.c.run_id == bindparam("run")
_ADD = Statement(insert(steers).values({name: bindparam(name) for name in ("run_id", "text", "created_at")}))
_WAITING = Statement(
    select(steers.c.id, steers.c.text).where(_OF_RUN, steers.c.id > bindparam("after")).order_by(steers.c.id)
)
_FORGET = Statement(delete(steers).where(_OF_RUN))
_FIRST = select(func.min(steers.c.id)).where(steers.c.run_id == bindparam("of_run")).scalar_subquery()
_HEARD = Statement(delete(steers).where(_OF_RUN, steers.c.id == _FIRST))
