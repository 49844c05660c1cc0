"""`hermes model`: which language model answers, why, and what else there is."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hermes.cli.context import Call, call_of, new_app, settings_to_show, table
from hermes.core.errors import InvalidInput

if TYPE_CHECKING:
    from hermes.home.settings import Settings
    from hermes.models.choice import Candidate, ModelChoice

app = new_app("Show or choose the language model that answers.")
app.info.no_args_is_help = False


@app.callback(invoke_without_command=True)
def model(ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False) -> None:
    """Show or choose the language model that answers."""
    if ctx.invoked_subcommand is not None:
        return
    choice, candidates = _look(call_of(ctx))
    if as_json:
        print(json.dumps({"choice": choice and _facts(choice), "candidates": [_facts(each) for each in candidates]}))
        return
    if choice is None:
        from hermes.models.resolve import HOW_TO_CONNECT

        print(f"No language model: {candidates[0].why if _is_set(candidates) else HOW_TO_CONNECT}")
    else:
        where = f" at {choice.base_url}" if choice.base_url else ""
        print(f"{choice.model} of {choice.provider}{where}\nbecause {choice.why}")
    print("\nLooked at, in this order:")
    print(_listed(candidates))
    print("\nTo take another one: hermes model choose, or hermes model set NAME [--provider P] [--base-url URL]")


@app.command("set")
def set_model(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The model, as its provider calls it.")],
    provider: Annotated[str | None, typer.Option(help="openai, anthropic, openrouter, ollama, …")] = None,
    base_url: Annotated[str | None, typer.Option(help="Address of an OpenAI-compatible server, up to /v1.")] = None,
    key_env: Annotated[str | None, typer.Option(help="The name in .env that holds the key.")] = None,
) -> None:
    """Write the model to config.yaml. What is left away is removed: it belonged to the model before."""
    from hermes.home.paths import create_home

    home = call_of(ctx).home()
    create_home(home)
    _write(call_of(ctx), {"default": name, "provider": provider, "base_url": base_url, "key_env": key_env})
    typer.echo(f"{name} is the model now, in {home.config_file}", err=True)


@app.command()
def unset(ctx: typer.Context) -> None:
    """Remove the model from config.yaml: what is found at the start is taken again."""
    _write(call_of(ctx), {})
    typer.echo("the model is chosen at the start again: see hermes model", err=True)


@app.command()
def choose(ctx: typer.Context) -> None:
    """Choose among what was found, by number."""
    call = call_of(ctx)
    if not sys.stdin.isatty():
        raise InvalidInput("hermes model choose asks a person; in a script: hermes model set NAME [--provider P]")
    _, candidates = _look(call)
    ways = [
        (candidate, name)
        for candidate in candidates
        if candidate.is_usable and candidate.source != "config"
        for name in candidate.models or ([candidate.model] if candidate.model else [])
    ]
    if not ways:
        print(f"Nothing to choose from:\n{_listed(candidates)}")
        raise typer.Exit(1)
    print(table([(f"{number}.", name, each.provider) for number, (each, name) in enumerate(ways, 1)]))
    number = typer.prompt("Number", type=int)
    if not 1 <= number <= len(ways):
        raise InvalidInput(f"there is no number {number}")
    candidate, name = ways[number - 1]
    base_url = candidate.base_url if candidate.source == "local" else None
    _write(call, {"default": name, "provider": candidate.provider, "base_url": base_url})
    print(f"{name} of {candidate.provider} is the model now.")


def _look(call: Call) -> tuple[ModelChoice | None, tuple[Candidate, ...]]:
    return asyncio.run(_survey(settings_to_show(call)))


async def _survey(settings: Settings) -> tuple[ModelChoice | None, tuple[Candidate, ...]]:
    from hermes.models.choice import setting_of
    from hermes.models.resolve import Models

    models = Models(
        setting_of(settings.model),
        environ=settings.environ,
        routes={name: setting_of(route) for name, route in settings.model_routes.items()},
        own_ports=(settings.api_server.port,),
    )
    try:
        await models.choose()
        return models.choice, await models.survey()
    finally:
        await models.close()


def _write(call: Call, values: dict[str, str | None]) -> None:
    """All of `model` at once; context_length, a key and the like belong to the model that was."""
    from hermes.home.edit import check_setting, set_setting, unset_setting
    from hermes.home.sections import ModelSettings

    home = call.home()
    for key, value in values.items():
        if value:
            check_setting(home, f"model.{key}", value)
    for key in ModelSettings.model_fields:
        value = values.get(key)
        if value:
            set_setting(home, f"model.{key}", value)
        else:
            unset_setting(home, f"model.{key}")


def _is_set(candidates: tuple[Candidate, ...]) -> bool:
    return bool(candidates) and candidates[0].source == "config"


def _listed(candidates: tuple[Candidate, ...]) -> str:
    """The providers whose keys are missing share one line: there are many."""
    keyless = [each for each in candidates if each.source == "environment" and not each.is_usable]
    rows = []
    for each in candidates:
        if each not in keyless:
            rows.append(("yes" if each.is_usable else "no", each.provider, each.model or "-", each.why))
        elif each is keyless[0]:
            names = ", ".join(other.provider for other in keyless)
            rows.append(("no", "providers", "-", f"no key in .env or the environment of {names}"))
    return table(rows) or "nothing"


def _facts(found: Candidate | ModelChoice) -> dict[str, Any]:
    """Without keys."""
    return {key: value for key, value in asdict(found).items() if key not in ("api_key", "candidates")}
