"""`hermes cron`: jobs, which are prompts that run at a time."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Annotated, Any

import typer

from hermes.cli.context import Call, call_of, new_app, table
from hermes.cli.cron_backend import Object, ThroughGateway, find, jobs_of
from hermes.core.errors import HermesError, InvalidInput
from hermes.home.paths import Home

app = new_app("Make and run jobs: prompts that run at a time.")

Which = Annotated[str, typer.Argument(metavar="JOB", help="The job's id, or its name.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]
Name = Annotated[str | None, typer.Option(help="What you call it. Unset: the head of the prompt.")]
Deliver = Annotated[
    str | None, typer.Option(help="Where its output goes: local (kept here), webhook:URL or session:ID.")
]
Skills = Annotated[list[str] | None, typer.Option("--skill", help="A skill it uses; may be given again.")]
Repeat = Annotated[int | None, typer.Option(min=0, help="How often it fires; 0: without an end.")]
Model = Annotated[str | None, typer.Option(help="The model that answers. Unset: the default one.")]
Toolsets = Annotated[list[str] | None, typer.Option("--toolset", help="A toolset it has; may be given again.")]
Workdir = Annotated[str | None, typer.Option(help="The directory it works in.")]
Zone = Annotated[str | None, typer.Option("--timezone", help="Of its schedule, such as Europe/Berlin.")]
CatchUp = Annotated[str | None, typer.Option(help="Times missed while nothing ran: one run for all, all, or none.")]


@app.command("list")
def list_jobs(
    ctx: typer.Context,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Those that are paused or completed, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the jobs and when each runs next."""
    call, home, jobs = _open(ctx)
    with jobs as backend:
        found = backend.all()
    shown = [job for job in found if everything or job["enabled"]]
    if as_json:
        print(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    if not shown:
        hidden = f" ({len(found)} paused or completed: --all)" if found else ""
        print(f"No jobs{hidden}. Make one: {home.command} cron create 'daily at 9am' 'Sum up the news'")
        return
    rows = [("id", "name", "schedule", "next", "last", "deliver")]
    for job in shown:
        upcoming = _when(call, job["next_run_at"]) if job["enabled"] else job["state"]
        last = f"{job['last_status'] or 'running'}, {_when(call, job['last_run_at'])}" if job["last_run_at"] else "-"
        rows.append((job["id"], job["name"][:40], job["schedule_display"][:40], upcoming, last, job["deliver"][:60]))
    print(table(rows))
    _tell_not_running(call, home)


@app.command()
def create(
    ctx: typer.Context,
    schedule: Annotated[str, typer.Argument(help="30m, every 2h, daily at 9am, '0 9 * * mon-fri', 2027-01-31T09:00")],
    prompt: Annotated[str, typer.Argument(help="What the agent is asked each time.")],
    name: Name = None,
    deliver: Deliver = None,
    skill: Skills = None,
    repeat: Repeat = None,
    model: Model = None,
    toolset: Toolsets = None,
    workdir: Workdir = None,
    timezone: Zone = None,
    catch_up: CatchUp = None,
    paused: Annotated[bool, typer.Option("--paused", help="It does not run before it is resumed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a job. docs/jobs.md has all forms of a schedule."""
    fields = _fields(name, deliver, skill, repeat, model, toolset, workdir, timezone, catch_up)
    call, home, jobs = _open(ctx)
    with jobs as backend:
        job = backend.create({"schedule": schedule, "prompt": prompt, "enabled": not paused, **fields})
    _show(call, home, job, "Made", as_json=as_json)


@app.command()
def edit(
    ctx: typer.Context,
    job: Which,
    schedule: Annotated[str | None, typer.Option(help="Another schedule, counted from now on.")] = None,
    prompt: Annotated[str | None, typer.Option(help="What the agent is asked each time.")] = None,
    name: Name = None,
    deliver: Deliver = None,
    skill: Skills = None,
    repeat: Repeat = None,
    model: Model = None,
    toolset: Toolsets = None,
    workdir: Workdir = None,
    timezone: Zone = None,
    catch_up: CatchUp = None,
    as_json: AsJson = False,
) -> None:
    """Change a job; what is not named stays. An empty text ('') puts an option back to its default."""
    fields = _fields(name, deliver, skill, repeat, model, toolset, workdir, timezone, catch_up)
    fields |= {name: value for name, value in (("schedule", schedule), ("prompt", prompt)) if value is not None}
    if not fields:
        raise InvalidInput("nothing to change: name an option, such as --schedule; see hermes cron edit --help")
    call, home, jobs = _open(ctx)
    with jobs as backend:
        changed = backend.change(find(backend, job)["id"], fields)
    _show(call, home, changed, "Changed", as_json=as_json)


@app.command()
def pause(ctx: typer.Context, job: Which) -> None:
    """Pause a job. What would have been due meanwhile does not come later."""
    _, _, jobs = _open(ctx)
    with jobs as backend:
        paused = backend.pause(find(backend, job)["id"])
    print(f"Paused {_called(paused)}.")


@app.command()
def resume(ctx: typer.Context, job: Which) -> None:
    """Let a paused job run again."""
    call, home, jobs = _open(ctx)
    with jobs as backend:
        resumed = backend.resume(find(backend, job)["id"])
    _show(call, home, resumed, "Resumed", as_json=False)


@app.command()
def remove(ctx: typer.Context, job: Which) -> None:
    """Delete a job with its history. Its runs and their sessions stay."""
    _, _, jobs = _open(ctx)
    with jobs as backend:
        found = find(backend, job)
        backend.remove(found["id"])
    print(f"Removed {_called(found)}.")


@app.command()
def run(
    ctx: typer.Context,
    job: Which,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for its end and show what it says.")] = False,
) -> None:
    """Run a job now, whatever its schedule says. It needs the running gateway."""
    _, home, jobs = _open(ctx)
    with jobs as backend:
        found = find(backend, job)
        run_id = backend.run(found["id"])["run_id"]
        print(f"{_called(found)} runs as {run_id}.")
        if wait and isinstance(backend, ThroughGateway):
            _wait(backend, run_id)
        else:
            print(f"What it says: {home.command} cron runs {found['id']} --output")


@app.command()
def runs(
    ctx: typer.Context,
    job: Which,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="How many, the newest first.")] = 10,
    output: Annotated[bool, typer.Option("--output", "-o", help="With all that each run said.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what became of a job's times: ran, late, skipped or failed, and whether its output was delivered."""
    call, _, jobs = _open(ctx)
    with jobs as backend:
        found = find(backend, job)
        entries = backend.runs(found["id"], limit, is_whole=output or as_json)
    if as_json:
        print(json.dumps(entries, indent=2, ensure_ascii=False))
    elif not entries:
        print(f"{_called(found)} has not run yet.")
    elif output:
        print("\n\n".join(_with_output(call, entry) for entry in entries))
    else:
        rows = [("due", "what", "status", "delivery", "run", "output")]
        rows += [(*_facts(call, entry), entry["run_id"] or "-", _head(entry)) for entry in entries]
        print(table(rows))


@app.command()
def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show whether jobs run, what comes next and what went wrong."""
    from hermes.home.locks import running_gateway
    from hermes.home.settings import load_settings

    call, home, jobs = _open(ctx)
    with jobs as backend:
        found = backend.all()
    settings = load_settings(home, call.environ, is_lenient=True)
    process = running_gateway(home.pid_file)
    active = [job for job in found if job["enabled"]]
    upcoming = min(active, key=lambda job: _moment(job["next_run_at"]), default=None)
    failing = [job for job in found if job["last_error"] or job["last_delivery_error"]]
    if as_json:
        facts: Object = {"gateway_pid": process.pid if process else None, "jobs": len(found), "enabled": len(active)}
        facts |= {"next": upcoming, "failing": failing, "cron_mode": settings.approvals.cron_mode}
        print(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    rows = [
        ("gateway", f"runs (pid {process.pid})" if process else f"does not run: {home.command} gateway start"),
        ("jobs", f"{len(active)} active, {len(found) - len(active)} paused or completed"),
        ("next", f"{_called(upcoming)}, {_when(call, upcoming['next_run_at'])}" if upcoming else "nothing"),
        ("dangerous calls", f"{settings.approvals.cron_mode} (approvals.cron_mode)"),
    ]
    rows += [("problem", f"{_called(job)}: {job['last_error'] or job['last_delivery_error']}") for job in failing]
    print(table(rows))


def _open(ctx: typer.Context) -> tuple[Call, Home, Any]:
    call = call_of(ctx)
    home = call.home()
    return call, home, jobs_of(call, home)


def _fields(
    name: str | None,
    deliver: str | None,
    skills: list[str] | None,
    repeat: int | None,
    model: str | None,
    toolsets: list[str] | None,
    workdir: str | None,
    timezone: str | None,
    catch_up: str | None,
) -> dict[str, Any]:
    """Those that were given; an empty text is None, a repeat of 0 too."""
    texts = {"name": name, "deliver": deliver, "model": model, "workdir": workdir}
    texts |= {"timezone": timezone, "catch_up": catch_up}
    fields: dict[str, Any] = {field: text or None for field, text in texts.items() if text is not None}
    if skills:
        fields["skills"] = [skill for skill in skills if skill]
    if toolsets:
        fields["enabled_toolsets"] = [toolset for toolset in toolsets if toolset] or None
    if repeat is not None:
        fields["repeat"] = repeat or None
    return fields


def _show(call: Call, home: Home, job: Object, verb: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(job, indent=2, ensure_ascii=False))
        return
    upcoming = f"next: {_when(call, job['next_run_at'])}" if job["enabled"] else f"it is {job['state']}"
    print(f"{verb} {_called(job)}: {job['schedule_display']} ({job['timezone']}), {upcoming}.")
    _tell_not_running(call, home)


def _tell_not_running(call: Call, home: Home) -> None:
    from hermes.home.locks import running_gateway

    if running_gateway(home.pid_file) is None:
        print(f"Jobs run while the gateway does, and it does not: {home.command} gateway start")


def _called(job: Object) -> str:
    return f"{job['id']} ({job['name'][:60]})"


def _moment(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()


def _when(call: Call, iso: str | None) -> str:
    """On this machine's clock, and how far away: `Tue 2026-11-24 09:00 (in 3 h)`."""
    from zoneinfo import ZoneInfo

    from hermes.jobs.timezones import machine_timezone

    if iso is None:
        return "-"
    then = _moment(iso)
    clock = datetime.fromtimestamp(then, ZoneInfo(machine_timezone(call.environ)))
    away = then - time.time()
    return f"{clock:%a %Y-%m-%d %H:%M} ({f'in {_span(away)}' if away >= 0 else f'{_span(-away)} ago'})"


def _span(seconds: float) -> str:
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{round(seconds / unit)} {name}"
    return f"{round(seconds)} s"


def _facts(call: Call, entry: Object) -> tuple[str, str, str, str]:
    what = f"{entry['reason']}, by hand" if entry["manual"] else entry["reason"]
    delivery = entry["delivery"]["state"]
    if entry["delivery"]["error"]:
        delivery += f" ({entry['delivery']['error']})"
    return _when(call, entry["due_at"]), what, entry["status"] or "-", delivery


def _head(entry: Object) -> str:
    text = " ".join((entry["error"] or entry["output"] or entry["detail"] or "-").split())
    return text if len(text) <= 80 else text[:79] + "…"


def _with_output(call: Call, entry: Object) -> str:
    head = " · ".join(_facts(call, entry))
    notes = [text for text in (entry["detail"], entry["error"]) if text and text != entry["output"]]
    return "\n".join([f"== {head}", *dict.fromkeys(notes), *([entry["output"]] if entry["output"] else [])])


def _wait(backend: ThroughGateway, run_id: str) -> None:
    for event in backend.client.events(f"/v1/runs/{run_id}/events"):
        match event.get("event"):
            case "run.completed":
                print(event["output"])
            case "run.failed":
                raise HermesError(event["error"]["message"])
            case "run.cancelled" | "run.interrupted":
                raise HermesError(f"the run was {event['event'].removeprefix('run.')}: {event.get('reason', '')}")
