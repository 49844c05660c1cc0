"""What every command is told: the profile that was named and the environment at the start."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from hermes.home.paths import Home
    from hermes.home.settings import Settings
    from hermes.store.database import Database


@dataclass(frozen=True, slots=True)
class Call:
    profile: str | None
    environ: dict[str, str]

    def home(self) -> Home:
        """Raises `ConfigError` for a profile that is not there."""
        from hermes.home.paths import resolve_home

        return resolve_home(self.profile, self.environ)


@contextmanager
def open_store(call: Call, home: Home) -> Iterator[Database]:
    """The home's database, beside the gateway that may have it open. Raises `ConfigError` where there is no home."""
    from hermes.core.errors import ConfigError
    from hermes.home.settings import load_settings
    from hermes.store import facts
    from hermes.store.database import Database

    if not home.exists():
        raise ConfigError(f"there is no home in {home.path} yet; it is made with: {home.command} gateway")
    settings = load_settings(home, call.environ, is_lenient=True)
    database = Database.open_now(settings.database.url or f"sqlite:///{home.state_db}")
    try:
        if database.is_shared:
            database.read_now(facts.check_profile, home.name, home.command)
        yield database
    finally:
        database.close_now()


def settings_to_show(call: Call) -> Settings:
    """Where a file cannot be read or a value is wrong, its default is shown, and the reason goes to stderr."""
    from hermes.home.settings import load_settings

    home = call.home()
    settings = load_settings(home, call.environ, is_lenient=True)
    for error in settings.errors:
        typer.echo(f"problem: {error}; its default is shown. See also: {home.command} config check", err=True)
    return settings


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


def plain(text: str) -> str:
    """Text of somebody else's for a terminal: what moves the cursor, or turns the reading direction, is written out."""
    return _MOVES.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


_MOVES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def repaired(text: str) -> str:
    """What a person wrote, as UTF-8, whatever the locale made of its bytes; those that are none are shown as such."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns of text, two spaces apart; the last one is as long as it is."""
    if not rows:
        return ""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)), row[-1]]).rstrip()
        for row in rows
    )
