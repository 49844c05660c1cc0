"""The folder of attached files: each under the SHA-256 of its content, so that equal ones lie there once.

A file is whole on the disk before a row names it, and its last row is gone before it goes: after a crash at any moment
every row has its file, and what is left over is swept at the next start. All of it blocks.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from hermes.core.errors import StoreUnavailable
from hermes.home.disk import refusal
from hermes.home.files import make_private_directory, open_private, sync_directory
from hermeslink.blobs.sniffing import HEAD_BYTES, mime_of

_PART = ".part"
_OURS = re.compile(rf"[0-9a-f]{{64}}|[0-9a-f]{{32}}{re.escape(_PART)}")


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self) -> Arriving:
        return Arriving(self.path)

    def place(self, sha256: str) -> Path:
        return self.path / sha256

    def take(self, arrived: Arriving) -> None:
        """It is there from now on, under its content's name."""
        with told_as_unavailable(self.path):
            target = self.place(arrived.sha256)
            if target.is_file() and not target.is_symlink() and target.stat().st_size == arrived.size:
                return
            arrived.part.replace(target)
            sync_directory(self.path)

    def open(self, sha256: str) -> BinaryIO | None:
        """None where it is gone. A link in its place is not followed."""
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        with told_as_unavailable(self.path, "read"):
            try:
                return os.fdopen(os.open(self.place(sha256), flags), "rb")
            except FileNotFoundError:
                return None

    def remove(self, names: Iterable[str]) -> None:
        with told_as_unavailable(self.path):
            for name in names:
                (self.path / name).unlink(missing_ok=True)

    def names(self) -> list[str]:
        """What is ours in there; files of others are left alone."""
        if not self.path.is_dir():
            return []
        with told_as_unavailable(self.path, "read"):
            return [path.name for path in self.path.iterdir() if _OURS.fullmatch(path.name)]


class Arriving:
    """A file on its way in, counted and hashed as it comes."""

    def __init__(self, folder: Path) -> None:
        self.part = folder / f"{secrets.token_hex(16)}{_PART}"
        self.size = 0
        self.mime = ""
        self._digest = hashlib.sha256()
        self._file: BinaryIO | None = None

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def append(self, data: bytes | bytearray) -> None:
        with told_as_unavailable(self.part.parent):
            if self._file is None:
                make_private_directory(self.part.parent)
                self._file = open(self.part, "xb", opener=open_private)  # noqa: SIM115 closed by finish or drop
            self._file.write(data)
        self.size += len(data)
        self._digest.update(data)

    def finish(self) -> None:
        """On the disk, whole; `size`, `sha256` and `mime` hold."""
        assert self._file is not None
        with told_as_unavailable(self.part.parent):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            with self.part.open("rb") as file:
                self.mime = mime_of(file.read(HEAD_BYTES))

    def drop(self) -> None:
        """Lets go of what did not get its name."""
        if self._file is not None:
            with suppress(OSError):  # a full disk, told already
                self._file.close()
            self.part.unlink(missing_ok=True)


@contextmanager
def told_as_unavailable(place: Path, verb: str = "change") -> Iterator[None]:
    """What the disk refuses, as StoreUnavailable."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"cannot {verb} {place}: {refusal(error, place)}") from error
