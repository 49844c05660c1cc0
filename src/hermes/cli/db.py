"""`hermes db`: the database of a home, checked, copied, brought back, moved and tidied (docs/database.md)."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hermes.cli.context import call_of, new_app, table
from hermes.core.errors import ConfigError, Conflict, HermesError, NotFound

if TYPE_CHECKING:
    from hermes.home.paths import Home
    from hermes.home.settings import Settings
    from hermes.store.integrity import Finding
    from hermes.store.transfer import Told

app = new_app("Check, back up, restore, move and tidy the database.")

ACTOR = "cli"
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]
NoFiles = Annotated[bool, typer.Option("--no-files", help="Without the bytes of uploaded files.")]


@app.command()
def upgrade(
    ctx: typer.Context,
    force: Annotated[
        bool,
        typer.Option("--force", help="Under gateways of an older version, where CHANGELOG.md says that they bear it."),
    ] = False,
) -> None:
    """Bring the database to the schema of this version, as every start of a gateway does.

    While a gateway of an older version runs, it says so and changes nothing, unless --force.
    """
    from hermes.store import upkeep
    from hermes.store.connecting import shown
    from hermes.store.schema import HEAD

    home, _, url = _place(ctx)
    if upkeep.is_newest(url):
        print(f"{shown(url)} has the newest schema, {HEAD}.")
        return
    with nullcontext() if force else _locked(home):
        if not force:
            upkeep.check_unused(url)
        done = upkeep.upgrade(url)
    print(f"{done.place} has schema {done.after} now; it had {done.before or 'none'}.")


@app.command()
def check(
    ctx: typer.Context,
    full: Annotated[bool, typer.Option("--full", help="Compare every index with its table, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find what is wrong with what is kept. Exit code 1 when something is.

    It changes nothing, and a gateway may run meanwhile: one moment of the database is looked at.
    """
    from hermes.store.integrity import check_database

    _, _, url = _place(ctx)
    found = check_database(url, is_full=full)
    if as_json:
        print(json.dumps({"ok": not found.findings, **asdict(found)}, ensure_ascii=False))
    else:
        _tell(found.findings)
        examined = ", ".join(found.examined)
        number = len(found.findings)
        print(f"{number} to mend in {found.place}." if number else f"{found.place} is whole. Examined: {examined}.")
    if found.findings:
        raise typer.Exit(1)


@app.command()
def backup(
    ctx: typer.Context,
    path: Annotated[
        Path | None, typer.Argument(help="A new file, or a directory. Unset: backups/ in the home.")
    ] = None,
    no_files: NoFiles = False,
) -> None:
    """Copy one moment of the database into a new file, also while gateways run. It has secrets in it: keep it well."""
    from hermes.files.moving import gather
    from hermes.home.files import make_private_directory
    from hermes.store.backup import back_up
    from hermes.store.upkeep import is_newest

    home, _, url = _place(ctx)
    if path is None:
        path = home.path / "backups"
        make_private_directory(path)
    now = time.time()
    if path.is_dir():
        path = path / f"hermes-{home.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}.db"
    missing: list[str] = []
    also = None if no_files else lambda conn: missing.extend(gather(conn, home.files_dir))
    done = back_up(url, path.expanduser(), now=now, also=also, told=_progress())
    if is_newest(url):
        _note(url, "database.backed_up", str(done.path))
    if done.findings:
        _tell(done.findings)
        print("The backup has these faults, too.")
    _tell_missing(missing)
    print(f"Wrote {done.path}, {_size(done.bytes)}. Bring it back with:\n  {home.command} db restore {done.path}")


@app.command()
def restore(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(help="What backup wrote, or a copied state.db.")],
    force: Annotated[
        bool, typer.Option("--force", help="Empty a PostgreSQL that holds something; take a backup with findings.")
    ] = False,
) -> None:
    """Put a backup in the place of the database. No gateway may run; what is replaced is kept beside it.

    Runs that were open in the backup are told as interrupted, and webhooks that waited are not sent: they may have
    gone on since. Keys that were revoked since stay revoked.
    """
    from hermes.files.moving import keep_aside, spread
    from hermes.home.paths import create_home
    from hermes.store import files as file_store
    from hermes.store.backup import restore as bring_back
    from hermes.store.connecting import asking, shown

    call = call_of(ctx)
    home = call.home()
    if create_home(home):
        typer.echo(f"Made a home in {home.path}, with a random API key in {home.env_file}.", err=True)
    _, _, url = _place(ctx)
    now = time.time()
    with _locked(home):
        done = bring_back(
            url,
            path.expanduser(),
            now=now,
            is_forced=force,
            also=lambda conn: spread(conn, home.files_dir),
            told=_progress(),
            workplace=home.path,
        )
        if done.aside is not None:
            with asking(url) as conn:
                known = file_store.all_ids(conn)
            keep_aside(home.files_dir, known, done.aside.with_name(f"{done.aside.name}.files"))
        _note(url, "database.restored", str(path))
    _tell(done.findings)
    made = "" if done.made_at is None else f", made {_time(done.made_at)} of {done.of}"
    print(f"Restored {shown(url)} from {path}{made}.")
    for count, text in (
        (done.interrupted, "runs were open in it and are told as interrupted."),
        (done.unsent, "webhooks and outputs that waited are not sent."),
        (done.jobs, "jobs fell due since: the next start of the gateway does what their catch_up says."),
    ):
        if count:
            print(f"{count} {text}")
    if done.aside is not None:
        print(f"What was there before lies in {done.aside}; delete it when all is well.")


