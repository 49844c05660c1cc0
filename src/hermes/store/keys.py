"""Named API keys by the SHA-256 of their text. A revoked key keeps its row: what it made stays its own."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam, create_engine, insert, select, update
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from hermes.core.errors import BudgetExceeded, Conflict, HermesError, NotFound, Unauthorized
from hermes.core.job import JobState
from hermes.core.key import Key, Scope

from . import audit
from .connecting import reading, shown
from .database import parse_url
from .problems import translated
from .schema import jobs, keys, runs
from .statement import Row, Statement


def add(conn: Connection, key: Key, digest: str, actor: str) -> None:
    """`digest`: 64 hexadecimal digits. Raises Conflict when a key that is not revoked has the name."""
    if _BY_NAME.first(conn, {"name": key.name}) is not None:
        raise Conflict(
            f"there is a key {key.name!r} already; give it a new value with: hermes keys rotate {key.name}",
            param="name",
        )
    values = {name: getattr(key, name) for name in _COLUMNS}
    _INSERT.run(conn, values | {"scopes": ",".join(sorted(key.scopes)), "digest": digest})
    audit.record(conn, key.created_at, actor, "key.added", key.name, {"id": key.id, "scopes": sorted(key.scopes)})


def list_keys(conn: Connection) -> list[Key]:
    """Those in force first, then the revoked ones; by name."""
    return [_key(row) for row in _LIST.all(conn, {})]


def get(conn: Connection, key_id: str) -> Key | None:
    row = _BY_ID.first(conn, {"id": key_id})
    return None if row is None else _key(row)


def by_digest(conn: Connection, digest: str) -> Key | None:
    """None for a revoked key, too."""
    row = _BY_DIGEST.first(conn, {"digest": digest})
    return None if row is None else _key(row)


def rotate(conn: Connection, name: str, digest: str, now: float, actor: str) -> Key:
    """Another text for the same key. Raises NotFound."""
    key = _named(conn, name)
    _SET_DIGEST.run(conn, {"key": key.id, "new_digest": digest})
    audit.record(conn, now, actor, "key.rotated", name, {"id": key.id})
    return key


def revoke(conn: Connection, name: str, now: float, actor: str) -> tuple[Key, int]:
    """With the key, its jobs stop: how many were paused. Raises NotFound."""
    key = _named(conn, name)
    _REVOKE.run(conn, {"key": key.id, "now": now})
    paused = _PAUSE_JOBS.run(conn, {"key": key.id, "now": now})
    audit.record(conn, now, actor, "key.revoked", name, {"id": key.id, "jobs_paused": paused})
    return key, paused


def used(conn: Connection, key_id: str, now: float) -> None:
    _USED.run(conn, {"key": key_id, "now": now})


def spend(conn: Connection, key_id: str, usd: float) -> None:
    """Call it in the write that ends the run. No such key (the owner, a key of old): nothing happens."""
    _SPEND.run(conn, {"key": key_id, "usd": usd})


def with_open_runs(conn: Connection, key_id: str) -> Key | None:
    """The key; where it has a budget, what its open runs have cost so far, on whichever node, counts as spent."""
    key = get(conn, key_id)
    if key is None or key.budget_usd is None:
        return key
    row = _OPEN_COST.first(conn, {"key": key_id})
    return replace(key, spent_usd=key.spent_usd + (0.0 if row is None else row[0]))


def check_budget(conn: Connection, key_id: str) -> None:
    """Raises BudgetExceeded when nothing is left. Call it in the write that begins a run."""
    key = with_open_runs(conn, key_id)
    if key is not None and key.budget_usd is not None and key.spent_usd >= key.budget_usd:
        raise BudgetExceeded(
            f"the key {key.name!r} has spent {key.spent_usd:.4f} of its {key.budget_usd:g} USD; its owner can make "
            "another with a budget of its own: hermes keys add"
        )


def check_in_force(conn: Connection, key_id: str) -> Key | None:
    """`with_open_runs`, None for the owner or one of old. Raises Unauthorized for a revoked one, and what
    `check_budget` does. Call it in the write with which a run that waited begins."""
    key = with_open_runs(conn, key_id)
    if key is not None and key.revoked_at is not None:
        raise Unauthorized(f"the key {key.name!r} was revoked while the run waited")
    check_budget(conn, key_id)
    return key


def find_in_closed(url: str, digest: str) -> Key | None:
    """`by_digest` in a database that is not open, and that this leaves as it is. None where it has no keys of ours, or
    is a file that cannot be read. Raises StoreUnavailable where its server does not answer.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _find_in_file(Path(parsed.database or ""), digest)
    try:
        with reading(url) as conn:
            return by_digest(conn, digest)
    except Exception as error:
        problem = translated(error, shown(url))
        if isinstance(problem, HermesError):
            raise problem from error
        return None  # no table of ours, or one of an older version: it has them once its gateway has opened it


