"""Bytes of uploaded files on their way between a home's files/ and the database, as the database moves or is copied."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from hermes.core.file import FILE_ID
from hermes.files.storage import told_as_unavailable
from hermes.home.files import link_or_copy, make_private_directory, open_private, sync_directory
from hermes.store import file_chunks
from hermes.store.database import Connection
from hermes.store.file_chunks import CHUNK_BYTES


def gather(conn: Connection, directory: Path) -> list[str]:
    """Takes the bytes in files/ into the database, for every record whose bytes are not there. The ids of those that
    have none in either place: they were taken out of the home by hand."""
    missing = []
    for file_id, size in file_chunks.records_without(conn).items():
        path = directory / file_id
        if size == 0:
            continue
        if FILE_ID.fullmatch(file_id) is None or path.is_symlink() or not path.is_file() or path.stat().st_size != size:
            missing.append(file_id)
            continue
        with told_as_unavailable(path, "read"), path.open("rb") as file:
            for n, data in enumerate(iter(lambda: file.read(CHUNK_BYTES), b"")):
                file_chunks.add(conn, file_id, n, data)
    return missing


def spread(conn: Connection, directory: Path) -> int:
    """Writes the bytes in the database into files/, and takes them out of it. Returns how many files were written; one
    that is there with all its bytes stays. Each is whole on the disk before the next begins."""
    written = 0
    for file_id, size in file_chunks.records_with(conn).items():
        path = directory / file_id
        if FILE_ID.fullmatch(file_id) is None or (path.exists() and path.stat().st_size == size):
            continue
        with told_as_unavailable(path, "write"):
            make_private_directory(directory)
            _write(conn, file_id, path)
        written += 1
    file_chunks.remove_all(conn)
    if written:
        with told_as_unavailable(directory):
            sync_directory(directory)
    return written


def keep_aside(directory: Path, known: Collection[str], aside: Path) -> int:
    """Files of an earlier database that no record of the new one names lie in `aside`, too: the next start sweeps them
    out of files/. Returns how many."""
    if not directory.is_dir():
        return 0
    left = [path.name for path in directory.iterdir() if FILE_ID.fullmatch(path.name) and path.name not in known]
    with told_as_unavailable(aside, "write"):
        for name in left:
            make_private_directory(aside)
            with suppress(FileExistsError):
                link_or_copy(directory / name, aside / name)
    return len(left)


def _write(conn: Connection, file_id: str, path: Path) -> None:
    part = path.with_name(f"{path.name}.part")  # what a crash leaves is swept at a start
    part.unlink(missing_ok=True)
    with open(part, "xb", opener=open_private) as file:
        n = 0
        while (data := file_chunks.get(conn, file_id, n)) is not None:
            file.write(data)
            n += 1
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
