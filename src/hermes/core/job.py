"""A job: a prompt that becomes a run by itself, at the times its schedule says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from hermes.core.run import RunStatus


class JobState(StrEnum):
    """The published words. `completed`: its schedule has no more times, or it fired as often as `repeat` says."""

    SCHEDULED = "scheduled"
    PAUSED = "paused"
    COMPLETED = "completed"


class CatchUp(StrEnum):
    """What becomes of due times that passed while nothing ran."""

    ONE = "one"
    """One run stands for all of them."""
    ALL = "all"
    """A run for each, up to a bound."""
    NONE = "none"
    """They are told in the history, and nothing runs."""


class Reason(StrEnum):
    """What became of a due time."""

    RAN = "ran"
    LATE = "late"
    """It fired more than a minute behind its time."""
    SKIPPED = "skipped"
    FAILED = "failed"
    """No run could be started; the history says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The kept record. Times are unix seconds.

    `schedule` is the text as it was given. It is read in `timezone` (an IANA name), and counted from `anchor`, when it
    was given: `every 2h` falls on multiples of two hours behind it. `next_due` is None for a job that does not fire by
    itself. `fired` counts due times that were claimed for a run, `repeat` is how many there may be. `deliver` is local,
    webhook:URL or session:ID.
    """

    id: str
    owner: str
    name: str
    schedule: str
    timezone: str
    anchor: float
    prompt: str
    deliver: str = "local"
    skills: tuple[str, ...] = ()
    repeat: int | None = None
    model: str | None = None
    enabled_toolsets: tuple[str, ...] | None = None
    workdir: str | None = None
    catch_up: CatchUp = CatchUp.ONE
    state: JobState = JobState.SCHEDULED
    created_at: float
    updated_at: float
    paused_at: float | None = None
    fired: int = 0
    last_due: float | None = None
    next_due: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRun:
    """One entry of a job's history: what became of a due time, or of a call by hand. `deliver` is the job's then.

    `run_id` is None where nothing ran, or the run was deleted since. `delivery_due` is when the output is delivered
    next, at the earliest; None: nothing is to be delivered, any more. What is known of the run itself, at the time of
    the question: `status`, `session_id`, `output`, `error`, `finished_at`.
    """

    id: int
    job_id: str
    due_at: float
    fired_at: float
    reason: Reason
    is_manual: bool = False
    run_id: str | None = None
    detail: str | None = None
    deliver: str = "local"
    delivery_attempts: int = 0
    delivery_due: float | None = None
    delivered_at: float | None = None
    delivery_error: str | None = None
    status: RunStatus | None = None
    session_id: str | None = None
    output: str | None = None
    error: dict[str, Any] | None = None
    finished_at: float | None = None

    @property
    def delivery(self) -> str:
        """local (it is kept here), pending, delivered, failed, or none: there was nothing to deliver."""
        if self.deliver == "local":
            return "none" if self.run_id is None else "local"
        if self.delivered_at is not None:
            return "delivered"
        if self.delivery_due is not None:
            return "pending"
        return "failed" if self.delivery_error else "none"

    @property
    def problem(self) -> str | None:
        """Why there is no good output; None while it runs, and when all went well."""
        if self.reason in (Reason.FAILED, Reason.SKIPPED):
            return self.detail
        if self.status is None or not self.status.is_final or self.status is RunStatus.COMPLETED:
            return None
        return str((self.error or {}).get("message") or f"the run ended as {self.status.value}")
