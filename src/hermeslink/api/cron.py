"""Jobs of the profiles: kept and run by their API servers, asked for there."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hermes.core.errors import HermesError, NotFound
from hermeslink.api.bodies import Answer, Body
from hermeslink.api.dependencies import TheCaller, TheLink
from hermeslink.hermes.problems import ServerRefused, ServerUnavailable
from hermeslink.hermes.servers import ApiServer

router = APIRouter(prefix="/api/v1", tags=["cron"])

LIST_SECONDS = 10.0
"""How long a list of all waits for one profile."""

WithDisabled = Annotated[bool, Query(description="Those that are paused or completed, too.")]
Text = Annotated[str, Field(max_length=2**19)]


class Job(BaseModel):
    """As the API server has it, with the profile it is of."""

    model_config = ConfigDict(extra="allow")

    id: str
    profile: str
    name: str | None = None
    prompt: str | None = None


class JobChanges(Body):
    """What is sent is changed; the API server says what it takes."""

    name: Text | None = None
    schedule: Text | dict[str, Any] | None = None
    prompt: Text | None = None
    deliver: Text | None = None
    skills: list[Text] | None = None
    skill: Text | None = None
    repeat: int | dict[str, Any] | None = None
    model: Text | None = None
    enabled_toolsets: list[Text] | None = None
    workdir: Text | None = None
    timezone: Text | None = None
    catch_up: Text | None = None
    paused: bool | None = None
    enabled: bool | None = None


class Failure(BaseModel):
    profile: str
    code: str
    message: str


class JobList(Answer):
    """`failures`: profiles whose API server could not be asked."""

    jobs: list[Job]
    failures: list[Failure] = Field(default_factory=list)


class JobAnswer(Answer):
    job: Job


class JobStarted(JobAnswer):
    """`run_id`: its events are those of any direct run."""

    run_id: str | None = None
    session_id: str | None = None


class JobDeleted(Answer):
    job_id: str
    profile: str


class JobInvalid(HermesError):
    """An API server said something of a job that is no job."""

    code = "hermes_cron_job_invalid"


@router.get("/cron-jobs")
async def list_all_jobs(link: TheLink, include_disabled: WithDisabled = True) -> JobList:
    """The jobs of all profiles. 503 when no API server can be asked, 502 when none tells of jobs."""
    profiles = await asyncio.to_thread(link.servers.profiles)
    told = await asyncio.gather(*(_of_profile(link, profile, include_disabled) for profile in profiles))
    failures = [one for one in told if isinstance(one, Failure)]
    if len(failures) == len(told):
        is_invalid = all(one.code == JobInvalid.code for one in failures)
        raise (JobInvalid if is_invalid else ServerUnavailable)(failures[0].message)
    return JobList(jobs=[job for one in told if isinstance(one, list) for job in one], failures=failures)


@router.get("/profiles/{name}/cron-jobs")
async def list_jobs(link: TheLink, name: str, include_disabled: WithDisabled = True) -> JobList:
    """The jobs of a profile, the oldest first."""
    return JobList(jobs=await _jobs(link.servers.of(name), include_disabled))


@router.post("/profiles/{name}/cron-jobs", status_code=201)
async def create_job(link: TheLink, name: str, body: JobChanges) -> JobAnswer:
    """Make a job: `schedule` and `prompt` are needed."""
    server = link.servers.of(name)
    return JobAnswer(job=_job(server, await server.jobs("POST", "", body.model_dump(exclude_unset=True))))


@router.get("/profiles/{name}/cron-jobs/{job_id}")
async def show_job(link: TheLink, name: str, job_id: str) -> JobAnswer:
    """Look at a job: when it runs next, and how it went last."""
    server = link.servers.of(name)
    return JobAnswer(job=_job(server, await server.jobs("GET", job_id)))


@router.patch("/profiles/{name}/cron-jobs/{job_id}")
async def change_job(link: TheLink, name: str, job_id: str, body: JobChanges) -> JobAnswer:
    """Change what is sent, and nothing else."""
    server = link.servers.of(name)
    return JobAnswer(job=_job(server, await server.jobs("PATCH", job_id, body.model_dump(exclude_unset=True))))


@router.delete("/profiles/{name}/cron-jobs/{job_id}")
async def delete_job(link: TheLink, name: str, job_id: str) -> JobDeleted:
    """Delete a job with its history. A run of it that goes on goes on."""
    await link.servers.of(name).jobs("DELETE", job_id)
    return JobDeleted(job_id=job_id, profile=name)


@router.post("/profiles/{name}/cron-jobs/{job_id}/pause")
async def pause_job(link: TheLink, name: str, job_id: str) -> JobAnswer:
    """What would have been due meanwhile does not come later."""
    return await _asked(link.servers.of(name), job_id, "pause")


@router.post("/profiles/{name}/cron-jobs/{job_id}/resume")
async def resume_job(link: TheLink, name: str, job_id: str) -> JobAnswer:
    """It runs again, from its next time on."""
    return await _asked(link.servers.of(name), job_id, "resume")


@router.post("/profiles/{name}/cron-jobs/{job_id}/run")
async def run_job(link: TheLink, caller: TheCaller, name: str, job_id: str) -> JobStarted:
    """Run it now, whatever its schedule. Its run is followed and cancelled like any direct one."""
    server = link.servers.of(name)
    answer = await server.jobs("POST", f"{job_id}/run")
    run_id, session_id = _text(answer.get("run_id")), _text(answer.get("session_id"))
    if run_id is not None:
        await link.direct_runs.add(run_id, name, device_id=caller.device_id)
    return JobStarted(job=_job(server, answer), run_id=run_id, session_id=session_id)


async def _asked(server: ApiServer, job_id: str, what: str) -> JobAnswer:
    return JobAnswer(job=_job(server, await server.jobs("POST", f"{job_id}/{what}")))


async def _of_profile(link: TheLink, profile: str, include_disabled: bool) -> list[Job] | Failure:
    try:
        async with asyncio.timeout(LIST_SECONDS):
            return await _jobs(link.servers.of(profile), include_disabled)
    except (ServerUnavailable, ServerRefused, JobInvalid, NotFound) as error:  # NotFound: deleted a moment ago
        return Failure(profile=profile, code=error.code, message=error.message)
    except TimeoutError:
        return Failure(profile=profile, code=ServerUnavailable.code, message="the API server does not answer in time")


async def _jobs(server: ApiServer, include_disabled: bool) -> list[Job]:
    answer = await server.jobs("GET", query="include_disabled=true" if include_disabled else "")
    found = answer.get("jobs")
    if not isinstance(found, list):
        raise JobInvalid(f"the API server of the profile {server.profile} gave no list of jobs")
    return [_job(server, {"job": job}) for job in found]


def _job(server: ApiServer, answer: dict[str, Any]) -> Job:
    """Raises JobInvalid."""
    told = answer.get("job")
    try:
        return Job.model_validate({**told, "profile": server.profile} if isinstance(told, dict) else told)
    except ValidationError:
        raise JobInvalid(f"the API server of the profile {server.profile} told of a job that is none") from None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
