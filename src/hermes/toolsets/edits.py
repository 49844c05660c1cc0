"""Replacing text in a file: found exactly, or, where that fails, with white space forgiven, and then said so."""

from __future__ import annotations

import codecs
import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hermes.core.errors import ToolFailed

SHOWN_MATCHES = 5
DIFF_CHARACTERS = 4_000


@dataclass(frozen=True, slots=True)
class Text:
    """A file's text with line feeds only, and what is needed to give its bytes back as they were."""

    text: str
    mark: bytes = b""
    line_end: str = "\n"

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> Text:
        """Raises ToolFailed for what is not UTF-8 text. Bytes that are not UTF-8 come back unchanged."""
        mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data:
            raise ToolFailed(f"{name} is binary or not UTF-8; patch cannot edit it. Use a program in the terminal.")
        text = data[len(mark) :].decode("utf-8", "surrogateescape")
        crlf = text.count("\r\n")
        if crlf and crlf == text.count("\n"):
            return cls(text.replace("\r\n", "\n"), mark, "\r\n")
        return cls(text, mark)

    def to_bytes(self, text: str) -> bytes:
        if self.line_end != "\n":
            text = text.replace("\r\n", "\n").replace("\n", self.line_end)
        return self.mark + text.encode("utf-8", "surrogateescape")

    def own(self, text: str) -> str:
        """Text from outside in this file's terms."""
        return text.replace("\r\n", "\n") if self.line_end != "\n" else text


@dataclass(frozen=True, slots=True)
class Replaced:
    """`note` says how the text was found when it was not found exactly."""

    text: str
    count: int
    note: str = ""


def replace(text: str, old: str, new: str, *, every: bool, name: str) -> Replaced:
    """Raises ToolFailed when `old` is not there, or more than once without `every`; the message shows where."""
    if not old:
        raise ToolFailed("old_string: is empty. To write a whole file use write_file.")
    if old == new:
        raise ToolFailed("old_string and new_string are the same; there is nothing to change.")
    starts = list(_exact(text, old))
    if starts:
        if len(starts) > 1 and not every:
            raise ToolFailed(_ambiguous(text, starts, name))
        return Replaced(text.replace(old, new), len(starts))
    return _replace_lines(text, old, new, every=every, name=name)


def diff(before: str, after: str, name: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), name, name, lineterm="", n=2)
    text = "\n".join(lines)
    return text if len(text) <= DIFF_CHARACTERS else text[:DIFF_CHARACTERS] + "\n[… the rest of the diff is left out]"


def find_lines(lines: Sequence[str], wanted: Sequence[str], start: int = 0) -> tuple[list[int], str]:
    """Where the wanted lines stand, from `start`, by the strictest of LENIENCIES that finds them; its name or ``."""
    for leniency, view in LENIENCIES.items():
        seen, sought = [view(line) for line in lines], [view(line) for line in wanted]
        found = [at for at in range(start, len(lines) - len(wanted) + 1) if seen[at : at + len(wanted)] == sought]
        if found:
            return found, leniency
    return [], ""


_QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "\u00a0": " "})

LENIENCIES: dict[str, Callable[[str], str]] = {
    "": lambda line: line,
    "white space at line ends": str.rstrip,
    "indentation": str.strip,
    "white space": lambda line: " ".join(line.split()),
    "typographic quotes, dashes and white space": lambda line: " ".join(line.translate(_QUOTES).split()),
}
"""What is forgiven when lines are looked for, strictest first."""


def _replace_lines(text: str, old: str, new: str, *, every: bool, name: str) -> Replaced:
    lines, wanted = text.split("\n"), old.strip("\n").split("\n")
    found, leniency = find_lines(lines, wanted) if old.strip() else ([], "")
    if not found:
        raise ToolFailed(_not_found(lines, wanted, name))
    if len(found) > 1 and not every:
        offsets = [sum(len(line) + 1 for line in lines[:at]) for at in found]
        raise ToolFailed(_ambiguous(text, offsets, name))
    for at in reversed(found):
        inserted = new.strip("\n").split("\n") if new.strip("\n") else []
        lines[at : at + len(wanted)] = _indented(inserted, wanted, lines[at : at + len(wanted)])
    how = f" by ignoring {leniency}" if leniency else " by ignoring blank lines around it"
    return Replaced("\n".join(lines), len(found), f"old_string was not there exactly; it was found{how}.")


def _indented(new: list[str], wanted: Sequence[str], there: Sequence[str]) -> list[str]:
    """The new lines, moved by as much as the lines that were found are indented otherwise than the wanted ones."""
    pairs = [(w, t) for w, t in zip(wanted, there, strict=True) if w.strip() and t.strip()]
    if not pairs:
        return new
    asked, real = (_indentation(line) for line in pairs[0])
    if asked == real:
        return new
    return [real + line[len(asked) :] if line.startswith(asked) and line.strip() else line for line in new]


def _indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _exact(text: str, old: str) -> Iterator[int]:
    at = text.find(old)
    while at >= 0:
        yield at
        at = text.find(old, at + len(old))


def _ambiguous(text: str, starts: Sequence[int], name: str) -> str:
    shown = []
    for start in starts[:SHOWN_MATCHES]:
        number = text.count("\n", 0, start) + 1
        shown.append(f"  line {number}: {_line_at(text, start).strip()[:120]}")
    if len(starts) > SHOWN_MATCHES:
        shown.append(f"  and {len(starts) - SHOWN_MATCHES} more")
    return (
        f"old_string stands {len(starts)} times in {name}; add lines around it until it is unique, "
        "or set replace_all:\n" + "\n".join(shown)
    )


def _line_at(text: str, start: int) -> str:
    begin = text.rfind("\n", 0, start) + 1
    end = text.find("\n", start)
    return text[begin : end if end >= 0 else len(text)]


def _not_found(lines: Sequence[str], wanted: Sequence[str], name: str) -> str:
    """The nearest lines, when there are some that look like it."""
    message = f"old_string is not in {name}. Read the file again: it may have changed."
    first = next((line.strip() for line in wanted if line.strip()), "")
    stripped = [line.strip() for line in lines[:20_000]]
    near = difflib.get_close_matches(first, stripped, n=1, cutoff=0.6) if first else []
    if not near:
        return message
    at = stripped.index(near[0])
    shown = lines[at : at + min(len(wanted) + 1, 10)]
    return f"{message} The nearest lines are:\n" + "\n".join(f"{at + i + 1}|{line}" for i, line in enumerate(shown))
