"""`hermes update`: a newer version, from the installer that installed this one."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hermes import __version__
from hermes.cli.context import Call, call_of, new_app
from hermes.core.errors import ConfigError, HermesError

if TYPE_CHECKING:
    from hermes.home.installation import Command, Installation

app = new_app("Bring a newer version.")
app.info.no_args_is_help = False


@app.callback(invoke_without_command=True)
def update(
    ctx: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Only tell whether there is one.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Bring a newer version, with the installer that installed this one (pip, uv, pipx). It says first what it runs.

    Exit code: 0 up to date or updated, 1 the installer or the network failed, 2 this cannot be updated so.
    """
    from hermes.home import installer
    from hermes.home.installation import UpdateRefused, is_newer, this_installation

    call = call_of(ctx)
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
        if not typer.confirm("Run it?", default=True):
            raise HermesError("nothing was changed", code="not_confirmed")
    _run(call, command)
    _check(call, installation, newest)
    _tell_gateway(call)


def _run(call: Call, command: Command) -> None:
    from hermes.home.installer import installer_environment

    sys.stdout.flush()
    try:
        code = subprocess.run(command.arguments, env=installer_environment(call.environ), check=False).returncode
    except OSError as error:
        raise HermesError(f"{command.arguments[0]} does not start: {error}") from error
    if code:
        raise HermesError(f"the installer ended with exit code {code}; what it wrote stands above")


def _check(call: Call, installation: Installation, newest: str) -> None:
    """An installer may be content to leave a version where it is that its user once pinned."""
    from hermes.home.installer import version_in_place

    now = asyncio.run(version_in_place(installation, call.environ))
    if now != newest:
        raise HermesError(
            f"the installer succeeded, and {now or 'no version'} is there, not {newest}: it may be pinned; "
            "look at how it was installed"
        )
    print(f"hermes {newest} is installed.")


def _tell_gateway(call: Call) -> None:
    from hermes.home.locks import running_gateway

    home = call.home()
    process = running_gateway(home.pid_file)
    if process is not None:
        print(f"The gateway (pid {process.pid}) is the old one until: {home.command} gateway restart")
