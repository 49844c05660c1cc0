"""Which process holds an SQLite file locked, as Linux tells it. Elsewhere nobody knows.

The file itself must not be opened for that: closing it would take away the locks that this process has on it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_WAL_WRITE_LOCK = 120
"""The byte of the `-shm` file that the one writer locks (https://sqlite.org/walformat.html#locking)."""
_LOCKS = Path("/proc/locks")


@dataclass(frozen=True, slots=True)
class Holder:
    pid: int
    command: str

    def __str__(self) -> str:
        return f"pid {self.pid}: {self.command}" if self.command else f"pid {self.pid}"


def holder_of(file: Path) -> Holder | None:
    """Who writes to it now, or has it for itself alone; None where nobody does, or it cannot be told."""
    with suppress(OSError, ValueError, IndexError):
        log, whole = _inode(file.with_name(f"{file.name}-shm")), _inode(file)
        for line in _LOCKS.read_text("ascii").splitlines():
            fields = line.split()
            if fields[1] == "->" or fields[3] != "WRITE" or not int(fields[4]) > 0:
                continue
            inode, first, last = int(fields[5].rpartition(":")[2]), int(fields[6]), fields[7]
            is_log = inode == log and first <= _WAL_WRITE_LOCK <= (int(last) if last != "EOF" else first)
            if is_log or inode == whole:
                return Holder(int(fields[4]), _command(int(fields[4])))
    return None


def _inode(file: Path) -> int | None:
    with suppress(OSError):
        return file.stat().st_ino
    return None


def _command(pid: int) -> str:
    """The program's name, and which command of hermes it is: other words may be secrets."""
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        names = [Path(word).name for word in words]
        if "hermes" in names:
            at = names.index("hermes")
            return " ".join(["hermes", *(word for word in words[at + 1 : at + 3] if word.isalpha())])
        return names[0]
    return ""
