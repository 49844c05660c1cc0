"""What every command is told: the profile that was named and the environment at the start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from hermes.home.paths import Home


@dataclass(frozen=True, slots=True)
class Call:
    profile: str | None
    environ: dict[str, str]

    def home(self) -> Home:
        """Raises `ConfigError` for a profile that is not there."""
        from hermes.home.paths import resolve_home

        return resolve_home(self.profile, self.environ)


def call_of(ctx: typer.Context) -> Call:
    call = ctx.find_root().obj
    assert isinstance(call, Call)
    return call


def new_app(help_text: str) -> typer.Typer:
    """A command group that looks like all others."""
    return typer.Typer(
        help=help_text,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns of text, two spaces apart; the last one is as long as it is."""
    if not rows:
        return ""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)), row[-1]]).rstrip()
        for row in rows
    )
