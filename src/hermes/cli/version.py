"""`hermes version`: what to write into a report."""

from __future__ import annotations

import platform

import typer

from hermes import __version__

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command()
def version() -> None:
    """Show the version."""
    print(f"hermes {__version__} (Python {platform.python_version()}, {platform.system()} {platform.machine()})")
