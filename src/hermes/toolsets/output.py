"""What a command printed, as text that is fit for a model: from disk, in bounded memory, without control characters."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[ -/]*[0-~])|\x9b[0-?]*[ -/]*[@-~]"
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Output:
    """`text` is the whole, or its head and tail around a line that says how much is missing."""

    text: str
    total_bytes: int
    is_cut: bool


def clean(text: str) -> str:
    """Without escape sequences; a line that was written over (a progress bar) as it stood at the end."""
    text = _ESCAPES.sub("", text.replace("\r\n", "\n"))
    if "\r" in text:
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def cut(text: str, characters: int, what: str = "characters") -> str:
    """The head (two fifths) and the tail of a text that is too long, with a line between that says what is missing."""
    if len(text) <= characters:
        return text
    head = characters * 2 // 5
    tail = characters - head
    return f"{text[:head]}\n[… {len(text) - characters:,} {what} left out …]\n{text[-tail:]}"


def pieces(log: Path) -> list[Path]:
    """The files of an output that are on disk, in order: the first, then the newest."""
    numbered = []
    for path in log.parent.glob(f"{log.name}.*"):
        suffix = path.name[len(log.name) + 1 :]
        if suffix.isdigit():
            numbered.append((int(suffix), path))
    return ([log] if log.exists() else []) + [path for _, path in sorted(numbered)]


def total_bytes(log: Path, piece_bytes: int) -> int:
    """How much was printed, what is no longer on disk included."""
    last = pieces(log)[-1:]
    if not last:
        return 0
    number = 0 if last[0] == log else int(last[0].suffix[1:])
    return number * piece_bytes + last[0].stat().st_size


def read(log: Path, piece_bytes: int, start: int, size: int) -> bytes:
    """Up to `size` bytes of the output from byte `start`; what is no longer on disk is missing from it."""
    found = bytearray()
    for path in pieces(log):
        first = 0 if path == log else int(path.suffix[1:]) * piece_bytes
        skip = max(0, start + len(found) - first)
        if skip >= piece_bytes or len(found) >= size:
            continue
        try:
            with path.open("rb") as file:
                file.seek(skip)
                found += file.read(size - len(found))
        except FileNotFoundError:  # it was the oldest, and went while we read
            continue
    return bytes(found)


def head_and_tail(log: Path, piece_bytes: int, characters: int, hide: Callable[[str], str] = str) -> Output:
    """What the model gets to see. Reads no more than four bytes a character from either end.

    `hide` takes secrets out, before the cut: half a key would not look like one.
    """
    total = total_bytes(log, piece_bytes)
    window = characters * 4
    if total <= 2 * window:
        text = hide(clean(read(log, piece_bytes, 0, total).decode("utf-8", "replace")))
        return Output(cut(text, characters), total, len(text) > characters)
    head = hide(clean(_whole(read(log, piece_bytes, 0, window))))[: characters * 2 // 5]
    tail = hide(clean(_whole(read(log, piece_bytes, total - window, window))))[-(characters - len(head)) :]
    return Output(f"{head}\n[… the middle of {total:,} bytes left out …]\n{tail}", total, True)


def remove(log: Path) -> None:
    for path in pieces(log):
        path.unlink(missing_ok=True)


def lines(log: Path) -> list[str]:
    """All lines that are on disk."""
    raw = b"".join(path.read_bytes() for path in pieces(log))
    return clean(raw.decode("utf-8", "replace")).split("\n") if raw else []


def _whole(data: bytes) -> str:
    """Text of a window: a character that the window's edge cut through is left out."""
    while data and data[0] & 0xC0 == 0x80:
        data = data[1:]
    return data.decode("utf-8", "replace").rstrip("\N{REPLACEMENT CHARACTER}")
