"""A patch of several files as text: the `*** Begin Patch` format and unified diffs, read into one form and applied.

*** Begin Patch
*** Update File: src/app.py        *** Add File: PATH        *** Delete File: PATH
*** Move to: src/main.py           (after Update File, where the file is renamed)
@@ def greet():                    (a line to look after; may be left out)
 a line that stays
-a line that goes
+a line that comes
*** End Patch
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from hermes.core.errors import ToolFailed
from hermes.toolsets.edits import find_lines


@dataclass(slots=True)
class Hunk:
    """`rows` are (" ", "-" or "+", text). `after` is a line to look for first; `line` where a unified diff says."""

    after: tuple[str, ...] = ()
    line: int | None = None
    rows: list[tuple[str, str]] = field(default_factory=list)
    at_end: bool = False

    @property
    def before(self) -> list[str]:
        return [text for kind, text in self.rows if kind != "+"]

    @property
    def result(self) -> list[str]:
        return [text for kind, text in self.rows if kind != "-"]


@dataclass(slots=True)
class FileChange:
    kind: Literal["add", "update", "delete"]
    path: str
    new_path: str | None = None
    hunks: list[Hunk] = field(default_factory=list)

    @property
    def content(self) -> str:
        """The text of an added file."""
        lines = [text for hunk in self.hunks for kind, text in hunk.rows if kind == "+"]
        return "\n".join(lines) + "\n" if lines else ""


_HEADER = re.compile(r"\*\*\* (Add|Update|Delete) File: (.+)")
_UNIFIED = re.compile(r"@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@")


def parse_patch(text: str) -> list[FileChange]:
    """Raises ValueError with the line that cannot be read."""
    lines = text.replace("\r\n", "\n").strip("\n").split("\n")
    if lines and re.fullmatch(r"```\w*", lines[0].strip()) and lines[-1].strip() == "```":
        lines = lines[1:-1]
    if any(_HEADER.match(line) for line in lines):
        changes = _parse_begin_patch(lines)
    elif any(line.startswith("--- ") for line in lines):
        changes = _parse_unified(lines)
    else:
        raise ValueError(
            "no file in it: start with '*** Begin Patch' and '*** Update File: PATH', or give a unified diff"
        )
    for change in changes:
        if change.kind == "update" and not change.hunks and change.new_path is None:
            raise ValueError(f"nothing to change in {change.path}")
    return changes


def apply(change: FileChange, text: str) -> tuple[str, list[str]]:
    """The file's new text, and what was forgiven. Raises ToolFailed for a hunk that is not in the file."""
    ends_with_newline = text.endswith("\n") or not text
    lines = text.removesuffix("\n").split("\n") if text else []
    position = 0
    moved = 0
    notes: list[str] = []
    for number, hunk in enumerate(change.hunks, 1):
        start = _after(lines, hunk, position, change.path)
        at, leniency = _find(lines, hunk, start, moved)
        if at is None:
            wanted = "\n".join(hunk.before[:10])
            raise ToolFailed(f"Hunk {number} does not fit {change.path}; these lines are not there in order:\n{wanted}")
        if leniency:
            notes.append(f"{change.path}: hunk {number} was found by ignoring {leniency}")
        before = hunk.before
        lines[at : at + len(before)] = _keep_context(hunk, lines[at : at + len(before)])
        position = at + len(hunk.result)
        moved += len(hunk.result) - len(before)
    joined = "\n".join(lines)
    return (joined + "\n" if lines and ends_with_newline else joined), notes


def _keep_context(hunk: Hunk, there: Sequence[str]) -> list[str]:
    """The hunk's new lines; a line that stays keeps the file's own white space."""
    result, at = [], 0
    for kind, text in hunk.rows:
        if kind == "+":
            result.append(text)
            continue
        if kind == " ":
            result.append(there[at])
        at += 1
    return result


def _after(lines: Sequence[str], hunk: Hunk, position: int, path: str) -> int:
    for anchor in hunk.after:
        found, _ = find_lines(lines, [anchor], position)
        if not found:
            found, _ = find_lines(lines, [anchor])
        if not found:
            raise ToolFailed(f"The line after @@ is not in {path}: {anchor}")
        position = found[0]
    return position


