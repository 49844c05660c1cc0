"""Nodes: the processes that conduct runs. One whose row is gone is dead to the others, and writes no more of them.

A run whose node has no row is nobody's: any node may claim it (docs/adr/0098).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam

from hermes.core.errors import Fenced, NotFound
from hermes.core.node import Node
from hermes.core.run import Run, RunStatus

from . import runs as run_store
from .connecting import asking
from .database import parse_url
from .revisions import has_version, revision
from .schema import nodes, runs
from .shared_clock import server_time
from .statement import Row, Statement

T = TypeVar("T")

FIRST_REVISION = "0004"
"""The schema since which there are nodes."""


@dataclass(frozen=True, slots=True)
class Load:
    """How many runs a node conducts, and how many that it took wait for their session or a free place."""

    running: int = 0
    queued: int = 0


def register(conn: Connection, node: Node, last: str | None = None) -> None:
    """From now on it may write about its runs. `last`: what the last process of its home was called, which is dead; in
    a copy of a home it is another's name, who is left alone."""
    if last is not None:
        _DELETE_OF_HOME.run(conn, {"node": last, "home": node.home, "host": node.host})
    _INSERT.run(conn, {name: getattr(node, name) for name in _COLUMNS})


def beat(conn: Connection, node_id: str, now: float, is_draining: bool) -> bool:
    """It lives. False: the others took it for dead."""
    return _BEAT.run(conn, {"node": node_id, "now": now, "draining": is_draining}) == 1


def check(conn: Connection, node_id: str) -> None:
    """Raises Fenced when the others took it for dead. Until this transaction ends they cannot."""
    if _CHECK.first(conn, {"node": node_id}) is None:
        raise Fenced("another node took over the runs of this one, which had not been heard of for seconds")


def remove(conn: Connection, node_id: str) -> bool:
    """Waits for the transactions in which it writes. Its open runs are nobody's then."""
    return _DELETE.run(conn, {"node": node_id}) == 1


def remove_silent(conn: Connection, node_id: str, last_beat: int) -> bool:
    """The same, where it has not been heard of since that beat."""
    return _DELETE_SILENT.run(conn, {"node": node_id, "last_beat": last_beat}) == 1


def listed(conn: Connection) -> list[Node]:
    """Oldest first."""
    return [_node(row) for row in _LISTED.all(conn, {})]


def load(conn: Connection) -> dict[str, Load]:
    """By the id of a node; a node that conducts nothing is not there."""
    found: dict[str, Load] = {}
    for node_id, status, count in _LOAD.all(conn, {}):
        before = found.get(node_id, Load())
        is_queued = status == RunStatus.QUEUED.value
        found[node_id] = Load(before.running + count * (not is_queued), before.queued + count * is_queued)
    return found


def read_in(url: str, function: Callable[[Connection, Path | None], T]) -> T | None:
    """On a database that stays as it is, and its file: None where it is not there, or of a version that had no nodes.

    Raises StoreUnavailable or ConfigError.
    """
    try:
        with asking(url) as conn:
            has_nodes = has_version(conn) and (revision(conn) or "") >= FIRST_REVISION
            return function(conn, file_of(url)) if has_nodes else None
    except NotFound:
        return None


