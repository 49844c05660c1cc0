"""What a job may be: the fields of a request, or of the command line, become a `Job`, or are refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hermes.core.errors import Conflict, InvalidInput
from hermes.core.ids import is_session_id, new_id
from hermes.core.job import CatchUp, Job, JobState
from hermes.core.toolset import TOOLSETS, enabled
from hermes.home.settings import Settings
from hermes.jobs.schedule import Once, Schedule, first_due, invalid, parse
from hermes.jobs.timezones import machine_timezone, zone

MAX_NAME_CHARACTERS = 200
MAX_PROMPT_CHARACTERS = 100_000
MAX_PATH_CHARACTERS = 4096
MAX_NAMES = 50
MAX_REPEAT = 1_000_000
PUT_BACK_SECONDS = 7 * 86_400.0
NODES_APART_SECONDS = 60.0
JOB_ID = re.compile(r"[0-9a-f]{12}\Z")

_SKILL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/:-]{0,127}")
_DELIVER_FORMS = "local, webhook:https://… or session:ID"

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
    "catch_up",
    "timezone",
    "enabled",
)
Fields = Mapping[str, Any]
"""Some of FIELDS, each of its right type. None puts a field back to its default."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What this home allows. `timezone` is that of jobs that name none, `toolsets` are the enabled ones."""

    timezone: str = "UTC"
    toolsets: Collection[str] = tuple(TOOLSETS)
    takes_model: Callable[[str], bool] = lambda name: True


def rules_of(
    settings: Settings, own_names: Sequence[str] = ("hermes-agent",), environ: Mapping[str, str] | None = None
) -> Rules:
    """`own_names` are what clients call this server's model: naming it means the default. `environ` may have TZ."""

    def takes_model(name: str) -> bool:
        return settings.direct_model_requests or name in settings.model_routes or name in own_names

    toolsets = enabled(settings.toolsets_for("api_server"))
    return Rules(settings.jobs.timezone or machine_timezone(environ), toolsets, takes_model)


def new_job(fields: Fields, owner: str, now: float, rules: Rules) -> Job:
    """Raises InvalidInput naming the field."""
    for required in ("schedule", "prompt"):
        if fields.get(required) is None:
            raise InvalidInput(f"a job needs a {required}", param=required)
    values = {**_checked(fields, rules), "timezone": zone(fields.get("timezone") or rules.timezone).key}
    values["name"] = values.get("name") or " ".join(values["prompt"].split())[:50]
    is_enabled = values.pop("enabled", True)
    id_ = new_id("job").removeprefix("job_")[:12]
    job = Job(id=id_, owner=owner, anchor=now, created_at=now, updated_at=now, **values)
    schedule = schedule_of(job)
    _check_repeat(job, schedule)
    due = first_due(schedule, job.schedule, now)
    return replace(job, next_due=due) if is_enabled else replace(job, state=JobState.PAUSED, paused_at=now)


def changed(job: Job, fields: Fields, now: float, rules: Rules) -> Job:
    """A new schedule is counted from now on, and wakes a job that was completed; the same text is not a new one, so
    that a whole job may be sent back. Raises InvalidInput, or Conflict `job_completed` for what needs a future."""
    values = _checked(fields, rules)
    if not values:
        raise InvalidInput(f"there is nothing to change: send one of {', '.join(FIELDS)}")
    if "timezone" in values:
        values["timezone"] = zone(values["timezone"] or rules.timezone).key
    is_enabled = values.pop("enabled", None)
    if values.get("schedule") == job.schedule:
        del values["schedule"]
    if values.get("timezone") == job.timezone:
        del values["timezone"]
    after = replace(job, **values, updated_at=_later(job, now))
    if "schedule" in values:
        after = replace(after, anchor=now, fired=0)
    schedule = schedule_of(after)
    _check_repeat(after, schedule)
    if "schedule" in values or "timezone" in values:
        if after.state is not JobState.PAUSED:
            start = _behind_the_last(job, now, NODES_APART_SECONDS if "schedule" in values else PUT_BACK_SECONDS)
            due = schedule.next_after(start) or first_due(schedule, after.schedule, now)
            after = replace(after, state=JobState.SCHEDULED, next_due=due)
    elif "repeat" in values and job.state is JobState.COMPLETED:
        after = _armed(after, now)
    after = _spent(after)
    if is_enabled:
        return resumed(after, now)
    return paused(after, now) if is_enabled is False and after.state is JobState.SCHEDULED else after


