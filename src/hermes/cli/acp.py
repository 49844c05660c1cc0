"""`hermes acp`: the agent in an editor. stdout carries the protocol and nothing else."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hermes.cli.context import Call, call_of
from hermes.core.errors import HermesError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hermes.home.paths import Home
    from hermes.home.settings import Settings

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)

LOG_NAME = "acp.log"


@app.command()
def acp(
    ctx: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Say what would work, and exit: 0 when an editor can use it.")
    ] = False,
) -> None:
    """Be the agent of an editor (Zed, VS Code, JetBrains), which starts this and talks to it on stdin and stdout."""
    call = call_of(ctx)
    home = call.home()
    if check:
        raise typer.Exit(0 if _check(call, home) else 1)
    _serve(call, home)


def _serve(call: Call, home: Home) -> None:
    from hermes.acp.pipes import check_pipes
    from hermes.app.acp import serve_editor
    from hermes.core.redact import Redactor
    from hermes.home.logs import configure_logging
    from hermes.home.own_process import hide_secrets
    from hermes.home.paths import create_home
    from hermes.home.settings import load_settings, secret_values

    check_pipes()
    if sys.stdin.isatty():
        _say(f"An editor starts this and talks to it; see docs/howto/editors.md. Try: {home.command} acp --check")
    if create_home(home):
        _say(f"Made a home in {home.path}.")
    settings = load_settings(home, call.environ)
    hide_secrets(settings, call.environ)
    redactor = Redactor(secret_values(settings, {**call.environ, **settings.environ}))
    configure_logging(home, settings.logging.level, redactor=redactor, name=LOG_NAME)
    asyncio.run(serve_editor(home, settings, call.environ))


def _check(call: Call, home: Home) -> bool:
    """Prints a line for each thing; whether all of them are well."""
    from importlib.metadata import PackageNotFoundError, version

    from hermes.home.settings import load_settings

    is_well = True
    try:
        print(f"ok       protocol  agent-client-protocol {version('agent-client-protocol')}")
    except PackageNotFoundError:
        print("missing  protocol  pip install agent-client-protocol")
        is_well = False
    if not home.exists():
        print(f"missing  home      {home.path} is made with: {home.command} gateway")
        return False
    try:
        settings = load_settings(home, call.environ)
        print(f"ok       home      {home.path}")
        found, is_usable = asyncio.run(_look(home, settings, call.environ))
    except HermesError as error:
        print(f"wrong    home      {error.message}")
        return False
    print(found)
    return is_well and is_usable


async def _look(home: Home, settings: Settings, environ: Mapping[str, str]) -> tuple[str, bool]:
    from hermes.app import open_engine
    from hermes.core.errors import NoModel

    async with open_engine(settings, home=home, environ=environ, platform="acp") as engine:
        try:
            model = await engine.models.resolve(None)
        except NoModel as error:
            return f"missing  model     {error.message}", False
        choice = engine.models.choice
        why = f" ({choice.why})" if choice is not None else ""
        return f"ok       model     {model.name} of {model.provider}{why}", True


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
