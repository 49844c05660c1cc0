"""The list of things to do of a session, kept whole as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Executable, bindparam, select

from hermes.core.todo import Todo, TodoStatus

from .encoding import from_json, to_json
from .schema import session_todos
from .statement import InsertInto, Statement


def get(conn: Connection, session_id: str) -> tuple[Todo, ...]:
    row = _GET.first(conn, {"session": session_id})
    return () if row is None else tuple(Todo(one[0], one[1], TodoStatus(one[2])) for one in from_json(row[0]))


def put(conn: Connection, session_id: str, todos: Sequence[Todo], now: float) -> None:
    """In the place of what was there. The session exists."""
    items = to_json([[todo.id, todo.content, todo.status.value] for todo in todos])
    _PUT.run(conn, {"session_id": session_id, "items": items, "updated_at": now})


_GET = Statement(select(session_todos.c["items"]).where(session_todos.c.session_id == bindparam("session")))


def _put(insert: InsertInto) -> Executable:
    values: dict[str, Any] = {name: bindparam(name) for name in ("session_id", "items", "updated_at")}
    fresh = insert(session_todos).values(values)
    newer = {"items": fresh.excluded["items"], "updated_at": fresh.excluded.updated_at}
    replaced: Executable = fresh.on_conflict_do_update(index_elements=["session_id"], set_=newer)
    return replaced


_PUT = Statement(_put)