def paused(job: Job, now: float) -> Job:
    """Raises Conflict `job_completed`."""
    if job.state is JobState.PAUSED:
        return job
    _check_future(job)
    return replace(job, state=JobState.PAUSED, paused_at=now, next_due=None, updated_at=_later(job, now))


def resumed(job: Job, now: float) -> Job:
    """What was missed while it was paused does not come. Raises Conflict `job_completed`."""
    if job.state is JobState.SCHEDULED:
        return job
    _check_future(job)
    after = _armed(replace(job, paused_at=None, updated_at=_later(job, now)), now)
    if after.state is JobState.COMPLETED:
        raise Conflict(
            f"the job {job.name!r} was paused when its time came; give it another schedule", code="job_completed"
        )
    return after


def advanced(job: Job, due: float, next_due: float | None, *, has_fired: bool) -> Job:
    """After `due` was dealt with."""
    after = replace(job, last_due=due, next_due=next_due, fired=job.fired + has_fired)
    return _spent(after) if next_due is not None else replace(after, state=JobState.COMPLETED)


def schedule_of(job: Job) -> Schedule:
    """Raises InvalidInput: the list of time zones may have changed since it was kept."""
    return parse(job.schedule, zone(job.timezone), job.anchor)


def check_names(job: Job, rules: Rules) -> None:
    """What the configuration may have taken away since. Raises InvalidInput."""
    _check_toolsets(job.enabled_toolsets or (), rules)


def _armed(job: Job, now: float) -> Job:
    due = schedule_of(job).next_after(_behind_the_last(job, now, PUT_BACK_SECONDS))
    return _spent(replace(job, state=JobState.SCHEDULED if due is not None else JobState.COMPLETED, next_due=due))


def _behind_the_last(job: Job, now: float, most_seconds: float) -> float:
    """A time that was dealt with does not come again when the clock was put back, or is behind that of another node.

    Where the job would be silent for longer than `most_seconds`, the clock it fired by was wrong: this one counts.
    """
    if job.last_due is None or job.last_due - now > most_seconds:
        return now
    return max(now, job.last_due)


def _spent(job: Job) -> Job:
    """Completed, when it has fired as often as it may."""
    if job.repeat is None or job.fired < job.repeat:
        return job
    return replace(job, state=JobState.COMPLETED, next_due=None)


def _later(job: Job, now: float) -> float:
    """Each version has a time of its own, which a claim goes by, whatever the clock does."""
    return max(now, job.updated_at + 0.001)


def _check_future(job: Job) -> None:
    if job.state is JobState.COMPLETED:
        raise Conflict(
            f"the job {job.name!r} is completed; give it another schedule, or repeat, to go on", code="job_completed"
        )


def _check_repeat(job: Job, schedule: Schedule) -> None:
    if isinstance(schedule, Once) and (job.repeat or 1) > 1:
        raise InvalidInput(f"{job.schedule!r} comes once: it cannot repeat {job.repeat} times", param="repeat")


def _checked(fields: Fields, rules: Rules) -> dict[str, Any]:
    return {name: _CHECKS[name](fields[name], rules) for name in FIELDS if name in fields}


def _name(value: str | None, rules: Rules) -> str:
    return _line(value or "", "name", MAX_NAME_CHARACTERS)


def _schedule(value: str | None, rules: Rules) -> str:
    if value is None:
        raise InvalidInput("a job needs a schedule", param="schedule")
    text = " ".join(value.split())
    if not text:
        raise invalid("", "it is empty")
    return text


def _prompt(value: str | None, rules: Rules) -> str:
    if not (value or "").strip():
        raise InvalidInput("a job needs a prompt: what the agent is asked each time", param="prompt")
    assert value is not None
    if len(value) > MAX_PROMPT_CHARACTERS:
        raise InvalidInput(f"the prompt has more than {MAX_PROMPT_CHARACTERS} characters", param="prompt")
    return value


