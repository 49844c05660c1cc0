"""`hermeslink logs`: what Link logged, or the gateway. Secrets were taken out when it was written."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Annotated

import typer

from hermes.core.errors import ConfigError, HermesError
from hermeslink.cli.context import N_, _, call_of, new_app, plain

logs = new_app(N_("Show what was logged."))

_OWN = ("time", "level", "logger", "message", "exception", "color_message")


@logs.command(help=N_("Show what Link logged, or the gateway of the agent."))
def _logs(
    ctx: typer.Context,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help=N_("How many of the last lines."))] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help=N_("Go on with what is logged from now on."))] = False,
    gateway: Annotated[
        bool, typer.Option("--gateway", help=N_("What the gateway logged, as `hermes logs` shows it."))
    ] = False,
    profile: Annotated[
        str | None,
        typer.Option("--profile", "-p", metavar="NAME", help=N_("With --gateway: of the profile's own gateway.")),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help=N_("Write the lines as they are kept."))] = False,
) -> None:
    from hermes.home.log_files import LogFile

    call = call_of(ctx)
    if gateway:
        raise typer.Exit(_of_gateway(call.environ, profile, lines, follow=follow, as_json=as_json))
    if profile is not None:
        raise ConfigError(_("Link has one log for all profiles; add --gateway for that of a profile"))
    file = LogFile(call.home().log_file)
    show = str if as_json else _line
    last: list[bytes] = []
    for raw in file.newest_first():
        if len(last) >= lines:
            break
        last.append(raw)
    for raw in reversed(last):
        print(show(raw.decode("utf-8", "replace")))
    if not follow:
        if not last and not file.path.exists():
            typer.echo(_("nothing was logged yet in {path}").format(path=file.path), err=True)
        return
    sys.stdout.flush()
    for raw in file.follow():
        print(show(raw.decode("utf-8", "replace")), flush=True)


def _of_gateway(environ: dict[str, str], profile: str | None, lines: int, *, follow: bool, as_json: bool) -> int:
    """The program that the agent is, wherever it keeps its log."""
    program = environ.get("HERMES_BIN", "").strip() or "hermes"
    whose = ["-p", profile] if profile is not None else []
    options = [*(["-f"] if follow else []), *(["--json"] if as_json else [])]
    sys.stdout.flush()
    try:
        return subprocess.run(
            [program, *whose, "logs", "-n", str(lines), *options], env=environ, check=False
        ).returncode
    except OSError as error:
        raise HermesError(
            _("{program} cannot be started ({why}); say where it is with HERMES_BIN").format(
                program=program, why=error.strerror
            )
        ) from error


def _line(raw: str) -> str:
    """A line that is no JSON, cut by a full disk, is shown as it is."""
    try:
        record = json.loads(raw)
        fields = "".join(f"  {key}={value}" for key, value in record.items() if key not in _OWN)
        text = f"{record['time']} {record['level']} {record['logger']}: {record['message']}{fields}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return plain(raw)
    exception = [f"  {plain(each)}" for each in str(record.get("exception", "")).splitlines()]
    return "\n".join([plain(text), *exception])
