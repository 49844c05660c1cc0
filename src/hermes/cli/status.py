"""`hermes status`: what runs, and whether it is well."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hermes.cli.context import Call, call_of, new_app, table

if TYPE_CHECKING:
    from hermes.home.paths import Home
    from hermes.store.database import Connection

app = new_app("Show what runs and whether it is well.")
app.info.no_args_is_help = False


@app.callback(invoke_without_command=True)
def status(ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False) -> None:
    """Show what runs and whether it is well."""
    call = call_of(ctx)
    facts = _facts(call, call.home())
    if as_json:
        print(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    print(table(_rows(facts, call.home())))
    for problem in facts["problems"]:
        print(f"problem: {problem}")
    if facts["problems"]:
        print(f"How to mend it: {call.home().command} doctor")


def _facts(call: Call, home: Home) -> dict[str, Any]:
    """`gateway` None: it does not run. `model` then is what the settings name; at the start another may be found.
    `settings`: what of them waits for a restart, or nothing."""
    from hermes.core.errors import HermesError
    from hermes.home.settings import load_settings

    settings = load_settings(home, call.environ, is_lenient=True)
    facts: dict[str, Any] = {
        "home": str(home.path),
        "profile": home.name,
        "exists": home.exists(),
        "api_enabled": bool(settings.api_server.enabled),
        "gateway": _gateway(call, home),
        "model": settings.model.default,
        "runs": None,
        "queued": None,
        "jobs": None,
        "settings": None,
        "problems": list(settings.problems),
    }
    try:
        facts["jobs"] = _jobs(home, settings.database.url)
    except HermesError as error:
        facts["problems"].append(error.message)
    health = _health(call, home, facts["problems"]) if facts["gateway"] else None
    if health is not None:
        facts["gateway"]["state"] = health["gateway_state"]
        facts["gateway"]["version"] = health["version"]
        facts["gateway"]["rss_bytes"] = health["rss_bytes"]
        facts["runs"] = health["active_agents"] - health["queued_runs"]
        facts["queued"] = health["queued_runs"]
        checks = health["readiness"]["checks"]
        facts["model"] = checks.get("model", {}).get("detail") or facts["model"]
        settings_row = checks.get("settings", {})
        facts["settings"] = settings_row.get("detail") if settings_row.get("status") == "ok" else None
        bad = [f"{name}: {row['detail']}" for name, row in checks.items() if row["status"] != "ok" and name != "config"]
        facts["problems"] += bad
    return facts


def _gateway(call: Call, home: Home) -> dict[str, Any] | None:
    from hermes.gateway import service
    from hermes.home.locks import running_gateway

    process = running_gateway(home.pid_file)
    if process is None:
        return None
    return {
        "pid": process.pid,
        "url": process.url,
        "uptime_seconds": round(max(0.0, time.time() - process.started_at), 1),
        "unit": service.unit_name(home) if service.is_installed(home, call.environ) else None,
    }


def _health(call: Call, home: Home, problems: list[str]) -> dict[str, Any] | None:
    from hermes.cli.gateway_client import gateway_client
    from hermes.core.errors import HermesError

    client = gateway_client(home, call.environ)
    if client is None:
        return None
    try:
        health: dict[str, Any] = client.get("/health/detailed")
    except HermesError as error:
        problems.append(error.message)
        return None
    return health


def _jobs(home: Home, database_url: str | None) -> dict[str, Any] | None:
    """None where none was ever made. Raises HermesError where the database cannot be read."""
    from hermes.store.database import Database

    if database_url is None and not home.state_db.exists():
        return None
    database = Database.open_now(database_url or f"sqlite:///{home.state_db}")
    try:
        return database.read_now(_read_jobs, time.time())
    finally:
        database.close_now()


def _read_jobs(conn: Connection, now: float) -> dict[str, Any]:
    from hermes.store import jobs as job_store

    return {"due": len(job_store.due(conn, now)), "next_due_at": job_store.next_due_at(conn)}


def _absent(home: Home, *, has_api: bool) -> str:
    """A profile without an API of its own is asked at the default one's gateway; one that it has would run its jobs
    alone, and keep it from there."""
    from hermes.home.locks import running_gateway
    from hermes.home.paths import Home

    if not home.is_profile or has_api:
        return f"does not run; start it with: {home.command} gateway start"
    default = running_gateway(Home(home.root).pid_file)
    if default is not None and default.url is not None:
        return f"none of its own; it is asked at {default.url}/p/{home.name}"
    return f"none of its own; it is asked under /p/{home.name} of the default profile's: hermes gateway start"


def _rows(facts: dict[str, Any], home: Home) -> list[tuple[str, str]]:
    gateway = facts["gateway"]
    rows = [("home", facts["home"] + ("" if facts["exists"] else " (not made yet)")), ("profile", facts["profile"])]
    if gateway is None:
        rows.append(("gateway", _absent(home, has_api=facts["api_enabled"])))
    else:
        where = gateway["url"] or "jobs only, its API is off"
        rows.append(("gateway", f"{where}, pid {gateway['pid']}, for {_duration(gateway['uptime_seconds'])}"))
    rows.append(("model", facts["model"] or "chosen at the start; see: hermes model"))
    if facts["runs"] is not None:
        rows.append(("runs", f"{facts['runs']} going on, {facts['queued']} in line"))
    if facts["settings"]:
        rows.append(("settings", facts["settings"]))
    if facts["jobs"] is not None:
        next_due = facts["jobs"]["next_due_at"]
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(next_due)) if next_due is not None else "none"
        rows.append(("jobs", f"{facts['jobs']['due']} due, the next: {when}"))
    return rows


def _duration(seconds: float) -> str:
    minutes = int(seconds) // 60
    if minutes < 60:
        return f"{minutes} min" if minutes else f"{int(seconds)} s"
    hours = minutes // 60
    return f"{hours // 24} d {hours % 24} h" if hours >= 48 else f"{hours} h {minutes % 60} min"
