"""`hermes update`: a newer version, from the installer that installed this one."""

from __future__ import annotations

import asyncio
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hermes import __version__
from hermes.cli.context import call_of, new_app
from hermes.core.errors import ConfigError, HermesError

if TYPE_CHECKING:
    from hermes.home.updates.updating import UpdateStatus

app = new_app("Bring a newer version.")
app.info.no_args_is_help = False

LOOK_SECONDS = 0.1


@app.callback(invoke_without_command=True)
def update(
    ctx: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Only tell whether there is one.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Show how the last update ended, or how far it is.")] = False,
) -> None:
    """Bring a newer version, with the installer that installed this one (pip, uv, pipx), and restart what runs: the
    gateways of this home, and Link. It says first what it runs. A version that does not come up is taken back.

    Exit code: 0 up to date or updated, 1 it failed or the index did not answer, 2 this cannot be updated so.
    """
    from hermes.home.updates import installer
    from hermes.home.updates.installation import UpdateRefused, is_newer, this_installation
    from hermes.home.updates.updating import read_status, start_update

    call = call_of(ctx)
    root = call.home().root
    if status:
        _end(read_status(root), shown=0)
        return
    installation = this_installation()
    try:
        release = asyncio.run(installer.newest(installation, call.environ))
        if release is None or not is_newer(release.version, __version__):
            print(f"hermes {__version__} is the newest version there is.")
            return
        newest = release.version
        command = installation.update(newest)
    except UpdateRefused as error:
        raise ConfigError(error.message, code=error.code) from error
    print(f"hermes {newest} is there; this is {__version__}. It comes with:\n  {shlex.join(command.arguments)}")
    if check:
        return
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("there is nobody to ask: add --yes")
        if not typer.confirm("Run it, and restart what runs?", default=True):
            raise HermesError("nothing was changed", code="not_confirmed")
    sys.stdout.flush()
    _follow(root, start_update(root, newest, call.environ, is_newest=True))


def _follow(root: Path, told: UpdateStatus) -> None:
    """The update goes on without us: Ctrl+C ends the watching alone. Nothing is imported from here on, for the files of
    this program change."""
    from hermes.home.updates.updating import FINAL, read_status

    shown = 0
    try:
        while told.state not in FINAL:
            shown = _show(told, shown)
            time.sleep(LOOK_SECONDS)
            told = read_status(root)
    except KeyboardInterrupt:
        print("\nThe update goes on; see how it ends with: hermes update --status")
        raise
    _end(told, shown)


def _show(told: UpdateStatus, shown: int) -> int:
    """The lines behind the first `shown`. How many there were now."""
    for line in told.lines[max(0, len(told.lines) - (told.line_count - shown)) :] if told.line_count > shown else ():
        print(line, flush=True)
    return told.line_count


def _end(told: UpdateStatus, shown: int) -> None:
    _show(told, shown)
    match told.state:
        case "idle":
            print("There was no update yet.")
        case "running":
            print(f"It is {told.stage}.")
        case "succeeded":
            print(f"hermes {told.target_version} is installed.")
        case _:
            raise HermesError(f"{told.error}. By hand: {told.manual_command}", code="update_failed")
