"""`hermeslink update`: Hermes and Link are one package, and the agent's program brings the newer one of both."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import typer

from hermes.core.errors import HermesError
from hermeslink.cli.context import N_, _, call_of, new_app

update = new_app(N_("Bring a newer version of Hermes and Link."))
update.info.no_args_is_help = False


@update.command(help=N_("Bring a newer version of Hermes and Link, as `hermes update` does, and restart both."))
def _update(
    ctx: typer.Context,
    check: Annotated[bool, typer.Option("--check", help=N_("Only tell whether there is one."))] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help=N_("Do not ask."))] = False,
    status: Annotated[
        bool, typer.Option("--status", help=N_("Show how the last update ended, or how far it is."))
    ] = False,
) -> None:
    environ = call_of(ctx).environ
    named = environ.get("HERMES_BIN", "").strip()
    program = [named] if named else [sys.executable, "-P", "-m", "hermes"]
    wanted = {"--check": check, "--yes": yes, "--status": status}
    options = [option for option, is_wanted in wanted.items() if is_wanted]
    sys.stdout.flush()
    try:
        raise typer.Exit(subprocess.run([*program, "update", *options], env=environ, check=False).returncode)
    except OSError as error:
        raise HermesError(
            _("{program} cannot be started ({why}); say where it is with HERMES_BIN").format(
                program=program[0], why=error.strerror
            )
        ) from error
