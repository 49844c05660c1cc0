"""The bytes of uploaded files where the database is shared: numbered pieces of one size, gone with their record."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam

from .schema import file_chunks, files
from .statement import Statement

CHUNK_BYTES = 256 * 1024
"""Of every piece but a file's last. Kept data hangs on it."""


def add(conn: Connection, file_id: str, n: int, data: bytes) -> None:
    """Call it in the write that keeps the record, behind that."""
    _ADD.run(conn, {"file_id": file_id, "n": n, "data": data})


def get(conn: Connection, file_id: str, n: int) -> bytes | None:
    row = _GET.first(conn, {"file": file_id, "number": n})
    return None if row is None else bytes(row[0])


def records_with(conn: Connection) -> dict[str, int]:
    """Ids of the files whose bytes are here, and how many each has."""
    return {row[0]: row[1] for row in _WITH.all(conn, {})}


def remove_all(conn: Connection) -> None:
    """They lie elsewhere now."""
    _REMOVE_ALL.run(conn, {})


def records_without(conn: Connection) -> dict[str, int]:
    """Ids of the files whose bytes are not here, and how many each should have."""
    return {row[0]: row[1] for row in _WITHOUT.all(conn, {})}


_C = file_chunks.c
_ADD = Statement(sa.insert(file_chunks).values({name: bindparam(name) for name in ("file_id", "n", "data")}))
_GET = Statement(sa.select(_C.data).where(_C.file_id == bindparam("file"), _C.n == bindparam("number")))
_WITHOUT = Statement(sa.select(files.c.id, files.c.bytes).where(~sa.exists().where(_C.file_id == files.c.id)))
_WITH = Statement(
    sa.select(files.c.id, files.c.bytes).where(sa.exists().where(_C.file_id == files.c.id)).order_by(files.c.id)
)
_REMOVE_ALL = Statement(sa.delete(file_chunks))
