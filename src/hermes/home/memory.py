"""What the agent remembers, in `memories/` of a home: MEMORY.md (its notes) and USER.md (who it works for).

A file is text, in entries that lines of a single `§` part. People edit it by hand, the agent and Link with `change`.
Whoever writes holds the home's lock for files and replaces the file whole. What cannot be read as such a file is never
written over: the error says why, and the text stays.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hermes.core.errors import InvalidInput
from hermes.core.injection import suspicion
from hermes.core.key import OWNER
from hermes.home.backups import forget_backups, write_with_backup
from hermes.home.files import make_private_directory
from hermes.home.locks import edit_lock
from hermes.home.settings import Settings

SEPARATOR = "§"
VISITORS = "visitors"
MOST_BYTES = 1 << 20
PREVIEW_CHARACTERS = 80
PREVIEWS = 8

_JOINED = f"\n{SEPARATOR}\n"
_PARTING = re.compile(rf"^[ \t\ufeff]*{SEPARATOR}[ \t\ufeff]*$", re.MULTILINE)
_AROUND = " \t\n\ufeff"  # editors leave a byte order mark at the start


class Target(StrEnum):
    MEMORY = "memory"
    USER = "user"

    @property
    def file_name(self) -> str:
        return f"{self.upper()}.md"


@dataclass(frozen=True, slots=True)
class MemoryLimits:
    """Characters of each file, separators counted. Zero: the file is switched off."""

    memory: int = 2_200
    user: int = 1_375

    def of(self, target: Target) -> int:
        return self.memory if target is Target.MEMORY else self.user


def memory_limits(settings: Settings) -> MemoryLimits:
    memory = settings.memory
    return MemoryLimits(
        memory.memory_char_limit if memory.memory_enabled else 0,
        memory.user_char_limit if memory.user_profile_enabled else 0,
    )


@dataclass(frozen=True, slots=True)
class Change:
    """`action` is add, replace or remove. `old_text` is a part of the one entry that is meant."""

    action: str
    content: str = ""
    old_text: str = ""


@dataclass(frozen=True, slots=True)
class Memory:
    """One file as it is now. `problem`: why it cannot be changed, empty for one that can."""

    target: Target
    path: Path
    limit: int
    entries: tuple[str, ...] = ()
    updated_at: float | None = None
    problem: str = ""

    @property
    def characters(self) -> int:
        return len(_JOINED.join(self.entries))

    @property
    def percent(self) -> int:
        return round(100 * self.characters / self.limit) if self.limit else 0

    @property
    def usage(self) -> str:
        """`12%, 264/2,200 characters`"""
        return f"{self.percent}%, {self.characters:,}/{self.limit:,} characters"


class Memories:
    """The two files of the owner or, with `of`, of somebody else. Blocking: a look at the disk each time.

    Errors are `InvalidInput` with one of Link's codes (memory_…), in words that a model can act on too.
    """

    def __init__(self, directory: Path, limits: MemoryLimits | None = None, *, root: Path | None = None) -> None:
        self.directory = directory
        self.limits = limits or MemoryLimits()
        self._root = root or directory

    def of(self, owner: str, session_key: str | None) -> Memories:
        """The memory of a key's owner, or of a visitor whom a session key names. Only the machine's owner without a
        session key has the files in `memories/` itself; all others have a directory named by a hash, so that no name
        is a path.
        """
        if owner == OWNER and session_key is None:
            return Memories(self._root, self.limits, root=self._root)
        whose = owner if session_key is None else f"{owner}\0{session_key}"
        name = hashlib.sha256(whose.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return Memories(self._root / VISITORS / name, self.limits, root=self._root)

    def path(self, target: Target) -> Path:
        return self.directory / target.file_name

    @property
    def stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Differs when one of the files was changed."""
        return tuple(_stamp(self.path(target)) for target in Target)

    def read(self, target: Target) -> Memory:
        path, limit = self.path(target), self.limits.of(target)
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                return Memory(target, path, limit, problem=f"{path} is no ordinary file")
            with path.open("rb") as file:
                data = file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            return Memory(target, path, limit)
        except OSError as error:
            return Memory(target, path, limit, problem=f"{path} cannot be read: {error.strerror or error}")
        problem = ""
        if len(data) > MOST_BYTES:
            problem = f"{path} is larger than {MOST_BYTES >> 20} MiB; shorten it by hand"
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = data.decode("utf-8", "replace")
            problem = problem or f"{path} is not UTF-8 text; save it as UTF-8"
        if "\0" in text:
            problem = problem or f"{path} holds NUL bytes; save it as UTF-8 text"
        return Memory(target, path, limit, parse(text), found.st_mtime, problem)

    def change(self, target: Target, changes: Sequence[Change]) -> Memory:
        """All of them or none; the limit is looked at when all are done. Gives the file as it is then."""
        with edit_lock(self._root):
            before = self._writable(target)
            entries = list(before.entries)
            for number, change in enumerate(changes, 1):
                try:
                    _apply(change, entries, before.path.name)
                except InvalidInput as error:
                    if len(changes) == 1:
                        raise
                    nothing = f"operation {number} of {len(changes)}: {error.message} Nothing was changed."
                    raise InvalidInput(nothing, code=error.code, param=f"operations[{number - 1}]") from error
            return self._write(before, entries)

    def replace_text(self, target: Target, text: str, *, instead_of: tuple[str, ...]) -> Memory:
        """What a person wrote, limit or not. Raises InvalidInput `memory_changed` when the file no longer holds
        `instead_of`."""
        with edit_lock(self._root):
            before = self._writable(target)
            if before.entries != instead_of:
                raise InvalidInput(f"{before.path} was changed meanwhile; nothing was written", code="memory_changed")
            return self._put(target, parse(text))

    def reset(self, target: Target) -> bool:
        """Forget all of it, whatever the file is, with its backups. False when there was nothing."""
        with edit_lock(self._root):
            path = self.path(target)
            forget_backups(self._root.parent, path)
            there = path.exists() or path.is_symlink()
            path.unlink(missing_ok=True)
            return there

    def _writable(self, target: Target) -> Memory:
        found = self.read(target)
        if found.problem:
            raise InvalidInput(f"Nothing was changed: {found.problem}.", code="memory_unreadable")
        if not found.limit:
            raise InvalidInput(f"{target.file_name} is switched off in the settings (memory).", code="memory_off")
        return found

    def _write(self, before: Memory, entries: Sequence[str]) -> Memory:
        count = len(_JOINED.join(entries))
        if count > before.limit and count > before.characters:
            raise InvalidInput(
                f"{before.path.name} would have {count:,} characters; the limit is {before.limit:,} and it has "
                f"{before.characters:,}. Shorten or remove entries in the same call (operations). "
                f"{previews(before.entries)}",
                code="memory_limit_exceeded",
            )
        if tuple(entries) == before.entries:
            return before
        return self._put(before.target, entries)

    def _put(self, target: Target, entries: Sequence[str]) -> Memory:
        make_private_directory(self.directory)
        write_with_backup(self._root.parent, self.path(target), render(entries))
        return self.read(target)


