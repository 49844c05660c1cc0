"""Jobs and their history as JSON values: the API, webhooks and the command line show the same."""

from __future__ import annotations

from typing import Any

from hermes.core.job import Job, JobRun, JobState
from hermes.core.run import RunStatus
from hermes.jobs.definition import schedule_of
from hermes.jobs.schedule import Cron, Every, Once, in_zone
from hermes.jobs.timezones import zone

OUTPUT_HEAD_CHARACTERS = 1000


def job_object(job: Job, last: JobRun | None) -> dict[str, Any]:
    """The published names. Times are ISO 8601 in the job's zone. `last` is its newest entry that was not skipped."""
    where = zone(job.timezone)
    schedule = schedule_object(job)

    def time(value: float | None) -> str | None:
        return None if value is None else in_zone(value, where)

    return {
        "id": job.id,
        "name": job.name,
        "prompt": job.prompt,
        "skills": list(job.skills),
        "skill": job.skills[0] if job.skills else None,
        "model": job.model,
        "schedule": schedule,
        "schedule_display": schedule["display"],
        "timezone": job.timezone,
        "repeat": {"times": 1 if schedule["kind"] == "once" else job.repeat, "completed": job.fired},
        "catch_up": job.catch_up.value,
        "enabled": job.state is JobState.SCHEDULED,
        "state": job.state.value,
        "paused_at": time(job.paused_at),
        "created_at": time(job.created_at),
        "updated_at": time(job.updated_at),
        "next_run_at": time(job.next_due),
        "last_run_at": None if last is None else time(last.fired_at),
        "last_run_id": None if last is None else last.run_id,
        "last_status": None if last is None else _last_status(last),
        "last_error": None if last is None else last.problem,
        "last_delivery_error": None if last is None else last.delivery_error,
        "deliver": job.deliver,
        "enabled_toolsets": None if job.enabled_toolsets is None else list(job.enabled_toolsets),
        "workdir": job.workdir,
    }


def schedule_object(job: Job) -> dict[str, Any]:
    """`text` is what was asked for, and may be sent again."""
    made: dict[str, Any] = {"kind": "once", "display": job.schedule, "text": job.schedule}
    made |= {"run_at": None, "minutes": None, "expr": None}
    schedule = schedule_of(job)
    made |= {"kind": schedule.kind, "display": schedule.display}
    match schedule:
        case Once(at):
            made["run_at"] = in_zone(at, zone(job.timezone))
        case Every(seconds):
            made["minutes"] = seconds / 60
        case Cron(expression):
            made["expr"] = expression
    return made


def job_run_object(job: Job, entry: JobRun, *, is_whole: bool = False) -> dict[str, Any]:
    """`output` is the head of it unless `is_whole`; `output_truncated` says so. Times as in `job_object`."""
    where = zone(job.timezone)
    output = entry.output
    is_cut = output is not None and not is_whole and len(output) > OUTPUT_HEAD_CHARACTERS
    return {
        "id": entry.id,
        "job_id": entry.job_id,
        "reason": entry.reason.value,
        "manual": entry.is_manual,
        "detail": entry.detail,
        "due_at": in_zone(entry.due_at, where),
        "fired_at": in_zone(entry.fired_at, where),
        "finished_at": None if entry.finished_at is None else in_zone(entry.finished_at, where),
        "run_id": entry.run_id,
        "session_id": entry.session_id,
        "status": None if entry.status is None else entry.status.value,
        "error": entry.problem,
        "output": output[:OUTPUT_HEAD_CHARACTERS] if is_cut and output else output,
        "output_truncated": is_cut,
        "delivery": {
            "to": entry.deliver,
            "state": entry.delivery,
            "attempts": entry.delivery_attempts,
            "delivered_at": None if entry.delivered_at is None else in_zone(entry.delivered_at, where),
            "next_attempt_at": None
            if entry.delivery_due is None or not entry.delivery_attempts
            else in_zone(entry.delivery_due, where),
            "error": entry.delivery_error,
        },
    }


def _last_status(last: JobRun) -> str | None:
    if last.problem is not None:
        return "error"
    return "ok" if last.status is RunStatus.COMPLETED else None
