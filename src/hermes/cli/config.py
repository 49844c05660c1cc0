"""`hermes config`: UPPER_CASE names live in .env, dotted names in config.yaml."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hermes.cli.context import call_of, new_app, settings_to_show, table
from hermes.core.errors import InvalidInput

if TYPE_CHECKING:
    from hermes.home.paths import Home
    from hermes.home.settings import Settings

MASK = "********"
ENV_NAME = re.compile(r"[A-Z][A-Z0-9_]*")

app = new_app("Show, change and check the settings: NAMES like this live in .env, names.like.this in config.yaml.")

Reveal = Annotated[bool, typer.Option("--reveal", help="Show secrets.")]
Name = Annotated[str, typer.Argument(help="Such as API_SERVER_PORT or approvals.timeout.")]


@app.command()
def get(ctx: typer.Context, name: Name, reveal: Reveal = False) -> None:
    """Print the value that counts, wherever it is set. Exits 1 when there is none."""
    settings = settings_to_show(call_of(ctx))
    value = _env_value(settings, name) if ENV_NAME.fullmatch(name) else _setting_value(settings, name)
    if value is None:
        typer.echo(f"{name} is not set", err=True)
        raise typer.Exit(1)
    print(_text(value if reveal else _masked(name, value)))


@app.command("set", context_settings={"ignore_unknown_options": True})
def set_value(
    ctx: typer.Context,
    name: Name,
    value: Annotated[str, typer.Argument(help='Text, true, 12, 1.5, or JSON like ["a", "b"]. - reads it from stdin.')],
) -> None:
    """Write one value to .env or config.yaml. Other lines and comments stay as they are."""
    from hermes.home.edit import set_setting
    from hermes.home.paths import create_home

    home = call_of(ctx).home()
    if create_home(home):
        typer.echo(f"Made a home in {home.path}, with a random API key in {home.env_file}.", err=True)
    written = set_setting(home, name, sys.stdin.readline().rstrip("\r\n") if value == "-" else value)
    typer.echo(f"{name} is set in {written}", err=True)
    _tell_what_beats(ctx, home, name)


@app.command()
def unset(ctx: typer.Context, name: Name) -> None:
    """Remove a value from .env or config.yaml, so that the default counts again."""
    from hermes.home.edit import unset_setting

    home = call_of(ctx).home()
    if not unset_setting(home, name):
        typer.echo(f"{name} was not set", err=True)
        return
    typer.echo(f"{name} is removed", err=True)
    _tell_what_beats(ctx, home, name)


@app.command()
def show(
    ctx: typer.Context,
    reveal: Reveal = False,
    everything: Annotated[bool, typer.Option("--all", help="Show defaults too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Show what is set, and where. The environment beats .env, .env beats config.yaml."""
    from hermes.home.env import read_env
    from hermes.home.names import PROVIDER_NAMES, env_names, known_settings
    from hermes.home.settings import load_settings

    call = call_of(ctx)
    home = call.home()
    settings = load_settings(home, call.environ, is_lenient=True)
    found: list[tuple[str, Any, str]] = []
    for name in known_settings() if everything else ():
        if "*" not in name and "[]" not in name and name not in settings.sources:
            found.append((name, _setting_value(settings, name), "default"))
    for name, source in settings.sources.items():
        found.append((name, _setting_value(settings, name), source))
    outside = {name: value for name, value in call.environ.items() if name in PROVIDER_NAMES and value.strip()}
    for name, value in {**read_env(home.env_file), **outside}.items():
        if name not in env_names():
            found.append((name, value, "environment" if name in outside else ".env"))
    found.sort(key=lambda row: (row[0].isupper(), row[0]))
    rows = [(name, value if reveal else _masked(name, value), source) for name, value, source in found]
    if as_json:
        print(json.dumps({name: {"value": value, "source": source} for name, value, source in rows}, indent=2))
    else:
        print(f"# {home.path}")
        print(table([(name, "-" if value is None else _text(value), source) for name, value, source in rows]))
    for problem in settings.problems:
        typer.echo(f"problem: {problem}", err=True)


@app.command()
def path(ctx: typer.Context, env: Annotated[bool, typer.Option("--env", help="That of .env.")] = False) -> None:
    """Print the path of config.yaml, whether it exists or not."""
    home = call_of(ctx).home()
    print(home.env_file if env else home.config_file)