def _find_in_file(path: Path, digest: str) -> Key | None:
    if not path.is_file():
        return None
    # rw, since a reader alone may not make the -shm file of a database in WAL mode; query_only is what keeps it as is
    url = URL.create("sqlite", database=f"file:{_quoted(path)}", query={"mode": "rw", "uri": "true"})
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": 1.0})
    try:
        with engine.connect() as conn:
            conn.exec_driver_sql("PRAGMA query_only=ON")
            return by_digest(conn, digest)
    except (SQLAlchemyError, sqlite3.Error, OSError):
        return None
    finally:
        engine.dispose()


def _quoted(path: Path) -> str:
    from urllib.parse import quote

    return quote(str(path.absolute()))


def _named(conn: Connection, name: str) -> Key:
    row = _BY_NAME.first(conn, {"name": name})
    if row is None:
        raise NotFound(f"no key {name!r}; list them with: hermes keys list")
    return _key(row)


_COLUMNS = (
    "id",
    "name",
    "scopes",
    "created_at",
    "tool_items",
    "budget_usd",
    "spent_usd",
    "last_used_at",
    "revoked_at",
)


def _key(row: Row) -> Key:
    values: dict[str, Any] = dict(zip(_COLUMNS, row, strict=True))
    values["scopes"] = frozenset(Scope(word) for word in values["scopes"].split(","))
    return Key(**values)


_SELECT = select(*(keys.c[name] for name in _COLUMNS))
_IN_FORCE = keys.c.revoked_at.is_(None)
_THIS = keys.c.id == bindparam("key")
_INSERT = Statement(insert(keys).values({name: bindparam(name) for name in (*_COLUMNS, "digest")}))
_LIST = Statement(_SELECT.order_by(keys.c.revoked_at.is_not(None), keys.c.name, keys.c.created_at))
_BY_ID = Statement(_SELECT.where(keys.c.id == bindparam("id")))
_BY_NAME = Statement(_SELECT.where(keys.c.name == bindparam("name"), _IN_FORCE))
_BY_DIGEST = Statement(_SELECT.where(keys.c.digest == bindparam("digest"), _IN_FORCE))
_SET_DIGEST = Statement(update(keys).where(_THIS).values(digest=bindparam("new_digest")))
_REVOKE = Statement(update(keys).where(_THIS).values(revoked_at=bindparam("now")))
_USED = Statement(update(keys).where(_THIS).values(last_used_at=bindparam("now")))
_SPEND = Statement(update(keys).where(_THIS).values(spent_usd=keys.c.spent_usd + bindparam("usd")))
_OPEN_COST = Statement(
    select(sa.func.coalesce(sa.func.sum(runs.c.cost_usd), 0.0)).where(
        sa.text("runs.finished_at IS NULL"),
        runs.c.owner == bindparam("key"),  # the condition of the partial index
    )
)
_PAUSE_JOBS = Statement(
    update(jobs)
    .where(jobs.c.owner == bindparam("key"), jobs.c.next_due.is_not(None))
    .values(
        state=sa.literal(JobState.PAUSED.value),
        next_due=sa.null(),
        paused_at=bindparam("now"),
        updated_at=bindparam("now"),
    )
)
