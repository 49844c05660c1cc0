"""`hermes models scripted`: an OpenAI-compatible server that plays a script."""

from __future__ import annotations

import typer

from hermes.cli.context import new_app

app = new_app("Serve a scripted model, for demos and tests.")


@app.callback()
def models() -> None:
    """Serve a scripted model, for demos and tests."""


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
def scripted(ctx: typer.Context) -> None:
    """An OpenAI-compatible server that plays a script."""
    from hermes.models.scripted import main

    raise typer.Exit(main(ctx.args))
