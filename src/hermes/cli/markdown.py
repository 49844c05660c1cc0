"""Markdown of a model as rows for a terminal. rich does it; it is imported when the first row is wanted."""

from __future__ import annotations

import io
import itertools
import re
from typing import TYPE_CHECKING

from hermes.cli.context import plain

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from rich.console import Console


class MarkdownRows:
    """`has_color` False leaves bold and dim, which NO_COLOR does not forbid. `is_unicode`: whether lines and bullets
    may be drawn with characters that ASCII lacks."""

    def __init__(self, *, has_color: bool = True, is_unicode: bool = True) -> None:
        self._has_color = has_color
        self._is_unicode = is_unicode
        self._parser: MarkdownIt | None = None

    def split(self, text: str) -> tuple[list[str], str]:
        """The blocks that nothing which follows can change, and the last one, which may go on."""
        if self._parser is None:
            from markdown_it import MarkdownIt

            self._parser = MarkdownIt().enable("strikethrough").enable("table")
        starts = [token.map[0] for token in self._parser.parse(text) if token.level == 0 and token.map]
        starts = sorted({0, *starts})  # (what is no block, such as the address of a link, goes with the one before)
        lines = text.split("\n")
        blocks = ["\n".join(lines[start:end]) for start, end in itertools.pairwise(starts)]
        return blocks, "\n".join(lines[starts[-1] :])

    def rows(self, text: str, width: int) -> list[str]:
        """With escape sequences of ours only, each row complete in itself and without blank rows around."""
        from hermes.cli.markdown_style import HermesMarkdown

        return self._rows(HermesMarkdown(plain(text)), width)

    def dimmed(self, text: str, width: int) -> list[str]:
        """Plain text, wrapped."""
        from rich.text import Text

        return self._rows(Text(plain(text.strip()), style="dim"), width)

    def wrapped(self, text: str, width: int, style: str = "") -> list[str]:
        from rich.text import Text

        return self._rows(Text(plain(text), style=style), width)

    def cropped(self, text: str, width: int, style: str = "") -> str:
        """One row: what is too long ends with an ellipsis."""
        from rich.text import Text

        line = Text(plain(" ".join(text.split("\n"))), style=style, no_wrap=True, overflow="ellipsis", end="")
        rows = self._rows(line, width)
        return rows[0] if rows else ""

    def _rows(self, what: object, width: int) -> list[str]:
        out = _Unicode() if self._is_unicode else _Ascii()
        console = self._console(out, width)
        console.print(what, soft_wrap=False)
        rows = [_stripped(row) for row in self._drawn(out.getvalue()).split("\n")]
        while rows and not rows[-1]:
            rows.pop()
        while rows and not rows[0]:
            rows.pop(0)
        return rows

    def _drawn(self, text: str) -> str:
        return text if self._is_unicode else text.translate(_IN_ASCII)

    def _console(self, out: io.StringIO, width: int) -> Console:
        from rich.console import Console
        from rich.theme import Theme

        return Console(
            file=out,
            width=width,
            force_terminal=True,
            color_system="standard" if self._has_color else None,
            no_color=not self._has_color,
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
            theme=Theme({"markdown.code": "cyan", "markdown.link_url": "blue"}),
            _environ={},
        )


class _Unicode(io.StringIO):
    encoding = "utf-8"


class _Ascii(io.StringIO):
    encoding = "ascii"


_IN_ASCII = str.maketrans({"▌": "|", "•": "*", "…": "~", "─": "-"})
_SPACE_AT_END = re.compile(r"(?:\x1b\[[0-9;]*m| )+$")


def _stripped(row: str) -> str:
    """Without the spaces that rich fills a row up with: they would be copied along."""
    text = _SPACE_AT_END.sub("", row)
    return text + "\x1b[0m" if "\x1b" in text else text
