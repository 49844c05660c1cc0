"""A node as it is told outside: by `hermes nodes` and at GET /health/detailed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hermes.core.node import Node
from hermes.home.locks import is_held
from hermes.runs.node import SILENT_SECONDS, lock_file
from hermes.store import nodes as node_store
from hermes.store.database import Connection
from hermes.store.nodes import Load

STATES = ("ready", "draining", "silent", "gone")
"""`silent`: not heard of for seconds, and soon given up by the others. `gone`: its process has ended."""


def nodes_in(url: str) -> list[dict[str, Any]]:
    """The same of a database that nobody opened, and that stays as it is. Raises StoreUnavailable or ConfigError."""
    return node_store.read_in(url, node_objects) or []


def node_objects(conn: Connection, database_file: Path | None = None) -> list[dict[str, Any]]:
    """All nodes of the database, oldest first. In a file they do not beat, and hold a lock beside it."""
    load = node_store.load(conn)
    nodes = node_store.listed(conn)
    if database_file is not None:
        locks = database_file.parent / "run"
        return [
            node_object(node, load.get(node.id, Load()), is_gone=not is_held(lock_file(locks, node.id)))
            for node in nodes
        ]
    now = node_store.time_of_server(conn)
    return [
        node_object(node, load.get(node.id, Load()), None if now is None else max(0.0, now - node.beat_at))
        for node in nodes
    ]


def node_object(
    node: Node, load: Load, silent_seconds: float | None = None, *, is_gone: bool = False
) -> dict[str, Any]:
    """JSON values. `beat_at` is by the node's own clock, `silent_seconds` by the server's; None where nobody beats."""
    return {
        "id": node.id,
        "name": f"{node.host}:{node.home}",
        "kind": node.kind,
        "url": node.url,
        "version": node.version,
        "pid": node.pid,
        "started_at": node.started_at,
        "beat_at": node.beat_at,
        "silent_seconds": None if silent_seconds is None else round(silent_seconds, 3),
        "running": load.running,
        "queued": load.queued,
        "state": _state(node, silent_seconds or 0.0, is_gone),
    }


def _state(node: Node, silent_seconds: float, is_gone: bool) -> str:
    if is_gone:
        return "gone"
    if silent_seconds > SILENT_SECONDS:
        return "silent"
    return "draining" if node.is_draining else "ready"
