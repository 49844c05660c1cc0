"""Who may run now, where many nodes share a database: decided in the transaction that keeps or begins the run.

The same rules as `runs/line.py` has for one process: one run at a time a session, so many at once in all, and behind
that a line in which no owner starves another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from hermes.core.run import RunStatus

from . import facts, turns
from .schema import runs
from .statement import Statement


@dataclass(frozen=True, slots=True)
class Standing:
    """An open run, in the order in which they began. A child is in the middle of its parent's work, takes no place and
    waits for none."""

    run_id: str
    session_id: str
    owner: str
    is_queued: bool
    created_at: float
    is_child: bool = False


def standing(conn: Connection) -> list[Standing]:
    """Every open run of every node."""
    queued = RunStatus.QUEUED.value
    return [
        Standing(run_id, session_id, owner, status == queued, created_at, parent is not None)
        for run_id, session_id, owner, status, created_at, parent in _STANDING.all(conn, {})
    ]


def stand_still(conn: Connection) -> list[Standing]:
    """The same, and until this transaction ends nobody else's place is decided."""
    turns.wait_for(conn, "line")
    return standing(conn)


def standing_and_last_owner(conn: Connection) -> tuple[list[Standing], str]:
    return standing(conn), last_owner(conn)


def last_owner(conn: Connection) -> str:
    """Whose run began last of those that waited; empty where none did yet."""
    return facts.get(conn, _LAST_OWNER) or ""


def note_begun(conn: Connection, owner: str) -> None:
    facts.put(conn, _LAST_OWNER, owner)


def may_begin(line: Sequence[Standing], max_running: int, last_owner: str = "") -> list[str]:
    """The queued runs whose turn it is: the first of each idle session, those of the owner with the fewest first, and
    of several such owners those of the next one behind `last_owner`, in the order of their names and round again.
    """
    running = [one for one in line if not one.is_queued and not one.is_child]
    busy = {one.session_id for one in line if not one.is_queued}
    first: dict[str, Standing] = {}
    for one in line:
        if one.is_queued and one.session_id not in busy:
            first.setdefault(one.session_id, one)
    waiting = list(first.values())
    load = Counter(one.owner for one in running)
    chosen: list[str] = []
    while waiting and len(running) + len(chosen) < max_running:
        next_one = min(waiting, key=lambda one: (load[one.owner], one.owner <= last_owner, one.owner))
        waiting.remove(next_one)
        last_owner = next_one.owner
        load[last_owner] += 1
        chosen.append(next_one.run_id)
    return chosen


_LAST_OWNER = "line_last_owner"
_STANDING = Statement(
    sa.select(runs.c.id, runs.c.session_id, runs.c.owner, runs.c.status, runs.c.created_at, runs.c.parent_run_id)
    .where(runs.c.finished_at.is_(None))
    .order_by(runs.c.created_at, runs.c.id)
)
