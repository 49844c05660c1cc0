"""`hermeslink version`."""

from __future__ import annotations

from hermes import __version__
from hermeslink.cli.context import N_, new_app

version = new_app(N_("Show the version."))


@version.command(help=N_("Show the version."))
def _version() -> None:
    print(f"hermeslink {__version__}")
