"""`hermeslink`: the names of all commands, and what becomes of errors.

A command's module is imported when the command is called; `hermeslink --help` needs none of them.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from hermes import __version__
from hermes.core.errors import ConfigError, HermesError, InvalidInput
from hermeslink.cli.context import N_, Call, _, speak

COMMANDS = {
    "start": ("hermeslink.cli.service:start", N_("Start Link, in the background or in the foreground.")),
    "stop": ("hermeslink.cli.service:stop", N_("Stop it.")),
    "restart": ("hermeslink.cli.service:restart", N_("Stop it and start it again.")),
    "status": ("hermeslink.cli.status:status", N_("Show whether it runs and who is on it.")),
    "pair": ("hermeslink.cli.pair:pair", N_("Make a code that lets one device in.")),
    "devices": ("hermeslink.cli.devices:devices", N_("List, rename and revoke devices.")),
    "config": ("hermeslink.cli.config:config", N_("Show and change the settings.")),
    "autostart": ("hermeslink.cli.autostart:autostart", N_("Start Link and the gateway with the machine.")),
    "logs": ("hermeslink.cli.logs:logs", N_("Show what was logged.")),
    "expose": ("hermeslink.cli.expose:expose", N_("Make Link reachable from elsewhere.")),
    "doctor": ("hermeslink.cli.doctor:doctor", N_("Find what is wrong or unsafe, and say how to mend it.")),
    "update": ("hermeslink.cli.update:update", N_("Bring a newer version of Hermes and Link.")),
    "version": ("hermeslink.cli.version:version", N_("Show the version.")),
}
"""Name → where its Typer is, and its line in the help."""


class Commands(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module, _colon, name = COMMANDS[cmd_name][0].partition(":")
        command = typer.main.get_command(getattr(importlib.import_module(module), name))
        command.name = cmd_name
        return _translated(command)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section(_("Commands")):
            formatter.write_dl([(name, _(text)) for name, (_place, text) in COMMANDS.items()])


# rich is left out: it doubles the time of --help, and plain text is right in pipes and with NO_COLOR
app = typer.Typer(
    name="hermeslink",
    cls=Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=N_(
        "Hermes Link puts phones, browsers and scripts on your agent. It lives in HERMESLINK_HOME (~/.hermeslink)."
    ),
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"hermeslink {__version__}")
        raise typer.Exit


@app.callback()
def hermeslink(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help=N_("Show the version and exit.")),
    ] = False,
) -> None:
    ctx.obj = Call(dict(ctx.obj))


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> NoReturn:
    """Exit codes: 0 done, 1 failed, 2 the command or the configuration is wrong, 130 interrupted."""
    environ = os.environ if environ is None else environ
    speak(environ)
    for stream in (sys.stdout, sys.stderr):  # a locale without the character shows something else in its place
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace" if stream is sys.stdout else "backslashreplace")
    command = _translated(typer.main.get_command(app))
    try:
        command(None if arguments is None else list(arguments), prog_name="hermeslink", obj=dict(environ))
    except HermesError as error:
        _say(error.message)
        sys.exit(2 if isinstance(error, ConfigError | InvalidInput) else 1)
    except OSError as error:  # a full disk, a file of somebody else
        from hermes.home.disk import refusal

        _say(refusal(error))
        sys.exit(1)
    sys.exit(0)


def _translated(command: Any) -> Any:
    """The help of a command, its options and the commands under it, in the language that is spoken."""
    command.help = _(command.help) if command.help else command.help
    for parameter in command.params:
        if getattr(parameter, "help", None):
            parameter.help = _(parameter.help)
    for under in getattr(command, "commands", {}).values():
        _translated(under)
    return command


def _say(message: str) -> None:
    sys.stdout.flush()
    print(f"hermeslink: {message}", file=sys.stderr)
