"""`hermes gateway`: the server, in the foreground."""

from __future__ import annotations

import typer

from hermes.cli.context import call_of, new_app

app = new_app("Run the server in the foreground, until Ctrl+C or SIGTERM.")


@app.command()
def gateway(ctx: typer.Context) -> None:
    """Run the server in the foreground, until Ctrl+C or SIGTERM.

    The first start in an empty home makes the home, with a random API key.
    """
    call = call_of(ctx)
    home = call.home()
    from hermes.gateway.serve import run

    run(home, call.environ)