def _find(lines: Sequence[str], hunk: Hunk, start: int, moved: int) -> tuple[int | None, str]:
    before = hunk.before
    if not before:
        if hunk.line is not None:
            return min(max(hunk.line + moved, 0), len(lines)), ""
        return (min(start + 1, len(lines)) if hunk.after else len(lines)), ""
    for begin in (start, 0):
        found, leniency = find_lines(lines, before, begin)
        if found:
            if hunk.at_end:
                return found[-1], leniency
            near = (hunk.line or 1) - 1 + moved if hunk.line is not None else begin
            return min(found, key=lambda at: abs(at - near)), leniency
    return None, ""


def _parse_begin_patch(lines: Sequence[str]) -> list[FileChange]:
    changes: list[FileChange] = []
    hunk: Hunk | None = None
    for number, line in enumerate(lines, 1):
        header = _HEADER.match(line)
        if header:
            kind: Literal["add", "update", "delete"] = {"Add": "add", "Update": "update", "Delete": "delete"}[header[1]]  # type: ignore[assignment]
            changes.append(FileChange(kind, header[2].strip()))
            hunk = None
        elif line.strip() in ("*** Begin Patch", "*** End Patch") or (not changes and not line.strip()):
            continue
        elif not changes:
            raise ValueError(f"line {number}: expected '*** Update File: PATH' before {line[:80]!r}")
        elif line.startswith("*** Move to: "):
            changes[-1].new_path = line.removeprefix("*** Move to: ").strip()
        elif line.strip() == "*** End of File":
            if hunk is not None:
                hunk.at_end = True
        elif changes[-1].kind == "delete":
            if line.strip():
                raise ValueError(f"line {number}: a deleted file has no lines: {line[:80]!r}")
        elif line.startswith("@@"):
            anchor = line[2:].strip().removesuffix("@@").strip()
            unified = _UNIFIED.match(line)
            if unified:
                hunk = Hunk(line=int(unified[1]))
            elif hunk is not None and not hunk.rows and anchor:
                hunk.after = (*hunk.after, anchor)
                continue
            else:
                hunk = Hunk((anchor,) if anchor else ())
            changes[-1].hunks.append(hunk)
        else:
            if hunk is None:
                hunk = Hunk()
                changes[-1].hunks.append(hunk)
            hunk.rows.append(_row(line, number, is_new=changes[-1].kind == "add"))
    return changes


def _row(line: str, number: int, *, is_new: bool = False) -> tuple[str, str]:
    if not line:
        return ("+" if is_new else " "), ""
    if line[0] in " -+" and not (is_new and line[0] != "+"):
        return line[0], line[1:]
    raise ValueError(f"line {number}: must begin with '+'{'' if is_new else ', - or a space'}: {line[:80]!r}")


def _parse_unified(lines: Sequence[str]) -> list[FileChange]:
    changes: list[FileChange] = []
    hunk: Hunk | None = None
    old: str | None = None
    for number, line in enumerate(lines, 1):
        following = lines[number] if number < len(lines) else ""
        if line.startswith("--- ") and following.startswith("+++ "):
            old, hunk = _file_name(line[4:]), None
        elif line.startswith("+++ ") and hunk is None and old is not None:
            new = _file_name(line[4:])
            if old == "/dev/null":
                changes.append(FileChange("add", new))
            elif new == "/dev/null":
                changes.append(FileChange("delete", old))
            else:
                changes.append(FileChange("update", old, None if new == old else new))
        elif line.startswith("@@"):
            unified = _UNIFIED.match(line)
            if not changes:
                raise ValueError(f"line {number}: a hunk before '--- PATH' and '+++ PATH'")
            hunk = Hunk(line=int(unified[1]) if unified else None)
            changes[-1].hunks.append(hunk)
        elif line.startswith("\\") or re.match(
            r"(?:diff --git|index|(?:old|new|deleted|new file) (?:file )?mode|similarity|rename) ", line
        ):
            if line.startswith("diff --git"):
                hunk = None
        elif hunk is not None:
            hunk.rows.append(_row(line, number))
    return changes


def _file_name(text: str) -> str:
    name = text.split("\t")[0].strip()
    return name[2:] if name.startswith(("a/", "b/")) else name
