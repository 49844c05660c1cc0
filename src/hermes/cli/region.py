"""The last rows of a terminal, rewritten in place; what is written above them is left to the scroll-back for good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO


class Region:
    """Rows must be shorter than the terminal is wide, and `live` fewer than it has rows. Only rows that changed are
    written, in one piece, so that nothing flickers."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._rows = [""]
        self._is_hidden = False

    def show(self, kept: Sequence[str], live: Sequence[str]) -> None:
        """`kept` rows scroll away above; `live` ones take the place of those of the last call. Without live rows the
        cursor stands at the beginning of an empty one."""
        before, after = self._rows, [*kept, *(live or [""])]
        self._rows = list(live) or [""]
        if before == after:
            return
        same = 0
        while same < min(len(before), len(after) - 1) and before[same] == after[same]:
            same += 1
        row = len(before) - 1  # where the cursor is
        parts = [f"\x1b[{row - same}A" if row > same else "", "\r\n" if same > row else "\r"]
        parts.append("\r\n".join(f"{text}\x1b[K" for text in after[same:]))
        if len(after) < len(before):
            parts.append("\x1b[J")
        self._write(f"\x1b[?2026h{''.join(parts)}\x1b[?2026l")

    def hide_cursor(self) -> None:
        self._is_hidden = True
        self._write("\x1b[?25l")

    def show_cursor(self) -> None:
        if self._is_hidden:
            self._is_hidden = False
            self._write("\x1b[?25h")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
