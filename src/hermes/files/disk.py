"""Bytes in a home's files/, each file under its id alone.

Bytes are whole on disk before the record says that they are there, and the record is gone before the bytes go: after
a crash at any moment, every listed file is whole (docs/adr/0079). What such a crash leaves behind is swept at a start.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import BinaryIO

from hermes.core.file import FILE_ID, File
from hermes.files.kinds import Kind, kind_of
from hermes.files.storage import Check, told_as_unavailable
from hermes.home.files import make_private_directory, open_private, sync_directory
from hermes.store import files as file_store
from hermes.store.database import Connection, Database

_PART = ".part"


class Disk:
    """`storage.Storage` for a database that one home has for itself."""

    def __init__(self, database: Database, directory: Path) -> None:
        self._database = database
        self._directory = directory

    def begin(self, file_id: str) -> _Arriving:
        return _Arriving(self._database, self._directory / file_id)

    async def open(self, record: File, start: int, end: int) -> BinaryIO | None:
        path = self._directory / record.id
        with told_as_unavailable(path, "read"):  # a link in its place, a right taken away
            return await asyncio.to_thread(_open, path, start)

    async def remove(self, ids: Sequence[str]) -> None:
        await asyncio.to_thread(_unlink, self._directory, ids)

    async def sweep(self, arriving: Collection[str]) -> int:
        """Call it at the start of the one process that serves this home."""
        if not self._directory.is_dir():
            return 0
        with told_as_unavailable(self._directory):
            found = await asyncio.to_thread(os.listdir, self._directory)
        known = await self._database.read(file_store.all_ids)
        orphans = [
            name
            for name in found
            if FILE_ID.fullmatch(name.removesuffix(_PART))
            and name not in known
            and name.removesuffix(_PART) not in arriving
        ]
        await asyncio.to_thread(_unlink, self._directory, orphans)
        return len(orphans)


class _Arriving:
    def __init__(self, database: Database, path: Path) -> None:
        self._database = database
        self._path = path
        self._part = path.with_name(f"{path.name}{_PART}")
        self._file: BinaryIO | None = None

    def append(self, data: bytes | bytearray) -> None:
        with told_as_unavailable(self._part.parent):
            if self._file is None:
                make_private_directory(self._part.parent)
                self._file = open(self._part, "xb", opener=open_private)  # noqa: SIM115 closed by finish or drop
            self._file.write(data)

    def finish(self) -> Kind:
        """On disk, whole, under its own name."""
        assert self._file is not None
        with told_as_unavailable(self._part.parent):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            with self._part.open("rb") as file:
                kind = kind_of(file)
            self._part.rename(self._path)
            sync_directory(self._path.parent)
        return kind

    async def keep(self, record: File, check: Check) -> None:
        def keep(conn: Connection) -> None:
            file_store.insert(conn, record)
            check(conn)

        try:
            await self._database.write(keep, durable=True)
        except Exception:  # when only the waiting is cancelled the record is kept, and its bytes must be there
            await asyncio.to_thread(self._path.unlink, missing_ok=True)
            raise

    def drop(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk, told already
                self._file.close()
            self._part.unlink(missing_ok=True)


def _open(path: Path, start: int) -> BinaryIO | None:
    """A link in its place is not followed."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        file = os.fdopen(os.open(path, flags), "rb")
    except FileNotFoundError:
        return None
    file.seek(start)
    return file


def _unlink(directory: Path, names: Sequence[str]) -> None:
    with told_as_unavailable(directory):
        for name in names:
            (directory / name).unlink(missing_ok=True)
