"""/api/jobs: prompts that run at a time (spec: api-server section 7). What they may be: `hermes.jobs.definition`."""

from __future__ import annotations

import hashlib
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hermes.api import headers as names
from hermes.api.answers import JsonAnswer, headers_of, owner_of
from hermes.api.documented import documented, read_body, read_query
from hermes.api.jobs.documentation import (
    JobAnswer,
    JobBody,
    JobChanges,
    JobDeleted,
    JobList,
    JobListQuery,
    JobRuns,
    JobRunsQuery,
    JobStarted,
    RepeatBody,
    ScheduleBody,
)
from hermes.api.services import Services
from hermes.core.errors import InvalidInput, NotFound
from hermes.core.run import IdempotencyClaim
from hermes.jobs.definition import FIELDS, JOB_ID
from hermes.jobs.objects import job_object, job_run_object

_WRONG = ("invalid_schedule", "invalid_timezone", "invalid_delivery", "unknown_toolset")


@documented(query=JobListQuery, answer=JobList)
async def list_jobs(request: Request, services: Services) -> Response:
    """List this key's jobs, the oldest first."""
    query = read_query(request, JobListQuery)
    found = await services.jobs.all(owner_of(request).id, include_disabled=query.include_disabled)
    return JsonAnswer({"jobs": [job_object(job, last) for job, last in found]})


@documented(body=JobBody, answer=JobAnswer, errors=_WRONG)
async def create(request: Request, services: Services) -> Response:
    """Make a job.

    Each time it is due it starts a run of its own, in a session of its own. docs/jobs.md has all forms of a schedule.
    """
    body = await read_body(request, JobBody)
    fields = fields_of(body, required=("schedule", "prompt"))
    job = await services.jobs.create(owner_of(request).id, fields)
    return JsonAnswer({"job": job_object(job, None)})


@documented(answer=JobAnswer, errors=("job_not_found",))
async def show(request: Request, services: Services) -> Response:
    """Look at a job: when it runs next, and how it went last."""
    return await _answer(request, services)


@documented(body=JobChanges, answer=JobAnswer, errors=("job_not_found", "job_completed", *_WRONG))
async def change(request: Request, services: Services) -> Response:
    """Change a job.

    A new schedule is counted from now on, and wakes a job that was completed. A run that has begun goes on as it was.
    """
    job_id = _job_id(request)
    body = await read_body(request, JobChanges)
    await services.jobs.change(job_id, owner_of(request).id, fields_of(body))
    return await _answer(request, services)


@documented(answer=JobDeleted, errors=("job_not_found",))
async def delete(request: Request, services: Services) -> Response:
    """Delete a job with its history. Its runs and their sessions stay; one that is running goes on."""
    job_id = _job_id(request)
    await services.jobs.delete(job_id, owner_of(request).id)
    return JsonAnswer({"ok": True, "id": job_id})


@documented(answer=JobAnswer, errors=("job_not_found", "job_completed"))
async def pause(request: Request, services: Services) -> Response:
    """Pause a job. What would have been due meanwhile does not come later."""
    await services.jobs.pause(_job_id(request), owner_of(request).id)
    return await _answer(request, services)


@documented(answer=JobAnswer, errors=("job_not_found", "job_completed"))
async def resume(request: Request, services: Services) -> Response:
    """Let a paused job run again, from its next time on."""
    await services.jobs.resume(_job_id(request), owner_of(request).id)
    return await _answer(request, services)


@documented(
    answer=JobStarted,
    errors=(
        "job_not_found",
        "invalid_request",
        "unknown_toolset",
        "model_not_found",
        "invalid_idempotency_key",
        "idempotency_key_conflict",
        "rate_limit_exceeded",
        "no_model",
        "config_error",
        "gateway_draining",
    ),
)
async def run(request: Request, services: Services) -> Response:
    """Run a job now, whatever its schedule and state; neither changes."""
    job_id, owner = _job_id(request), owner_of(request).id
    key = names.idempotency_key(headers_of(request))
    asked = hashlib.sha256(f"POST /api/jobs/run {job_id}".encode()).hexdigest()
    started = await services.jobs.run(job_id, owner, None if key is None else IdempotencyClaim(key, asked))
    job, last = await services.jobs.get(job_id, owner)
    answer = {"job": job_object(job, last), "run_id": started.id, "session_id": started.session_id}
    return JsonAnswer(answer, headers={names.IDEMPOTENCY_REPLAYED: "true"} if started.is_replay else None)


@documented(query=JobRunsQuery, answer=JobRuns, errors=("job_not_found",))
async def list_runs(request: Request, services: Services) -> Response:
    """List what became of a job's due times and of calls by hand, the newest first."""
    job_id = _job_id(request)
    query = read_query(request, JobRunsQuery)
    job, found = await services.jobs.history(
        job_id, owner_of(request).id, limit=query.limit + 1, before_id=query.cursor
    )
    page = found[: query.limit]
    has_more = len(found) > len(page)
    return JsonAnswer(
        {
            "runs": [job_run_object(job, entry, is_whole=query.full_output) for entry in page],
            "has_more": has_more,
            "next_cursor": page[-1].id if has_more else None,
        }
    )


def fields_of(body: JobChanges, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """What was sent, in the words of `hermes.jobs.definition`. Raises InvalidInput."""
    sent: dict[str, Any] = {name: getattr(body, name) for name in body.model_fields_set}
    schedule = sent.get("schedule")
    if isinstance(schedule, ScheduleBody):
        sent["schedule"] = schedule.text or schedule.expr or schedule.display
    if isinstance(sent.get("repeat"), RepeatBody):
        sent["repeat"] = sent["repeat"].times
    if sent.get("skill") and not sent.get("skills"):
        sent["skills"] = [sent["skill"]]
    if sent.get("paused") is not None:
        if sent.get("enabled") is sent["paused"]:
            raise InvalidInput("a job is either paused or enabled", param="paused")
        sent["enabled"] = not sent["paused"]
    if sent.get("enabled", True) is None:
        del sent["enabled"]
    for name in required:
        if sent.get(name) is None:
            raise InvalidInput(f"{name} is needed", param=name)
    return {name: sent[name] for name in FIELDS if name in sent}


async def _answer(request: Request, services: Services) -> Response:
    job, last = await services.jobs.get(_job_id(request), owner_of(request).id)
    return JsonAnswer({"job": job_object(job, last)})


def _job_id(request: Request) -> str:
    job_id: str = request.path_params["job_id"]
    if JOB_ID.match(job_id) is None:
        raise NotFound(f"no job {job_id[:80]!r}; list them with: hermes cron list", code="job_not_found")
    return job_id
