"""`hermes profile`: homes that share nothing."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hermes.cli.context import Call, call_of, new_app, open_store, table

if TYPE_CHECKING:
    from hermes.home.paths import Home

app = new_app("Make, change and list profiles: homes that share nothing.")

ACTOR = "cli"

Name = Annotated[str, typer.Argument(help="a-z, 0-9, - and _.")]


@app.command()
def create(
    ctx: typer.Context,
    name: Name,
    clone: Annotated[
        bool, typer.Option("--clone", help="Copy config.yaml, SOUL.md and provider keys of the current profile.")
    ] = False,
) -> None:
    """Make a profile with an API key of its own. Its API is off until you give it a port."""
    from hermes.home.profiles import create_profile

    call = call_of(ctx)
    home = call.home()
    made = create_profile(home.root, name, clone=home if clone else None)
    _note(call, made, "profile.created", name, {"clone_of": home.name} if clone else None)
    print(f"Made profile {name} in {made.path}. To serve it beside the others:")
    print(f"  {made.command} config set API_SERVER_ENABLED true")
    print(f"  {made.command} config set API_SERVER_PORT 8643")
    print(f"  {made.command} gateway")
    print(f"Or ask the default profile's gateway for it, with its own key, under /p/{name}/v1: docs/profiles.md")


@app.command("list")
def list_all(ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False) -> None:
    """List the profiles; * is the one that is used now."""
    from hermes.home.profiles import list_profiles

    call = call_of(ctx)
    current = call.home()
    found = [_facts(call, home) for home in list_profiles(current.root)]
    if as_json:
        print(json.dumps(found, indent=2))
        return
    rows = [("", "name", "api", "model", "path")]
    for facts in found:
        mark = "*" if facts["path"] == str(current.path) else ""
        api = facts["url"] or ("on" if facts["api_enabled"] else "off")
        rows.append((mark, facts["name"], api, facts["model"] or "-", facts["path"]))
    print(table(rows))
    why = _why_current(call, current)
    if why:
        print(why)


@app.command()
def show(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(help="The current one unless named.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Show where a profile lives, whether it runs and how it is reached."""
    from hermes.home.profiles import get_profile

    call = call_of(ctx)
    current = call.home()
    facts = _facts(call, current if name is None else get_profile(current.root, name))
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    print(table([(key, "-" if value is None else str(value)) for key, value in facts.items()]))


@app.command()
def use(ctx: typer.Context, name: Annotated[str, typer.Argument(help="A profile, or default.")]) -> None:
    """Make a profile the one that commands without -p mean; `default` undoes it."""
    from hermes.home.profiles import use_profile

    call = call_of(ctx)
    root = _root(call)
    use_profile(root.path, name)
    _note(call, root, "profile.used", name)
    print(f"Commands without -p now mean the profile {name}.")
    if call.environ.get("HERMES_HOME", "").strip():
        print("Not here, though: HERMES_HOME is set, and wins.")


@app.command()
def rename(ctx: typer.Context, name: Name, new_name: Name) -> None:
    """Give a profile another name. Its gateway must not run."""
    from hermes.home.profiles import get_profile, rename_profile

    call = call_of(ctx)
    root = _root(call)
    renamed = rename_profile(get_profile(root.path, name), new_name, now=time.time())
    _hand_over(renamed, name)
    _note(call, renamed, "profile.renamed", new_name, {"from": name})
    print(f"The profile {name} is now {new_name}, in {renamed.path}. Its keys are what they were.")


@app.command()
def delete(
    ctx: typer.Context,
    name: Name,
    now: Annotated[bool, typer.Option("--now", help="Remove it for good instead of moving it to trash/.")] = False,
) -> None:
    """Delete a profile: it goes to trash/ of the default home. Its gateway must not run."""
    from hermes.home.profiles import delete_profile, get_profile

    call = call_of(ctx)
    root = _root(call)
    place = delete_profile(get_profile(root.path, name), now=time.time(), keeps=not now)
    _note(call, root, "profile.deleted", name, None if place is None else {"trash": str(place)})
    if place is None:
        print(f"Removed the profile {name} for good.")
    else:
        print(f"The profile {name} lies in {place} now; bring it back with:\n  mv {place} {root.path}/profiles/{name}")


