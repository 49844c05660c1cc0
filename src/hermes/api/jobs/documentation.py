"""What the routes of jobs take and give (`hermes.api.documented`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hermes.api.documented import Answer, Query, Shape
from hermes.core.job import CatchUp, JobState, Reason
from hermes.core.run import RunStatus

Time = Annotated[str, Field(description="ISO 8601 with the offset of the job's time zone")]
Text = Annotated[str, Field(max_length=2**20)]


class ScheduleBody(Shape):
    """A schedule as an answer shows it may be sent again: `text` counts, then `expr`, then `display`."""

    text: Text | None = None
    expr: Text | None = None
    display: Text | None = None


class RepeatBody(Shape):
    """`repeat` as an answer shows it may be sent again."""

    times: int | None = None


class JobChanges(Shape):
    """What is sent is changed; null puts a field back to its default."""

    name: Text | None = None
    schedule: Annotated[
        Text | ScheduleBody | None,
        Field(description="30m, in 5 minutes, every 2h, daily at 9am, 0 9 * * mon-fri, @daily, 2027-01-31T09:00"),
    ] = None
    prompt: Text | None = None
    deliver: Annotated[Text | None, Field(description="local, webhook:https://… or session:ID")] = None
    skills: list[Text] | None = None
    skill: Annotated[Text | None, Field(description="one skill, as older clients send it")] = None
    repeat: Annotated[int | RepeatBody | None, Field(description="how often it fires; null: without an end")] = None
    model: Text | None = None
    enabled_toolsets: list[Text] | None = None
    workdir: Annotated[Text | None, Field(description="a directory of the server, absolute or with ~")] = None
    timezone: Annotated[Text | None, Field(description="an IANA name")] = None
    catch_up: Annotated[
        Literal["one", "all", "none"] | None, Field(description="what becomes of times that were missed")
    ] = None
    paused: bool | None = None
    enabled: Annotated[bool | None, Field(description="the opposite of paused")] = None


class JobBody(JobChanges):
    """A new job: `schedule` and `prompt` are needed."""


class JobListQuery(Query):
    include_disabled: Annotated[bool, Field(description="those that are paused or completed, too")] = False


class JobRunsQuery(Query):
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[int | None, Field(ge=1, lt=2**62, description="`next_cursor` of the page before")] = None
    full_output: Annotated[bool, Field(description="outputs are whole, and not their first 1000 characters")] = False


class JobSchedule(Answer):
    """`run_at` for once, `minutes` for interval, `expr` for cron; the others are null. `text` is what was sent."""

    kind: Literal["once", "interval", "cron"]
    display: str
    text: str
    run_at: Time | None
    minutes: float | None
    expr: str | None


class JobRepeat(Answer):
    """`times` null: without an end. `completed` counts the times it fired, failed starts too, calls by hand not."""

    times: int | None
    completed: int


class JobObject(Answer):
    id: str
    name: str
    prompt: str
    skills: list[str]
    skill: str | None
    model: str | None
    schedule: JobSchedule
    schedule_display: str
    timezone: str
    repeat: JobRepeat
    catch_up: CatchUp
    enabled: bool
    state: JobState
    paused_at: Time | None
    created_at: Time
    updated_at: Time
    next_run_at: Time | None
    last_run_at: Time | None
    last_run_id: str | None
    last_status: Annotated[Literal["ok", "error"] | None, Field(description="null while it runs")]
    last_error: str | None
    last_delivery_error: str | None
    deliver: str
    enabled_toolsets: list[str] | None
    workdir: str | None


class JobAnswer(Answer):
    job: JobObject


class JobList(Answer):
    jobs: list[JobObject]


class JobDeleted(Answer):
    ok: Literal[True]
    id: str


class JobStarted(Answer):
    """The run is one like any other: GET /v1/runs/{run_id} and its events."""

    job: JobObject
    run_id: str
    session_id: str


class JobDelivery(Answer):
    to: str
    state: Annotated[
        Literal["local", "pending", "delivered", "failed", "none"],
        Field(description="local: it is kept here; none: there was nothing to deliver"),
    ]
    attempts: int
    delivered_at: Time | None
    next_attempt_at: Time | None
    error: str | None


class JobRunObject(Answer):
    """What became of a due time. `status` is the run's, null where nothing ran or the run was deleted."""

    id: int
    job_id: str
    reason: Reason
    manual: bool
    detail: Annotated[str | None, Field(description="why it failed or was skipped, or how many times it stands for")]
    due_at: Time
    fired_at: Time
    finished_at: Time | None
    run_id: str | None
    session_id: str | None
    status: RunStatus | None
    error: str | None
    output: str | None
    output_truncated: bool
    delivery: JobDelivery


class JobRuns(Answer):
    """The newest first."""

    runs: list[JobRunObject]
    has_more: bool
    next_cursor: int | None
