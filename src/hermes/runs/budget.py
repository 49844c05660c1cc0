"""What a key may still spend, before its run starts. Every way in that starts runs for a key passes here."""

from __future__ import annotations

from dataclasses import replace

from hermes.core.key import OWNER
from hermes.core.run import Run, RunRequest
from hermes.store import keys as key_store
from hermes.store.database import Connection, Database


async def within_budget(request: RunRequest, database: Database) -> RunRequest:
    """The request, limited to what its key has left, and refused with BudgetExceeded when it is kept and nothing is
    left: in that transaction, so that the repeat of an idempotent request still gets its first answer. A run that
    waits in line is asked again, by the runner, when it begins.

    The owner has no budget and costs no query.
    """
    if request.owner == OWNER:
        return request
    key = await database.read(key_store.with_open_runs, request.owner)
    if key is None or key.left_usd is None:
        return request
    limits = request.limits.within(key.left_usd)
    return replace(request, limits=limits, keep=(_check, *request.keep))


def _check(conn: Connection, run: Run) -> None:
    key_store.check_budget(conn, run.owner)
