"""A terminal of our own: what a process writes into a pty, as the rows that a person would see, scrolled ones included.

It knows the sequences that the chat and prompt_toolkit use; one that it does not know fails the test.
"""

from __future__ import annotations

import codecs
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.cells import cell_len

SEQUENCE = re.compile(r"\x1b(?:\[([?>=]?)([\d;]*)([ -/]*)([@-~])|\]([^\x07\x1b]*)(?:\x07|\x1b\\)|([=>78cM]))")
UNFINISHED = re.compile(r"\x1b(?:\[[\d;?>= ]*|\][^\x07\x1b]*)?\Z")
PATIENCE_SECONDS = 20.0
TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
"""So that Ctrl-C is a signal, as at any terminal."""


class Screen:
    """`feed` it what comes out of the pty. `answers` is what a terminal would say back (where its cursor is)."""

    def __init__(self, columns: int, lines: int) -> None:
        self.columns, self.lines = columns, lines
        self.scrolled: list[str] = []
        self.rows: list[list[str]] = [[]]
        self.row = self.column = 0
        self.answers = ""
        self.has_cursor = True
        self._pending = ""

    @property
    def text(self) -> str:
        """Every row from the first, without spaces at their ends, and without empty ones at the end."""
        return "\n".join([*self.scrolled, *("".join(row).rstrip() for row in self.rows)]).rstrip()

    def feed(self, text: str) -> None:
        text, self._pending = self._pending + text, ""
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                found = SEQUENCE.match(text, at)
                if found is None:
                    if UNFINISHED.match(text, at):
                        self._pending = text[at:]
                        return
                    raise AssertionError(f"no sequence of a terminal: {text[at : at + 12]!r}")
                self._do(found)
                at = found.end()
            else:
                self._put(text[at])
                at += 1

    def _do(self, found: re.Match[str]) -> None:
        mark, numbers, _, final = found[1], found[2], found[3], found[4]
        if final is None or mark or final in "mqt":
            if (mark, final) in (("?", "h"), ("?", "l")) and "25" in numbers.split(";"):
                self.has_cursor = final == "h"
            return
        count = int(numbers.split(";")[0] or 0) if numbers else 0
        match final:
            case "A":
                self.row = max(self.row - (count or 1), 0)
            case "B":
                self.row = min(self.row + (count or 1), self.lines - 1)
            case "C":
                self.column = min(self.column + (count or 1), self.columns - 1)
            case "D":
                self.column = max(self.column - (count or 1), 0)
            case "K" if count == 0:
                del self._at(self.row)[self.column :]
            case "K" if count == 2:
                self._at(self.row).clear()
            case "J" if count == 0:
                del self._at(self.row)[self.column :]
                del self.rows[self.row + 1 :]
            case "n" if count == 6:
                self.answers += f"\x1b[{self.row + 1};{self.column + 1}R"
            case _:
                raise AssertionError(f"an unknown sequence: {found[0]!r}")

    def _put(self, one: str) -> None:
        match one:
            case "\n":
                self._down()
            case "\r":
                self.column = 0
            case "\x08":
                self.column = max(self.column - 1, 0)
            case "\x07" | "\x00":
                pass
            case _ if one < " ":
                raise AssertionError(f"a control character on the screen: {one!r}")
            case _:
                self._write(one)

    def _write(self, one: str) -> None:
        width = cell_len(one)
        if width == 0:  # joins the one before it
            row = self._at(self.row)
            if row and self.column:
                row[self.column - 1] += one
            return
        if self.column + width > self.columns:
            self.column = 0
            self._down()
        row = self._at(self.row)
        row += [" "] * (self.column - len(row))
        row[self.column : self.column + width] = [one, *[""] * (width - 1)]
        self.column += width

    def _down(self) -> None:
        self.row += 1
        if self.row == self.lines:
            self.scrolled.append("".join(self._at(0)).rstrip())
            del self.rows[0]
            self.row -= 1
        self._at(self.row)

    def _at(self, row: int) -> list[str]:
        while len(self.rows) <= row:
            self.rows.append([])
        return self.rows[row]


class Tty:
    """A command in a terminal. `raw` is everything that it wrote."""

    def __init__(
        self,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        cwd: Path,
        *,
        columns: int = 80,
        lines: int = 30,
    ) -> None:
        self.screen = Screen(columns, lines)
        self.raw = ""
        self.code: int | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._handle, inside = pty.openpty()
        termios.tcsetwinsize(inside, (lines, columns))
        self._process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *arguments],
            stdin=inside,
            stdout=inside,
            stderr=inside,
            env=dict(environ),
            cwd=cwd,
            start_new_session=True,
        )
        os.close(inside)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._handle)

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def write(self, keys: str) -> None:
        os.write(self._handle, keys.encode())

    def wait_for(self, text: str, *, again: str = "", every_seconds: float = 1.0) -> None:
        """Until the screen shows it. `again`: keys that are pressed until then, every so often."""
        self._wait(lambda: text in self.screen.text, repr(text), again, every_seconds)

    def wait_for_prompt(self, mark: str = "❯") -> None:
        """Until it waits for what is written next."""
        self._wait(lambda: self.screen.text.endswith(f"\n{mark}"), "the prompt", "", 1.0)

    def _wait(self, is_there: Callable[[], bool], what: str, again: str, every_seconds: float) -> None:
        until = time.monotonic() + PATIENCE_SECONDS
        pressed_at = time.monotonic()
        while not is_there():
            if again and time.monotonic() - pressed_at >= every_seconds:
                self.write(again)
                pressed_at = time.monotonic()
            if self.code is not None or (not self._read(min(0.1, every_seconds)) and time.monotonic() > until):
                raise AssertionError(f"never on the screen: {what}\n{self.screen.text}\n{self.raw[-400:]!r}")

    def wait_for_end(self, *, again: str = "") -> int:
        """Its exit code. `again`: keys that are pressed until then."""
        until = time.monotonic() + PATIENCE_SECONDS
        while self.code is None:
            if not self._read(0.2) and again:
                self.write(again)
            if time.monotonic() > until:
                raise AssertionError(f"it does not end\n{self.screen.text}")
        return self.code

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._handle], [], [], seconds)
        if not ready:
            return False
        data = b""
        with suppress(OSError):  # Linux says so when the process is gone
            data = os.read(self._handle, 65_536)
        if not data:
            self.code = self._process.wait(PATIENCE_SECONDS)
            return True
        text = self._decoder.decode(data)
        self.raw += text
        self.screen.feed(text)
        if self.screen.answers:
            self.write(self.screen.answers)
            self.screen.answers = ""
        return True


def hermes_tty(environ: Mapping[str, str], cwd: Path, *arguments: str, columns: int = 80, lines: int = 30) -> Tty:
    environ = {"TERM": "xterm-256color", **environ}
    return Tty([sys.executable, "-m", "hermes", *arguments], environ, cwd, columns=columns, lines=lines)