@app.command()
def vacuum(
    ctx: typer.Context,
    full: Annotated[
        bool, typer.Option("--full", help="Write the tables of a PostgreSQL anew; nobody else may use it meanwhile.")
    ] = False,
) -> None:
    """Give space back to the disk. While a gateway runs, only what holds it up for less than a moment is done."""
    from hermes.store import upkeep

    home, _, url = _place(ctx)
    _need_newest(home, url)
    is_file = url.startswith("sqlite")
    with ExitStack() as stack:
        is_alone = False
        try:
            if full or is_file:
                stack.enter_context(_locked(home))
                upkeep.check_unused(url)
                is_alone = True
        except Conflict:
            if full:
                raise
        done = upkeep.vacuum(url, is_rewriting=is_alone)
    given = done.before - done.after
    print(
        f"{done.place}: {_size(done.before)} before, {_size(done.after)} now"
        + (f", {_size(given)} given back." if given > 0 else ".")
    )
    if done.removed:
        print(f"{done.removed} rows that ended runs had left behind are removed.")
    if is_file and not is_alone:
        print(
            f"A gateway or another command has it open, so the file was not written anew: its turns would wait. "
            f"That would give {_size(done.free)} back; run it again behind: {home.command} gateway stop"
        )


@app.command()
def export(
    ctx: typer.Context,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Into this new file; else on the screen.")
    ] = None,
    session: Annotated[str | None, typer.Option(help="This session only.")] = None,
    no_events: Annotated[bool, typer.Option("--no-events", help="Without the events of runs.")] = False,
) -> None:
    """Write all sessions, messages, runs and events as JSON, an object a line. See also: hermes sessions export."""
    from hermes.cli.db_export import lines
    from hermes.cli.sessions import sink
    from hermes.store.connecting import asking
    from hermes.store.sessions import get as get_session

    home, _, url = _place(ctx)
    _need_newest(home, url)
    counts: Counter[str] = Counter()
    with asking(url) as conn:
        if session is not None and get_session(conn, session) is None:
            raise NotFound(f"no session {session!r}; list them: hermes sessions list --all", code="session_not_found")
        with sink(output) as file:
            for line in lines(conn, time.time(), session, with_events=not no_events):
                counts[line["type"]] += 1
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
    if output is not None:
        told = ", ".join(f"{counts[kind]} {kind}s" for kind in ("session", "message", "run", "event"))
        print(f"Wrote {told} to {output}.")


@app.command()
def migrate(
    ctx: typer.Context,
    to: Annotated[
        str,
        typer.Option(
            metavar="URL", help="postgresql://user:password@host/name, or sqlite:////path. - reads it from stdin."
        ),
    ],
) -> None:
    """Move everything to another, empty database, or nothing of it. No gateway may run; what is here stays."""
    from hermes.store.connecting import shown
    from hermes.store.move import move
    from hermes.store.upkeep import check_unused

    home, settings, url = _place(ctx)
    if to == "-":
        to = sys.stdin.readline().strip()
    missing: list[str] = []
    with _locked(home):
        check_unused(url)
        done = move(url, to, also=_bytes_between(url, to, home, missing), told=_progress())
        _note(to, "database.moved", shown(url))
    rows = [(name, str(count)) for name, count in done.copied.rows.items() if count]
    print(table([("table", "rows"), *rows]))
    print(
        f"{done.copied.total} rows, the same in both, and {done.indexed} messages in the search index of {done.place}."
    )
    if done.copied.mended:
        print(f"{done.copied.mended} texts had characters that cannot be kept there; � stands for them.")
    _tell_missing(missing)
    for line in _next(home, settings, to):
        print(line)


@app.command()
def retention(ctx: typer.Context) -> None:
    """Show how long what is kept is kept, and what the next hour's tidying would remove."""
    from hermes.store.connecting import asking
    from hermes.store.retention import Rules, due

    home, settings, url = _place(ctx)
    _need_newest(home, url)
    days = settings.retention.model_dump(exclude={"trash_days"})
    with asking(url) as conn:
        counts = due(conn, Rules(**days), time.time())
    rows = [
        (f"retention.{name}", "for ever" if kept is None else f"{kept:g} days", str(counts.get(name, "-")))
        for name, kept in days.items()
    ]
    print(table([("setting", "keeps", "would go now"), *rows]))
    if not counts:
        print(f"Nothing is removed for its age. To change that: {home.command} config set retention.sessions_days 365")


