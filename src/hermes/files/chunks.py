"""Bytes in a database that nodes share: any of them gives any file.

What comes is gathered in a file without a name, so that a killed process leaves nothing, and goes into the database in
one transaction with its record. What is asked for is copied into such a file first: nobody's slow connection holds one
of the database's, and memory stays flat whatever a file has.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from hermes.core.file import File
from hermes.files.kinds import Kind, kind_of
from hermes.files.storage import Check, told_as_unavailable
from hermes.home.files import make_private_directory
from hermes.store import file_chunks as chunk_store
from hermes.store import files as file_store
from hermes.store import turns
from hermes.store.database import Connection, Database
from hermes.store.file_chunks import CHUNK_BYTES

AT_ONCE = 2
"""Files on their way into or out of the database. Each holds one of the node's few connections meanwhile."""


class Chunks:
    """`storage.Storage` for a shared database. `directory` takes what is under way."""

    def __init__(self, database: Database, directory: Path) -> None:
        self._database = database
        self._directory = directory
        self._free = asyncio.Semaphore(AT_ONCE)

    def begin(self, file_id: str) -> _Arriving:
        return _Arriving(self._database, self._directory, self._free)

    async def open(self, record: File, start: int, end: int) -> BinaryIO | None:
        numbers = range(start // CHUNK_BYTES, -(-end // CHUNK_BYTES))
        file = await asyncio.to_thread(_nameless, self._directory)
        try:
            async with self._free:
                is_whole = await self._database.read(_copy_out, record.id, numbers, file, self._directory)
        except BaseException:
            file.close()
            raise
        if not is_whole:
            file.close()
            return None
        file.seek(start - numbers.start * CHUNK_BYTES)
        return file

    async def remove(self, ids: Sequence[str]) -> None:
        """They went with their records."""

    async def sweep(self, arriving: Collection[str]) -> int:
        """Nothing is left behind here. What lies in files/ from a time when the bytes of these records were kept there
        (before this version; in the home that was moved here) is taken in; the files stay where they are."""
        for file_id, size in (await self._database.read(chunk_store.records_without)).items():
            path = self._directory / file_id
            if not path.is_symlink() and path.is_file() and path.stat().st_size == size:
                with told_as_unavailable(path, "read"), path.open("rb") as file:
                    await self._database.write(_take_in, file_id, file)
        return 0


class _Arriving:
    def __init__(self, database: Database, directory: Path, free: asyncio.Semaphore) -> None:
        self._database = database
        self._directory = directory
        self._free = free
        self._file: BinaryIO | None = None

    def append(self, data: bytes | bytearray) -> None:
        with told_as_unavailable(self._directory):
            if self._file is None:
                self._file = _nameless(self._directory)
            self._file.write(data)

    def finish(self) -> Kind:
        assert self._file is not None
        with told_as_unavailable(self._directory):
            self._file.flush()
            return kind_of(self._file)

    async def keep(self, record: File, check: Check) -> None:
        file = self._file
        assert file is not None

        def keep(conn: Connection) -> None:
            file_store.insert(conn, record)
            _copy_in(conn, record.id, file)
            check(conn)  # last: it has others of the owner wait

        async with self._free:
            await self._database.write(keep, durable=True)

    def drop(self) -> None:
        if self._file is not None:
            self._file.close()


def _nameless(directory: Path) -> BinaryIO:
    with told_as_unavailable(directory):
        make_private_directory(directory)
        return tempfile.TemporaryFile(dir=directory)


def _copy_in(conn: Connection, file_id: str, file: BinaryIO) -> None:
    for n, data in enumerate(_pieces(file)):
        chunk_store.add(conn, file_id, n, data)


def _take_in(conn: Connection, file_id: str, file: BinaryIO) -> None:
    """Unless another node did, or the record is gone."""
    turns.wait_for(conn, "file", file_id)
    if file_id in chunk_store.records_without(conn):
        _copy_in(conn, file_id, file)


def _copy_out(conn: Connection, file_id: str, numbers: range, file: BinaryIO, directory: Path) -> bool:
    """From the beginning, however often it is called. False: not all of it is there."""
    with told_as_unavailable(directory):
        file.seek(0)
        file.truncate()
        for n in numbers:
            data = chunk_store.get(conn, file_id, n)
            if data is None:
                return False
            file.write(data)
        file.flush()
    return True


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    while data := file.read(CHUNK_BYTES):
        yield data
