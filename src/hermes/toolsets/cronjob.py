"""The `cronjob` tool: prompts that run at a time, under the rules of /api/jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from hermes.core.errors import ToolFailed
from hermes.core.ports import Action, ActionKind, CronJobs, ToolContext, ToolResult
from hermes.core.toolset import TOOLSETS
from hermes.toolsets.tool import Arguments, BaseTool, one_line
from hermes.toolsets.toolset import Toolset

ASKING = frozenset({"create", "update", "remove"})
PROMPT_CHARACTERS = 200
FIELDS = (
    "name",
    "schedule",
    "prompt",
    "deliver",
    "skills",
    "repeat",
    "model",
    "enabled_toolsets",
    "workdir",
    "timezone",
)


class CronjobArguments(Arguments):
    action: Literal["create", "list", "update", "pause", "resume", "run", "remove"]
    job_id: str = Field("", description="For all but create and list.")
    schedule: str | None = Field(None, description="every 2h; 30m (once); daily at 9:00; cron; ISO time.")
    prompt: str | None = Field(None, description="The whole task: nobody can be asked, nothing of this chat is known.")
    name: str | None = None
    deliver: str | None = Field(None, description="local, webhook:URL or session:ID; default local.")
    skills: list[str] | None = None
    repeat: int | None = Field(None, description="Times in all.")
    model: str | None = None
    enabled_toolsets: list[str] | None = None
    workdir: str | None = None
    timezone: str | None = None


class CronjobTool(BaseTool[CronjobArguments]):
    name = "cronjob"
    description = """Tasks that run by themselves at a time, as often as you say. Their last message is kept and
        delivered."""
    arguments = CronjobArguments

    def __init__(self, jobs: CronJobs | None) -> None:
        super().__init__()
        self._jobs = jobs

    def summary(self, arguments: CronjobArguments) -> str:
        about = arguments.job_id or (f"{arguments.schedule}: {arguments.prompt}" if arguments.schedule else "")
        return f"{arguments.action} {about}"

    def action(self, arguments: CronjobArguments, context: ToolContext) -> Action | None:
        """What runs by itself is a person's to decide. To pause, resume or run what a person decided on asks nobody."""
        if arguments.action not in ASKING:
            return None
        fields = _fields(arguments)
        said = [arguments.action, arguments.job_id, *(f"{name}={value!r}" for name, value in fields.items())]
        return Action(ActionKind.JOB, " ".join(part for part in said if part), workdir=context.workdir)

    async def run(self, arguments: CronjobArguments, context: ToolContext) -> ToolResult:
        if self._jobs is None:
            raise ToolFailed("No jobs are kept here.")
        if arguments.action not in ("create", "list") and not arguments.job_id:
            raise ToolFailed(f"job_id: is missing; {arguments.action} needs it. action list shows the ids.")
        told = await self._jobs.call(context, arguments.action, arguments.job_id, _fields(arguments))
        lines = [_line(job) for job in told.jobs]
        return ToolResult("\n".join([*lines, *([told.note] if told.note else [])]), preview=told.note or lines[0])


def cronjob_toolset(jobs: CronJobs | None) -> Toolset:
    is_usable = jobs is not None
    problem = "" if is_usable else "jobs are kept in a home, and there is none"
    return Toolset(TOOLSETS["cronjob"], (CronjobTool(jobs),), problem, is_usable)


def _fields(arguments: CronjobArguments) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in FIELDS if name in arguments.model_fields_set}


def _line(job: Mapping[str, Any]) -> str:
    state: Sequence[str] = [
        f"next {job['next_run_at']}" if job["next_run_at"] else str(job["state"]),
        *([f"last {job['last_run_at']}: {job['last_status'] or 'running'}"] if job["last_run_at"] else []),
        *([f"error: {job['last_error']}"] if job["last_error"] else []),
        f"deliver {job['deliver']}",
    ]
    about = f"{job['id']} “{one_line(job['name'], 60)}” {job['schedule_display']} ({job['timezone']}), "
    return f"{about}{', '.join(state)}: {one_line(job['prompt'], PROMPT_CHARACTERS)}"