def file_of(url: str) -> Path | None:
    """None where it is no file."""
    parsed = parse_url(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def time_of_server(conn: Connection) -> float | None:
    """Unix seconds; None where the database has no clock of its own."""
    return None if conn.dialect.name == "sqlite" else server_time(conn)


def claim_orphans(conn: Connection, node_id: str, limit: int, *, is_bound: bool = False) -> list[Run]:
    """Open runs that are nobody's, oldest first: they are this node's now. Nodes that claim at once get others each.
    `is_bound`: only those that ended with their process, and that nobody goes on with.

    The open runs that one of them delegated come with it, and are not told: whoever conducts the parent goes on with
    them. One whose parent has ended comes by itself.
    """
    claimed: list[Run] = []
    orphans = _BOUND_ORPHANS if is_bound else _ORPHANS
    for (run_id,) in orphans.all(conn, {"node": node_id, "limit": limit}):
        _CLAIM.run(conn, {"run": run_id, "node": node_id})
        _CLAIM_CHILDREN.run(conn, {"parent": run_id, "node": node_id})
        run = run_store.get(conn, run_id)
        assert run is not None  # the row is locked
        claimed.append(run)
    return claimed


def runs_of(conn: Connection, node_id: str) -> list[str]:
    """The ids of the open runs that it conducts, without those that another open run delegated."""
    return [str(run_id) for (run_id,) in _RUNS_OF.all(conn, {"node": node_id})]


def take_child(conn: Connection, run_id: str, node_id: str) -> None:
    """The node conducts the parent of the open run, and so this one."""
    _CLAIM.run(conn, {"run": run_id, "node": node_id})


def give_back(conn: Connection, run_id: str, node_id: str) -> None:
    """The node no longer conducts it: it is nobody's."""
    _GIVE_BACK.run(conn, {"run": run_id, "node": node_id})


def hold(conn: Connection, run_id: str, node_id: str) -> None:
    """Until this transaction ends nobody else gets the run. Raises Fenced when somebody has it already."""
    row = _HOLD.first(conn, {"run": run_id})
    if row is not None and row[0] != node_id:
        raise Fenced("the run was given back, or another node has it")


def is_in_use(conn: Connection, session_id: str, node_id: str) -> bool:
    """Whether another living node conducts a run of the session."""
    return _IN_USE.first(conn, {"session": session_id, "node": node_id}) is not None


def has_left(conn: Connection, session_id: str, run_id: str) -> bool:
    """Whether an open run of the session, besides this one, is nobody's."""
    return _LEFT.first(conn, {"session": session_id, "run": run_id}) is not None


_COLUMNS = tuple(column.name for column in nodes.columns)


def _node(row: Row) -> Node:
    values = dict(zip(_COLUMNS, row, strict=True))
    return Node(**values | {"is_draining": bool(values["is_draining"])})


_IS = nodes.c.id == bindparam("node")
_IS_OPEN = runs.c.finished_at.is_(None)
_IS_SOMEBODYS = runs.c.node.in_(sa.select(nodes.c.id))
_parents = runs.alias("parents")
_IS_ON_ITS_OWN = sa.or_(
    runs.c.parent_run_id.is_(None),
    ~sa.exists().where(_parents.c.id == runs.c.parent_run_id, _parents.c.finished_at.is_(None)),
)
_INSERT = Statement(sa.insert(nodes).values({name: bindparam(name) for name in _COLUMNS}))
_DELETE_OF_HOME = Statement(
    sa.delete(nodes).where(_IS, nodes.c.home == bindparam("home"), nodes.c.host == bindparam("host"))
)
_BEAT = Statement(
    sa.update(nodes)
    .where(_IS)
    .values(
        beat=nodes.c.beat + sa.literal(1),
        beat_at=bindparam("now"),
        is_draining=bindparam("draining"),
    )
)
# A beat changes no key, so that and this do not wait for each other; a DELETE waits for everyone who holds it.
_CHECK = Statement(sa.select(nodes.c.id).where(_IS).with_for_update(read=True, key_share=True))
_DELETE = Statement(sa.delete(nodes).where(_IS))
_DELETE_SILENT = Statement(sa.delete(nodes).where(_IS, nodes.c.beat == bindparam("last_beat")))
_LISTED = Statement(sa.select(*nodes.columns).order_by(nodes.c.started_at, nodes.c.id))
_LOAD = Statement(
    sa.select(runs.c.node, runs.c.status, sa.func.count())
    .where(_IS_OPEN, runs.c.node.is_not(None))
    .group_by(runs.c.node, runs.c.status)
)
_ARE_NOBODYS = (
    sa.select(runs.c.id)
    .where(
        _IS_OPEN,
        sa.or_(runs.c.node.is_(None), sa.and_(runs.c.node != bindparam("node"), ~_IS_SOMEBODYS)),
        _IS_ON_ITS_OWN,
    )
    .order_by(runs.c.created_at, runs.c.id)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True, of=runs)
)
_ORPHANS = Statement(_ARE_NOBODYS)
_BOUND_ORPHANS = Statement(_ARE_NOBODYS.where(~runs.c.is_durable))
_CLAIM = Statement(
    sa.update(runs)
    .where(runs.c.id == bindparam("run"))
    .values(node=bindparam("node"), lease=runs.c.lease + sa.literal(1))
)
_CLAIM_CHILDREN = Statement(
    sa.update(runs)
    .where(runs.c.parent_run_id == bindparam("parent"), _IS_OPEN)
    .values(node=bindparam("node"), lease=runs.c.lease + sa.literal(1))
)
_RUNS_OF = Statement(sa.select(runs.c.id).where(_IS_OPEN, runs.c.node == bindparam("node"), _IS_ON_ITS_OWN))
_GIVE_BACK = Statement(
    sa.update(runs).where(runs.c.id == bindparam("run"), runs.c.node == bindparam("node")).values(node=sa.null())
)
_HOLD = Statement(sa.select(runs.c.node).where(runs.c.id == bindparam("run")).with_for_update())
_IN_USE = Statement(
    sa.select(runs.c.id)
    .where(runs.c.session_id == bindparam("session"), _IS_OPEN, runs.c.node != bindparam("node"), _IS_SOMEBODYS)
    .limit(1)
)
_LEFT = Statement(
    sa.select(runs.c.id)
    .where(
        runs.c.session_id == bindparam("session"),
        runs.c.id != bindparam("run"),
        _IS_OPEN,
        sa.or_(runs.c.node.is_(None), ~_IS_SOMEBODYS),
    )
    .limit(1)
)
