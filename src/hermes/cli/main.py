"""`hermes`: the names of all commands, the global options, and what becomes of errors.

A command's module is imported when the command is called; `hermes --help` needs none of them.
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
from hermes.cli.context import Call
from hermes.core.errors import ConfigError, HermesError, InvalidInput

COMMANDS = {
    "setup": ("hermes.cli.setup", "Set up the model, the API and what the agent may do."),
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
    "mcp": ("hermes.cli.mcp", "Add and test MCP servers, whose tools the agent gets; be one."),
    "skills": ("hermes.cli.skills", "List, show, install and switch skills."),
    "tools": ("hermes.cli.tools", "Show and choose what the agent can do."),
    "prompt-size": ("hermes.cli.prompt_size", "Show how long the agent's own instructions and schemas are."),
    "models": ("hermes.cli.models", "Serve a scripted model, for demos and tests."),
    "acp": ("hermes.cli.acp", "Be the agent of an editor: Zed, VS Code, JetBrains."),
    "expose": ("hermes.cli.expose", "Make the API server reachable from elsewhere."),
    "update": ("hermes.cli.update", "Bring a newer version."),
    "completion": ("hermes.cli.completion", "Print the script that completes commands in your shell."),
    "version": ("hermes.cli.version", "Show the version."),
}
"""Name → module with its `app`, and its line in the help."""


class LazyGroup(TyperGroup):
    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """The names alone need none of the modules."""
        if incomplete.startswith("-"):
            found: list[Any] = super(TyperGroup, self).shell_complete(ctx, incomplete)
            return found
        from typer._click.shell_completion import CompletionItem

        return [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]

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
    no_args_is_help=False,
    invoke_without_command=True,
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
    query: Annotated[
        str | None, typer.Option("--query", "-q", metavar="TEXT", help="Answer this and exit; - reads it from stdin.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With -q: write one JSON object.")] = False,
    resume: Annotated[
        str | None, typer.Option("--resume", "-r", metavar="ID", help="Go on with this session, in a chat or with -q.")
    ] = None,
    is_continued: Annotated[bool, typer.Option("--continue", "-c", help="Go on with the last session.")] = False,
    session: Annotated[
        str | None, typer.Option("--session", metavar="ID", help="With -q: this session, made where it is not there.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="Ask this model, in a chat or with -q.")
    ] = None,
    toolsets: Annotated[
        str | None, typer.Option("--toolsets", "-t", metavar="A,B", help="Offer these toolsets alone.")
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", min=1, metavar="N", help="Ask the model at most so often in a turn.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="With -q: say on stderr what goes on.")] = False,
) -> None:
    """A tool-using agent behind an OpenAI-compatible API. It lives in HERMES_HOME (~/.hermes).

    Without a command, at a terminal: a chat. With -q: one answer.
    """
    ctx.obj = Call(profile, dict(ctx.obj))
    given = {
        "--query": query,
        "--json": as_json,
        "--resume": resume,
        "--continue": is_continued,
        "--session": session,
        "--model": model,
        "--toolsets": toolsets,
        "--max-steps": max_steps,
        "--verbose": verbose,
    }
    named = [name for name, value in given.items() if value]
    if ctx.invoked_subcommand is not None:
        if named:
            raise InvalidInput(f"{named[0]} belongs to hermes itself, not to hermes {ctx.invoked_subcommand}")
        return
    if sum(map(bool, (resume, is_continued, session))) > 1:
        raise InvalidInput("--resume, --continue and --session each name a session: give one of them")
    from hermes.cli.talk import Wishes

    names = None if toolsets is None else tuple(name.strip() for name in toolsets.split(",") if name.strip())
    wishes = Wishes(model, names, max_steps)
    if query is not None:
        from hermes.cli.ask import ask

        raise typer.Exit(
            ask(
                ctx.obj,
                query,
                wishes,
                session=session,
                resume=resume,
                is_continued=is_continued,
                as_json=as_json,
                is_verbose=verbose,
            )
        )
    only = [name for name in ("--json", "--session", "--verbose") if name in named]
    if only:
        raise InvalidInput(f"{only[0]} goes with -q")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        if named:
            raise InvalidInput("a chat needs a terminal; for scripts there is hermes -q 'your question'")
        print(ctx.get_help(), file=sys.stderr)
        raise typer.Exit(2)
    from hermes.cli.chat import chat

    chat(ctx.obj, wishes, resume=resume, is_continued=is_continued)


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> NoReturn:
    """Exit codes: 0 done, 1 failed, 2 the command or the configuration is wrong, 130 interrupted."""
    environ = os.environ if environ is None else environ
    if "_HERMES_COMPLETE" in environ:  # the shell asks what could stand here (hermes.cli.completion)
        from typer._completion_classes import completion_init

        completion_init()
    for stream in (sys.stdout, sys.stderr):  # a locale without the character shows something else in its place
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace" if stream is sys.stdout else "backslashreplace")
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
