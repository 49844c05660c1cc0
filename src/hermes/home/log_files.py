"""Reading a log that is being written: its last lines, and then the new ones, over its rotated files."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from hermes.core.errors import InvalidInput

BLOCK_BYTES = 64 * 1024
MOST_ROTATED = 9
LOOK_SECONDS = 0.25

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class LogFile:
    """`path`, and what it was before: `path.1` is newer than `path.2`. `follow` goes on where `newest_first` began."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._end: tuple[int, int] | None = None

    def newest_first(self) -> Iterator[bytes]:
        """Every whole line, without its line end."""
        for file in self._files():
            with suppress(FileNotFoundError), file.open("rb") as opened:
                end = _end_of_lines(opened)
                if self._end is None:
                    self._end = (os.fstat(opened.fileno()).st_ino, end)
                yield from _backwards(opened, end)

    def follow(self, wait: Callable[[], None] = lambda: time.sleep(LOOK_SECONDS)) -> Iterator[bytes]:
        """Lines that come from now on, for ever. `wait` is called while there is none."""
        inode, position = self._end or (None, 0)
        while True:
            file = self._successor(inode, position)
            if file is None:
                wait()
                continue
            with suppress(FileNotFoundError), file.open("rb") as opened:
                found = os.fstat(opened.fileno()).st_ino
                if found != inode:
                    inode, position = found, 0
                opened.seek(position)
                for line in opened:
                    if not line.endswith(b"\n"):  # the rest is still to be written
                        break
                    position += len(line)
                    yield line[:-1]

    def _successor(self, inode: int | None, position: int) -> Path | None:
        """The file that holds what comes next: the one that is read, while it has more, else the next newer one."""
        newer: Path | None = None
        oldest: Path | None = None
        for file in self._files():
            with suppress(OSError):
                stat = file.stat()
                if stat.st_ino == inode:
                    return file if stat.st_size > position and _has_line(file, position) else newer
                newer = oldest = file
        return oldest if inode is None or newer is not None else None

    def _files(self) -> Iterator[Path]:
        yield self.path
        for number in range(1, MOST_ROTATED + 1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            if not older.exists():
                return
            yield older


def parse_since(text: str, now: float) -> float:
    """`10m`, `2h`, `1d`, `30s` before `now`, or an ISO time (local unless it says otherwise). Unix seconds.

    Raises InvalidInput.
    """
    ago = _AGO.fullmatch(text.strip())
    if ago is not None:
        return now - float(ago[1]) * _SECONDS[ago[2]]
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError):
        raise InvalidInput(f"{text!r} is no time: write 30s, 10m, 2h, 1d or 2026-11-22T08:00", param="since") from None


def _backwards(file: BinaryIO, end: int) -> Iterator[bytes]:
    rest = b""
    while end > 0:
        begin = max(0, end - BLOCK_BYTES)
        file.seek(begin)
        lines = (file.read(end - begin) + rest).split(b"\n")
        rest = lines.pop(0)
        yield from (line for line in reversed(lines) if line)
        end = begin
    if rest:
        yield rest


def _end_of_lines(file: BinaryIO) -> int:
    """Where the last whole line ends."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        begin = max(0, end - BLOCK_BYTES)
        file.seek(begin)
        found = file.read(end - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def _has_line(file: Path, position: int) -> bool:
    with file.open("rb") as opened:
        opened.seek(position)
        return opened.readline().endswith(b"\n")