def parse(text: str) -> tuple[str, ...]:
    """Any line ends; empty entries are none. Text without separators is one entry."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    parts = (part.strip(_AROUND) for part in _PARTING.split(lines))
    return tuple(part for part in parts if part)


def render(entries: Sequence[str]) -> str:
    return _JOINED.join(entries) + "\n" if entries else ""


def previews(entries: Sequence[str]) -> str:
    """The beginnings of entries, for whoever has to name one."""
    if not entries:
        return "It has no entries."
    shown = "; ".join(f"“{_preview(entry)}”" for entry in entries[:PREVIEWS])
    more = f"; and {len(entries) - PREVIEWS} more" if len(entries) > PREVIEWS else ""
    return f"Entries: {shown}{more}."


def _preview(entry: str) -> str:
    line = " ".join(entry.split())
    return line if len(line) <= PREVIEW_CHARACTERS else f"{line[: PREVIEW_CHARACTERS - 1]}…"


def _apply(change: Change, entries: list[str], name: str) -> None:
    match change.action:
        case "add":
            content = _content(change)
            if content not in entries:  # said again, it is known already
                entries.append(content)
        case "replace":
            content, place = _content(change), _place(change.old_text, entries, name)
            entries[place] = content
            if entries.count(content) > 1:
                del entries[place]
        case "remove":
            del entries[_place(change.old_text, entries, name)]
        case action:
            raise InvalidInput(f"action is add, replace or remove, not {action[:40]!r}.", param="action")


def _content(change: Change) -> str:
    """What may be kept: in every later prompt it stands where the model believes it."""
    parts = parse(change.content)
    if not parts:
        raise InvalidInput(f"{change.action} needs content.", code="memory_content_required", param="content")
    reason = suspicion(change.content.replace("\r", "\n"))
    if reason is not None:
        raise InvalidInput(
            f"Not kept: it {reason}. Memory holds facts, no orders; say what is true in plain words, or leave it out.",
            code="memory_content_refused",
            param="content",
        )
    if len(parts) > 1 or SEPARATOR in (line.strip() for line in change.content.splitlines()):
        raise InvalidInput(
            f"A line of a single {SEPARATOR} parts entries; add each with an operation of its own.",
            code="memory_content_refused",
            param="content",
        )
    return parts[0]


def _place(old_text: str, entries: Sequence[str], name: str) -> int:
    wanted = old_text.replace("\r\n", "\n").strip(_AROUND)
    if not wanted:
        raise InvalidInput(
            "old_text is missing: a part of the entry that is meant.", code="memory_match_required", param="old_text"
        )
    found = [place for place, entry in enumerate(entries) if wanted in entry]
    whole = [place for place in found if entries[place] == wanted]
    if whole or len({entries[place] for place in found}) == 1:  # of the same text twice, either
        return (whole or found)[0]
    if not found:
        raise InvalidInput(
            f"No entry of {name} holds “{_preview(wanted)}”. {previews(entries)}",
            code="memory_entry_not_found",
            param="old_text",
        )
    raise InvalidInput(
        f"{len(found)} entries of {name} hold “{_preview(wanted)}”; give a part that only one has. "
        f"{previews([entries[place] for place in found])}",
        code="memory_entry_ambiguous",
        param="old_text",
    )


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
