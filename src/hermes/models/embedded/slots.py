"""The evaluated prefix, kept as a file: evaluating 1,200 tokens takes 15 s, reading the file back some milliseconds.

llama.cpp aborts the process on a slot file that is cut short. So a file's name holds the SHA-256 of what it must
contain, and nothing is given to the server that was not read and compared before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

KEPT_FILES = 6
"""35 MB each: one for each set of tools that was offered lately."""


def slot_key(tokens: Sequence[int], *what_it_depends_on: str) -> str:
    digest = hashlib.sha256("\0".join(what_it_depends_on).encode())
    digest.update(",".join(map(str, tokens)).encode())
    return digest.hexdigest()[:24]


def find(folder: Path, key: str) -> Path | None:
    """The kept file for the key, if it is whole. Wrong ones are removed. Blocks for some 30 ms."""
    for path in sorted(folder.glob(f"{key}-*.slot")):
        if path.stem.removeprefix(f"{key}-") == _digest(path):
            path.touch()
            return path
        path.unlink(missing_ok=True)
    return None


def keep(folder: Path, key: str, saved: Path) -> Path:
    """Give a file that the server has just saved its name, and let the least used ones go. Blocks."""
    path = folder / f"{key}-{_digest(saved)}.slot"
    saved.replace(path)
    by_age = sorted(folder.glob("*.slot"), key=lambda each: each.stat().st_mtime_ns, reverse=True)
    for old in by_age[KEPT_FILES:]:
        old.unlink(missing_ok=True)
    return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
