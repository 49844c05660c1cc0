"""`hermes`: the names of all commands, the global options, and what becomes of errors.

A command's module is imported when the command is called; `hermes --help` needs none of them.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from hermes import __version__
from hermes.cli.context import Call
from hermes.core.errors import ConfigError, HermesError, InvalidInput

COMMANDS = {
    "gateway": ("hermes.cli.gateway", "Run, start, stop and install the server."),
    "status": ("hermes.cli.status", "Show what runs and whether it is well."),
    "doctor": ("hermes.cli.doctor", "Find what is wrong or unsafe, and say how to mend it."),
    "logs": ("hermes.cli.logs", "Show what the gateway logged."),
    "model": ("hermes.cli.model", "Show or choose the language model that answers."),
    "config": ("hermes.cli.config", "Show, change and check the settings."),
    "profile": ("hermes.cli.profile", "Make and list profiles: homes that share nothing."),
    "keys": ("hermes.cli.keys", "Make, list, rotate and revoke API keys."),
    "sessions": ("hermes.cli.sessions", "List, show, search, export and delete sessions."),
    "runs": ("hermes.cli.runs", "List, watch, approve and stop runs."),
    "nodes": ("hermes.cli.nodes", "Show the gateways that share the database."),
    "cron": ("hermes.cli.cron", "Make and run jobs: prompts that run at a time."),
    "db": ("hermes.cli.db", "Check, back up, restore and move the database."),
    "memory": ("hermes.cli.memory", "Show, edit and forget what the agent remembers."),
    "skills": ("hermes.cli.skills", "List, show, install and switch skills."),
    "tools": ("hermes.cli.tools", "Show what the agent can do."),
    "prompt-size": ("hermes.cli.prompt_size", "Show how long the agent's own instructions and schemas are."),
    "models": ("hermes.cli.models", "Serve a scripted model, for demos and tests."),
    "version": ("hermes.cli.version", "Show the version."),
}
"""Name → module with its `app`, and its line in the help."""


class LazyGroup(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


# rich is left out: it doubles the time of --help, and plain text is right in pipes and with NO_COLOR
app = typer.Typer(
    name="hermes",
    cls=LazyGroup,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"hermes {__version__}")
        raise typer.Exit


@app.callback()
def hermes(
    ctx: typer.Context,
    profile: Annotated[
        str | None, typer.Option("--profile", "-p", metavar="NAME", help="Use this profile instead of the default one.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """A tool-using agent behind an OpenAI-compatible API. It lives in HERMES_HOME (~/.hermes)."""
    ctx.obj = Call(profile, dict(ctx.obj))


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> NoReturn:
    """Exit codes: 0 done, 1 failed, 2 the command or the configuration is wrong, 130 interrupted."""
    environ = os.environ if environ is None else environ
    try:
        app(None if arguments is None else list(arguments), prog_name="hermes", obj=dict(environ))
    except HermesError as error:
        if environ.get("HERMES_DEBUG") == "1":
            raise
        _say(error.message)
        sys.exit(2 if isinstance(error, ConfigError | InvalidInput) else 1)
    except OSError as error:  # a full disk, a file of somebody else
        if environ.get("HERMES_DEBUG") == "1":
            raise
        from hermes.home.disk import refusal

        _say(refusal(error))
        sys.exit(1)
    sys.exit(0)


def _say(message: str) -> None:
    sys.stdout.flush()
    print(f"hermes: {message}", file=sys.stderr)