@app.command()
def check(ctx: typer.Context) -> None:
    """Name every unknown name, wrong value and file that others can read. Exits 1 when there is one."""
    from hermes.home.keys import check_key
    from hermes.home.settings import load_settings

    call = call_of(ctx)
    home = call.home()
    settings = load_settings(home, call.environ, is_lenient=True)
    api = settings.api_server
    problems, notes = list(settings.problems), list(settings.notes)
    if api.enabled:
        verdict = check_key(api.key, api.host, command=home.command)
        {"refusal": problems, "warning": notes, "ok": []}[verdict.level].append(verdict.text)
    for problem in problems:
        print(f"problem: {problem}")
    for note in notes:
        print(f"note: {note}")
    if problems:
        raise typer.Exit(1)
    print(f"No problems in {home.path}")


def _env_value(settings: Settings, name: str) -> Any:
    from hermes.home.names import PLACES, env_names, unknown_env_name

    if name in env_names():
        return _setting_value(settings, env_names()[name])
    problem = unknown_env_name(name)
    if problem is not None and name not in PLACES:
        raise InvalidInput(problem, param="name")
    return settings.environ.get(name)


def _setting_value(settings: Settings, name: str) -> Any:
    """A section gives a mapping. Raises `InvalidInput` for an unknown name."""
    from hermes.home.names import below, canonical, find_setting, nearest_setting

    name = canonical(name)
    if find_setting(name) is None and not below(name):
        near = nearest_setting(name)
        raise InvalidInput(f"{name} is no setting" + (f"; did you mean {near}?" if near else ""), param="name")
    value: Any = settings.model_dump()
    for key in name.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _masked(name: str, value: Any) -> Any:
    """Secrets by their setting, by their name and by their look."""
    from hermes.core.redact import Redactor
    from hermes.home.names import canonical, find_setting, is_secret_name

    if value is None:
        return None
    if isinstance(value, dict):
        return {key: _masked(f"{name}.{key}", inner) for key, inner in value.items()}
    if isinstance(value, list):
        inside = [_masked(f"{name}[]", inner) for inner in value]
        return _masked_options(inside) if all(isinstance(word, str) for word in inside) else inside
    setting = find_setting(canonical(name))
    is_secret = setting.is_secret if setting is not None and "*" not in name else False
    if isinstance(value, str) and value and (is_secret or is_secret_name(name.rpartition(".")[2])):
        return MASK
    return Redactor()(value) if isinstance(value, str) else value


def _masked_options(words: list[str]) -> list[str]:
    """Words of a command line, of which options may be called like secrets: `--api-key VALUE`, `--token=VALUE`."""
    from hermes.core.redact import is_secret_name

    shown: list[str] = []
    comes_secret = False
    for word in words:
        option, equals, _ = word.partition("=")
        is_secret = option.startswith("-") and is_secret_name(option.strip("-").replace("-", "_"))
        shown.append(
            MASK if comes_secret and not word.startswith("-") else f"{option}={MASK}" if is_secret and equals else word
        )
        comes_secret = is_secret and not equals
    return shown


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _tell_what_beats(ctx: typer.Context, home: Home, name: str) -> None:
    """What was written and does not count yet, or not at all, is said."""
    from hermes.home.edit import beaten_by, doubt_about
    from hermes.home.live import needs_restart, restart_command
    from hermes.home.locks import running_gateway

    meant = doubt_about(name)
    if meant is not None:
        typer.echo(f"note: nothing reads {name} by itself; did you mean {meant}?", err=True)
    stronger = beaten_by(home, name, call_of(ctx).environ)
    if stronger is not None:
        typer.echo(f"note: {stronger} is set too, and counts instead", err=True)
    elif (gateway := running_gateway(home.pid_file)) is None:
        return
    elif name == "API_SERVER_KEY":
        typer.echo("note: the gateway is running, and takes this up now; the key before opens nothing more", err=True)
    elif needs_restart(name):
        typer.echo(
            f"note: the gateway is running; restart needed: {restart_command(home, is_guest=gateway.is_guest)}",
            err=True,
        )
    else:
        typer.echo("note: the gateway is running, and takes this up with the next run", err=True)