def _deliver(value: str | None, rules: Rules) -> str:
    """The form alone: whether the URL may be asked, and the session is there, is the service's to say."""
    text = (value or "local").strip()
    kind, _, rest = text.partition(":")
    if text == "local" or (kind == "session" and is_session_id(rest)):
        return text
    if kind == "webhook" and rest.startswith(("https://", "http://")) and len(rest) <= 2048:
        return text
    raise InvalidInput(
        f"cannot deliver to {text[:80]!r}; take {_DELIVER_FORMS}", code="invalid_delivery", param="deliver"
    )


def _skills(value: Sequence[str] | None, rules: Rules) -> tuple[str, ...]:
    names = _names(value or (), "skills")
    for name in names:
        if _SKILL.fullmatch(name) is None:
            raise InvalidInput(f"{name[:80]!r} cannot be the name of a skill", param="skills")
    return names


def _repeat(value: int | None, rules: Rules) -> int | None:
    if value is not None and not 1 <= value <= MAX_REPEAT:
        raise InvalidInput(f"repeat must be 1 to {MAX_REPEAT}, or null for no end", param="repeat")
    return value


def _model(value: str | None, rules: Rules) -> str | None:
    name = (value or "").strip()
    if not name:
        return None
    if len(name) > MAX_NAME_CHARACTERS or not name.isprintable() or not rules.takes_model(name):
        raise InvalidInput(
            f"the model {name[:80]!r} is not one that a job can ask for: name one of model_routes, or set "
            "direct_model_requests; without a model the job uses the default",
            param="model",
        )
    return name


def _toolsets(value: Sequence[str] | None, rules: Rules) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = _names(value, "enabled_toolsets")
    _check_toolsets(names, rules)
    return names


def _check_toolsets(names: Sequence[str], rules: Rules) -> None:
    for name in names:
        if name not in rules.toolsets:
            raise InvalidInput(
                f"there is no toolset {name[:80]!r} that is enabled here; there are: "
                f"{', '.join(rules.toolsets) or 'none'} (toolsets in config.yaml)",
                code="unknown_toolset",
                param="enabled_toolsets",
            )


def _workdir(value: str | None, rules: Rules) -> str | None:
    """It need not be there yet: that is looked at when the job fires."""
    text = (value or "").strip()
    if not text:
        return None
    is_path = len(text) <= MAX_PATH_CHARACTERS and text.isprintable()
    if not is_path or not (text.startswith("~") or Path(text).is_absolute()):
        raise InvalidInput("workdir must be an absolute path, or start with ~", param="workdir")
    return text


def _catch_up(value: str | None, rules: Rules) -> CatchUp:
    try:
        return CatchUp(value or CatchUp.ONE)
    except ValueError:
        raise InvalidInput(f"catch_up must be one of {', '.join(CatchUp)}", param="catch_up") from None


def _timezone(value: str | None, rules: Rules) -> str | None:
    return value or None


def _enabled(value: bool | None, rules: Rules) -> bool:
    return value is not False


def _names(values: Sequence[str], param: str) -> tuple[str, ...]:
    if len(values) > MAX_NAMES:
        raise InvalidInput(f"{param} names more than {MAX_NAMES}", param=param)
    return tuple(dict.fromkeys(_line(value, param, 128) for value in values if value.strip()))


def _line(text: str, param: str, most: int) -> str:
    line = " ".join(text.split())
    if len(line) > most or not line.isprintable():
        raise InvalidInput(f"{param} must be one line of at most {most} characters", param=param)
    return line


_CHECKS: dict[str, Callable[[Any, Rules], Any]] = {
    "name": _name,
    "schedule": _schedule,
    "prompt": _prompt,
    "deliver": _deliver,
    "skills": _skills,
    "repeat": _repeat,
    "model": _model,
    "enabled_toolsets": _toolsets,
    "workdir": _workdir,
    "catch_up": _catch_up,
    "timezone": _timezone,
    "enabled": _enabled,
}
