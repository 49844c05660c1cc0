"""`hermes update`: a newer version, from the installer that installed this one."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hermes import __version__
from hermes.cli.context import Call, call_of, new_app, plain
from hermes.core.errors import ConfigError, HermesError

if TYPE_CHECKING:
    from hermes.home.installation import Command, Installation

app = new_app("Bring a newer version.")
app.info.no_args_is_help = False

ASK_SECONDS = 90.0
INSTALLERS = ("PIP_", "UV_", "PIPX_")


@app.callback(invoke_without_command=True)
def update(
    ctx: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Only tell whether there is one.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Bring a newer version, with the installer that installed this one (pip, uv, pipx). It says first what it runs.

    Exit code: 0 up to date or updated, 1 the installer or the network failed, 2 this cannot be updated so.
    """
    from hermes.home.installation import UpdateRefused, is_newer, this_installation

    call = call_of(ctx)
    installation = this_installation()
    try:
        newest = _newest(call, installation)
        if newest is None or not is_newer(newest, __version__):
            print(f"hermes {__version__} is the newest version there is.")
            return
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


def _newest(call: Call, installation: Installation) -> str | None:
    command = installation.ask()
    try:
        done = subprocess.run(
            command.arguments,
            input=command.stdin or "",
            capture_output=True,
            text=True,
            errors="replace",
            env=_environment(call),
            timeout=ASK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise HermesError(
            f"the package index did not answer within {ASK_SECONDS:g} s; is there a network?", code="index_unreachable"
        ) from None
    except OSError as error:
        raise HermesError(f"{command.arguments[0]} does not start: {error}", code="index_unreachable") from error
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reason = plain(lines[-1])[:400] if lines else f"exit code {done.returncode}"
        raise HermesError(
            f"the package index could not be asked, or has no hermes-server; is there a network? {reason}",
            code="index_unreachable",
        )
    return installation.newest(done.stdout)


def _run(call: Call, command: Command) -> None:
    sys.stdout.flush()
    try:
        code = subprocess.run(command.arguments, env=_environment(call), check=False).returncode
    except OSError as error:
        raise HermesError(f"{command.arguments[0]} does not start: {error}") from error
    if code:
        raise HermesError(f"the installer ended with exit code {code}; what it wrote stands above")


def _check(call: Call, installation: Installation, newest: str) -> None:
    """An installer may be content to leave a version where it is that its user once pinned."""
    told = "import importlib.metadata; print(importlib.metadata.version('hermes-server'))"
    done = subprocess.run(
        (installation.python, "-I", "-c", told), capture_output=True, text=True, env=_environment(call), check=False
    )
    now = done.stdout.strip()
    if now != newest:
        raise HermesError(
            f"the installer succeeded, and {plain(now) or 'no version'} is there, not {newest}: it may be pinned; "
            "look at how it was installed"
        )
    print(f"hermes {newest} is installed.")


def _tell_gateway(call: Call) -> None:
    from hermes.home.locks import running_gateway

    home = call.home()
    process = running_gateway(home.pid_file)
    if process is not None:
        print(f"The gateway (pid {process.pid}) is the old one until: {home.command} gateway restart")


def _environment(call: Call) -> dict[str, str]:
    """Without secrets: an installer runs what packages bring. Its own, for a private index, it keeps."""
    from hermes.core.redact import is_secret_name

    return {
        name: value for name, value in call.environ.items() if name.startswith(INSTALLERS) or not is_secret_name(name)
    }
