"""`hermeslink config`: the settings, one at a time."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from hermeslink.cli.context import N_, _, call_of, new_app, table

config = new_app(N_("Show and change the settings."))


@config.command("get", help=N_("Show one setting, or all."))
def _get(
    ctx: typer.Context,
    key: Annotated[str | None, typer.Argument(help=N_("Its name, such as port."), metavar="[KEY]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help=N_("Write JSON."))] = False,
) -> None:
    from hermeslink.settings import known_name, load_settings

    call = call_of(ctx)
    name = known_name(key) if key is not None else None
    values = load_settings(call.home(), call.environ).model_dump()
    if as_json:
        print(json.dumps(values if name is None else values[name], ensure_ascii=False))
    elif name is not None:
        print(_text(values[name]))
    else:
        print(table([(each, _text(value)) for each, value in values.items()]))


@config.command("set", help=N_("Change one setting. A list is written with commas; an empty text empties it."))
def _set(
    ctx: typer.Context,
    key: Annotated[str, typer.Argument(help=N_("Its name, such as port."))],
    value: Annotated[str, typer.Argument(help=N_("What it becomes."))],
) -> None:
    from hermeslink.service import lock
    from hermeslink.settings import VARIABLES, known_name, set_setting

    call = call_of(ctx)
    name = known_name(key)
    kept = set_setting(call.home(), name, value).model_dump()[name]
    print(f"{name} = {_text(kept)}")
    variable = VARIABLES.get(name)
    if variable and call.environ.get(variable, "").strip():
        typer.echo(_("{variable} is set, and beats it.").format(variable=variable), err=True)
    if lock.running(call.home()) is not None:
        typer.echo(_("It counts from the next start on: hermeslink restart"), err=True)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, list) else str(value)
