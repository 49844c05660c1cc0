"""Records of uploaded files.

Every function runs inside `Database.write` or `Database.read` and commits with it. A file whose time is over is not
there any more, whether or not somebody has cleaned up yet.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam

from hermes.core.file import File

from . import schema
from .encoding import clean
from .statement import Row, Statement

LEAST_COUNTED_BYTES = 4096
"""What a smaller file counts as: its record and its place on the disk cost something, too."""

Order = Literal["asc", "desc"]


def insert(conn: Connection, file: File) -> None:
    values = {name: getattr(file, name) for name in _NAMES}
    _INSERT.run(conn, values | {"filename": clean(file.filename)})


def get(conn: Connection, file_id: str, owner: str, now: float) -> File | None:
    """None for someone else's, as for an unknown one."""
    row = _GET.first(conn, {"file": file_id, "owner": owner, "now": now})
    return None if row is None else _file(row)


def list_files(
    conn: Connection,
    owner: str,
    now: float,
    *,
    limit: int,
    order: Order = "desc",
    after: File | None = None,
    purpose: str | None = None,
) -> list[File]:
    """By time of upload. `after` is the last one seen."""
    values: dict[str, Any] = {"owner": owner, "now": now, "limit": limit}
    if after is not None:
        values["after_time"], values["after_id"] = after.created_at, after.id
    if purpose is not None:
        values["purpose"] = purpose
    return [_file(row) for row in _list(order, after is not None, purpose is not None).all(conn, values)]


def counted(size: int) -> int:
    """What a file of so many bytes counts as."""
    return max(size, LEAST_COUNTED_BYTES)


def total_bytes(conn: Connection, owner: str) -> int:
    """What counts against the owner's allowance."""
    row = _TOTAL.first(conn, {"owner": owner})
    return int(row[0]) if row is not None else 0


def delete(conn: Connection, file_id: str, owner: str, now: float) -> bool:
    """False when the owner has no such file."""
    return _DELETE.run(conn, {"file": file_id, "owner": owner, "now": now}) > 0


def delete_expired(conn: Connection, now: float) -> list[str]:
    """The ids of those that are gone now: their bytes may go, too."""
    ids = [row[0] for row in _EXPIRED.all(conn, {"now": now})]
    if ids:
        _DELETE_EXPIRED.run(conn, {"now": now})
    return ids


def all_ids(conn: Connection) -> set[str]:
    return {row[0] for row in _IDS.all(conn, {})}


_FILES = schema.files
_NAMES = tuple(column.name for column in _FILES.columns)


def _file(row: Row) -> File:
    return File(**dict(zip(_NAMES, row, strict=True)))


_IS_THERE = sa.or_(_FILES.c.expires_at.is_(None), _FILES.c.expires_at > bindparam("now"))
_IS_IT = sa.and_(_FILES.c.id == bindparam("file"), _FILES.c.owner == bindparam("owner"), _IS_THERE)
_COUNTED = sa.case((_FILES.c.bytes < LEAST_COUNTED_BYTES, LEAST_COUNTED_BYTES), else_=_FILES.c.bytes)

_INSERT = Statement(sa.insert(_FILES).values({name: bindparam(name) for name in _NAMES}))
_GET = Statement(sa.select(*_FILES.columns).where(_IS_IT))
_DELETE = Statement(sa.delete(_FILES).where(_IS_IT))
_TOTAL = Statement(sa.select(sa.func.coalesce(sa.func.sum(_COUNTED), 0)).where(_FILES.c.owner == bindparam("owner")))
_EXPIRED = Statement(sa.select(_FILES.c.id).where(_FILES.c.expires_at <= bindparam("now")))
_DELETE_EXPIRED = Statement(sa.delete(_FILES).where(_FILES.c.expires_at <= bindparam("now")))
_IDS = Statement(sa.select(_FILES.c.id))


@cache
def _list(order: Order, after_one: bool, by_purpose: bool) -> Statement:
    query = sa.select(*_FILES.columns).where(_FILES.c.owner == bindparam("owner"), _IS_THERE)
    if by_purpose:
        query = query.where(_FILES.c.purpose == bindparam("purpose"))
    place = sa.tuple_(_FILES.c.created_at, _FILES.c.id)
    if after_one:
        last = sa.tuple_(bindparam("after_time"), bindparam("after_id"))
        query = query.where(place > last if order == "asc" else place < last)
    columns = (_FILES.c.created_at, _FILES.c.id)
    ordered = [column.asc() if order == "asc" else column.desc() for column in columns]
    return Statement(query.order_by(*ordered).limit(bindparam("limit")))
