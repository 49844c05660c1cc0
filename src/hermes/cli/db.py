"""`hermes db`: the database of a home, checked, copied, brought back and moved."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from hermes.cli.context import Call, call_of, new_app

if TYPE_CHECKING:
    from hermes.home.paths import Home

app = new_app("Check, back up, restore and move the database.")

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]


@app.command()
def upgrade(ctx: typer.Context) -> None:
    """Bring the database to the schema of this version, as every start of a gateway does.

    It waits for nobody: while a gateway of an older version runs, it says so and changes nothing.
    """
    from hermes.store import upkeep
    from hermes.store.connecting import shown
    from hermes.store.schema import HEAD

    home, url = _place(ctx)
    if upkeep.schema_of(url) == HEAD:
        print(f"{shown(url)} has the newest schema, {HEAD}.")
        return
    with _alone(home, url):
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

    _, url = _place(ctx)
    found = check_database(url, is_full=full)
    if as_json:
        print(json.dumps({"ok": not found.findings, **asdict(found)}, ensure_ascii=False))
    else:
        for finding in found.findings:
            print(f"{finding.text} [{finding.name}]\n  {finding.mend}")
        examined = ", ".join(found.examined)
        number = len(found.findings)
        print(f"{number} to mend in {found.place}." if number else f"{found.place} is whole. Examined: {examined}.")
    if found.findings:
        raise typer.Exit(1)


@contextmanager
def _alone(home: Home, url: str) -> Iterator[None]:
    """No gateway of this home runs or starts meanwhile, and nobody else has the database open. Raises Conflict."""
    from hermes.home.locks import lock_gateway
    from hermes.store.upkeep import check_unused

    lock = lock_gateway(home.pid_file, now=time.time(), name=home.name if home.is_profile else "")
    try:
        check_unused(url)
        yield
    finally:
        lock.release()


def _place(ctx: typer.Context) -> tuple[Home, str]:
    """The home, and the URL of its database. Raises `ConfigError` where there is no home."""
    from hermes.core.errors import ConfigError

    call = call_of(ctx)
    home = call.home()
    if not home.exists():
        raise ConfigError(f"there is no home in {home.path} yet; it is made with: {home.command} gateway")
    return home, _url(call, home)


def _url(call: Call, home: Home) -> str:
    from hermes.home.settings import load_settings

    settings = load_settings(home, call.environ, is_lenient=True)
    return settings.database.url or f"sqlite:///{home.state_db}"
