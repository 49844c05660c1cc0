"""What is read and written of jobs in one transaction: the gateway does it, and the command line without one."""

from __future__ import annotations

from collections.abc import Callable

from hermes.core.errors import InvalidInput
from hermes.core.job import Job, JobRun, JobState
from hermes.store import jobs as job_store
from hermes.store import sessions as session_store
from hermes.store.database import Connection


def keep_new(conn: Connection, job: Job) -> None:
    """Raises InvalidInput `invalid_delivery`."""
    check_session(conn, job)
    job_store.insert(conn, job)


def keep_change(conn: Connection, job_id: str, owner: str, function: Callable[[Job], Job]) -> Job:
    """Raises NotFound, InvalidInput, Conflict."""
    job = job_store.change(conn, job_id, owner, function)
    if job.state is not JobState.COMPLETED:
        check_session(conn, job)
    return job


def check_session(conn: Connection, job: Job) -> None:
    """Somebody else's session is as unknown as none. Raises InvalidInput."""
    kind, _, session_id = job.deliver.partition(":")
    if kind != "session":
        return
    session = session_store.get(conn, session_id)
    if session is None or session.owner != job.owner:
        raise InvalidInput(
            f"there is no session {session_id[:80]!r} to deliver to", code="invalid_delivery", param="deliver"
        )


def with_last_runs(conn: Connection, owner: str, include_disabled: bool) -> list[tuple[Job, JobRun | None]]:
    last = job_store.last_runs(conn, owner)
    return [(job, last.get(job.id)) for job in job_store.list_jobs(conn, owner, include_disabled=include_disabled)]


def with_last_run(conn: Connection, job_id: str, owner: str) -> tuple[Job, JobRun | None]:
    """Raises NotFound."""
    return job_store.owned(conn, job_id, owner), job_store.last_run(conn, job_id)
