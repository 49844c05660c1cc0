"""What is true of a database as a whole: whose it is, and what all its nodes must have alike."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam

from .schema import facts
from .statement import InsertInto, Statement

PROFILE = "profile"
CALLBACK_SECRET = "callback_secret"  # noqa: S105 the name of a fact


def belongs_to(conn: Connection, name: str) -> str:
    """Whose profile's it is: `name`, unless another was here first."""
    return keep_first(conn, PROFILE, name)


def keep_first(conn: Connection, name: str, value: str) -> str:
    """The kept value: `value`, unless there was one already. Of several at once one wins, and all get its value."""
    _KEEP.run(conn, {"name": name, "value": value})
    kept = get(conn, name)
    assert kept is not None
    return kept


def get(conn: Connection, name: str) -> str | None:
    row = _GET.first(conn, {"name": name})
    return None if row is None else str(row[0])


def put(conn: Connection, name: str, value: str) -> None:
    """In the place of what was kept."""
    _PUT.run(conn, {"name": name, "value": value})


def _keep(insert: InsertInto) -> Any:
    return insert(facts).values(name=bindparam("name"), value=bindparam("value")).on_conflict_do_nothing()


def _put(insert: InsertInto) -> Any:
    row = insert(facts).values(name=bindparam("name"), value=bindparam("value"))
    return row.on_conflict_do_update(index_elements=["name"], set_={"value": row.excluded.value})


_KEEP = Statement(_keep)
_PUT = Statement(_put)
_GET = Statement(sa.select(facts.c.value).where(facts.c.name == bindparam("name")))