def _bytes_between(url: str, to: str, home: Home, missing: list[str]) -> Callable[[Any], object] | None:
    """Uploaded files lie in the home beside an SQLite file, and within a PostgreSQL."""
    from hermes.files.moving import gather, spread

    if url.startswith("sqlite") and not to.startswith("sqlite"):
        return lambda conn: missing.extend(gather(conn, home.files_dir))
    if to.startswith("sqlite") and not url.startswith("sqlite"):
        return lambda conn: spread(conn, home.files_dir)
    return None


def _next(home: Home, settings: Settings, to: str) -> Iterator[str]:
    """What makes the gateway use it. The password belongs into .env, which only its owner reads."""
    where = settings.sources.get("database.url")
    if to == f"sqlite:///{home.state_db}":
        name = "HERMES_DATABASE_URL" if where == ".env" else "database.url"
        yield f"Next: {home.command} config unset {name}"
    else:
        yield f"Next, and give it the URL: {home.command} config set HERMES_DATABASE_URL -"
        if where == "config.yaml":
            yield f"It beats the one in {home.config_file}; remove that: {home.command} config unset database.url"
    if where == "environment":
        yield "The environment has HERMES_DATABASE_URL now, which beats both: change it there."
    yield f"Then: {home.command} gateway start. It goes on with open runs there; what was left stays as a copy."


@contextmanager
def _locked(home: Home) -> Iterator[None]:
    """No gateway of this home runs, or starts meanwhile. Raises Conflict `gateway_running`."""
    from hermes.home.locks import lock_gateway

    try:
        lock = lock_gateway(home.pid_file, now=time.time(), name=home.name if home.is_profile else "")
    except Conflict as error:
        raise Conflict(_who_runs(home), code=error.code) from error
    try:
        yield
    finally:
        lock.release()


def _who_runs(home: Home) -> str:
    from hermes.home.locks import running_gateway

    process = running_gateway(home.pid_file)
    if process is None:  # it is just starting, or has just ended
        return "a gateway of this home already runs, or starts: stop it, and try again"
    stop = "hermes -p default" if process.is_guest else home.command
    return (
        f"a gateway of this home, or another such command, already runs (pid {process.pid}): stop it with: {stop} "
        "gateway stop, and try again"
    )


def _place(ctx: typer.Context) -> tuple[Home, Settings, str]:
    """The home, its settings, and the URL of its database. Raises `ConfigError` where there is no home."""
    from hermes.home.settings import load_settings

    call = call_of(ctx)
    home = call.home()
    if not home.exists():
        raise ConfigError(f"there is no home in {home.path} yet; it is made with: {home.command} gateway")
    settings = load_settings(home, call.environ, is_lenient=True)
    return home, settings, settings.database.url or f"sqlite:///{home.state_db}"


def _need_newest(home: Home, url: str) -> None:
    """What reads tables by their names needs all of them. Raises StoreUnavailable."""
    from hermes.core.errors import StoreUnavailable
    from hermes.store.connecting import shown
    from hermes.store.schema import HEAD
    from hermes.store.upkeep import schema_of

    found = schema_of(url)
    if found == HEAD:
        return
    if found is None:
        raise NotFound(f"there is nothing of ours in {shown(url)}; see: {home.command} db check")
    if found > HEAD:
        raise StoreUnavailable(
            f"this program is older than the database {shown(url)} (schema {found}, known up to {HEAD}): install the "
            "newer hermes-server again"
        )
    raise StoreUnavailable(
        f"the schema of the database is {found}; bring it to this version's with: {home.command} db upgrade"
    )


def _note(url: str, action: str, subject: str) -> None:
    """In the audit log. What was done is done: a disk that takes no more of it makes no failure of that."""
    from hermes.store import audit
    from hermes.store.database import Database

    try:
        database = Database.open_now(url)
        try:
            database.write_now(audit.record, time.time(), ACTOR, action, subject)
        finally:
            database.close_now()
    except HermesError as error:
        typer.echo(f"warning: the audit log does not tell of it: {error.message}", err=True)


def _progress() -> Told | None:
    """For a person who waits."""
    if not sys.stderr.isatty():
        return None
    return lambda name, count: typer.echo(f"  {name}: {count} rows", err=True)


def _tell(findings: tuple[Finding, ...]) -> None:
    for finding in findings:
        print(f"{finding.text} [{finding.name}]\n  {finding.mend}")


def _tell_missing(file_ids: list[str]) -> None:
    if file_ids:
        shown = ", ".join(file_ids[:5]) + (", …" if len(file_ids) > 5 else "")
        print(f"{len(file_ids)} uploaded files have lost their bytes, and are told as they are: {shown}")


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MB" if count >= 2**20 else f"{count / 2**10:.0f} kB"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M")