@app.command("export")
def export_one(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="A profile, or default.")],
    file: Annotated[Path, typer.Argument(help="A new file, NAME.tar.gz.")],
    with_secrets: Annotated[
        bool, typer.Option("--with-secrets", help="With .env, the keys in config.yaml and the named API keys.")
    ] = False,
) -> None:
    """Write a profile into one file: settings, memory, sessions, files, jobs. Without secrets unless you say so."""
    from hermes.home.archive import check_archive_target, export_profile
    from hermes.home.profiles import get_profile
    from hermes.store.snapshot import snapshot

    call = call_of(ctx)
    home = get_profile(_root(call).path, name)
    target = check_archive_target(file)
    count = export_profile(
        home,
        target,
        lambda origin, copy: snapshot(origin, copy, with_keys=with_secrets),
        with_secrets=with_secrets,
    )
    _note(call, home, "profile.exported", name, {"with_secrets": with_secrets})
    print(f"Wrote {count} files of {name} to {target}, {'WITH its secrets' if with_secrets else 'without secrets'}.")


@app.command("import")
def import_one(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="What export wrote.")],
    name: Annotated[str | None, typer.Option("--name", help="Another name than the one it was exported under.")] = None,
    with_secrets: Annotated[
        bool, typer.Option("--with-secrets", help="Take the secrets in it, too: whoever knows them gets in.")
    ] = False,
) -> None:
    """Make a profile from such a file. Nothing of it runs; its jobs are paused."""
    from hermes.home.archive import import_profile
    from hermes.store.snapshot import adopt

    call = call_of(ctx)
    paused: list[int] = []
    done = import_profile(
        _root(call).path,
        file.expanduser(),
        name=name,
        with_secrets=with_secrets,
        adopt=lambda database: paused.append(adopt(database, with_keys=with_secrets)),
    )
    _note(call, done.home, "profile.imported", done.home.name, {"with_secrets": with_secrets})
    print(f"Made profile {done.home.name} in {done.home.path} from {done.files} files.")
    if done.has_secrets and not with_secrets:
        print("It has secrets, which were left out: the profile has a new API key and no key of a provider.")
    if sum(paused):
        print(f"{sum(paused)} jobs are paused; see them with: {done.home.command} cron list")
    print(f"Look at its settings before you start it: {done.home.config_file}")


def _root(call: Call) -> Home:
    """Without asking which profile is in use: that one may be gone."""
    from hermes.home.paths import resolve_home

    return resolve_home("default", call.environ)


def _note(call: Call, home: Home, action: str, subject: str, detail: dict[str, Any] | None = None) -> None:
    """In the audit log of the default home; where that was never made, in the profile's own while there is one."""
    from hermes.store import audit

    root = _root(call)
    place = root if root.exists() else home
    if not place.exists():
        return
    with open_store(call, place) as database:
        database.write_now(audit.record, time.time(), ACTOR, action, subject, detail)


def _hand_over(home: Home, before: str) -> None:
    """A database that profiles could share says whose it is."""
    from hermes.core.errors import HermesError
    from hermes.home.settings import load_settings
    from hermes.store import facts
    from hermes.store.database import Database

    url = load_settings(home, {}, is_lenient=True).database.url
    if not url:
        return
    try:
        database = Database.open_now(url)
        try:
            if database.is_shared and database.read_now(facts.get, facts.PROFILE) == before:
                database.write_now(facts.put, facts.PROFILE, home.name, durable=True)
        finally:
            database.close_now()
    except HermesError as error:
        print(
            f"warning: its database still says it is {before}'s, and docs/database.md how to change that: "
            f"{error.message}",
            file=sys.stderr,
        )


def _why_current(call: Call, current: Home) -> str:
    if call.profile is not None or not current.is_profile:
        return ""
    if call.environ.get("HERMES_HOME", "").strip():
        return f"{current.name} is used because HERMES_HOME says so."
    return f"{current.name} was chosen with `hermes profile use`; undo it with: hermes profile use default"


def _facts(call: Call, home: Home) -> dict[str, Any]:
    """`url` and `pid` are None while its gateway does not run. Of other profiles the environment says nothing."""
    from hermes.home.locks import running_gateway
    from hermes.home.settings import load_settings

    is_current = home.path == call.home().path
    settings = load_settings(home, call.environ if is_current else {}, is_lenient=True)
    process = running_gateway(home.pid_file)
    return {
        "name": home.name,
        "path": str(home.path),
        "exists": home.exists(),
        "api_enabled": bool(settings.api_server.enabled),
        "host": settings.api_server.host,
        "port": settings.api_server.port,
        "url": process.url if process else None,
        "pid": process.pid if process else None,
        "model": settings.model.default,
        "problems": len(settings.problems),
    }
