"""What every command is told, and how it speaks: in the language that the settings, or the terminal, want."""

from __future__ import annotations

import gettext
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import typer

from hermeslink.core.language import LANGUAGES, of_terminal, translations
from hermeslink.home import LinkHome, link_home


@dataclass(frozen=True, slots=True)
class Call:
    environ: dict[str, str]

    def home(self) -> LinkHome:
        return link_home(self.environ)


class _Speech:
    """Of the command that runs. A process runs one."""

    words: gettext.NullTranslations = gettext.NullTranslations()


def speak(environ: Mapping[str, str]) -> None:
    """From now on in the language of `environ`."""
    _Speech.words = translations(language_of(environ))


def _(text: str) -> str:
    return _Speech.words.gettext(text)


def N_(text: str) -> str:  # noqa: N802 gettext's name
    """Marks a text that is translated where it is shown: the help of a command."""
    return text


def language_of(environ: Mapping[str, str]) -> str:
    """A file that cannot be read is no reason to be silent: the command that needs it says what is wrong."""
    wanted = environ.get("HERMESLINK_LANG", "").strip()
    if not wanted:
        try:
            wanted = json.loads(link_home(environ).config_file.read_text("utf-8"))["language"]
        except (OSError, ValueError, KeyError, TypeError):
            wanted = "auto"
    if wanted in LANGUAGES:
        return str(wanted)
    return of_terminal(environ if wanted == "auto" else {"LANG": str(wanted)})


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


_MOVES = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns of text, two spaces apart; the last one is as long as it is."""
    if not rows:
        return ""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)), row[-1]]).rstrip()
        for row in rows
    )
