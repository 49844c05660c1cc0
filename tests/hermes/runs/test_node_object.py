"""How nodes are told outside."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest

from hermes.core.node import Node
from hermes.core.run import RunStatus
from hermes.home.locks import NodeLock
from hermes.runs.node import lock_file
from hermes.runs.node_object import STATES, node_object, node_objects
from hermes.store import nodes as node_store
from hermes.store.database import Connection, Database
from hermes.store.nodes import Load
from tests.support.store import keep_run

NODE = Node(
    id="node_1",
    kind="gateway",
    home="/home/hermes/.hermes",
    host="hermes1",
    pid=7,
    version="1.2.3",
    url="http://10.0.0.1:8642",
    started_at=1_000.0,
    beat_at=2_000.0,
)


def test_everything_of_a_node_is_told() -> None:
    assert node_object(NODE, Load(running=3, queued=1), 0.75) == {
        "id": "node_1",
        "name": "hermes1:/home/hermes/.hermes",
        "kind": "gateway",
        "url": "http://10.0.0.1:8642",
        "version": "1.2.3",
        "pid": 7,
        "started_at": 1_000.0,
        "beat_at": 2_000.0,
        "silent_seconds": 0.75,
        "running": 3,
        "queued": 1,
        "state": "ready",
    }


@pytest.mark.parametrize(
    ("silent_seconds", "is_draining", "is_gone", "state"),
    [
        (0.0, False, False, "ready"),
        (None, False, False, "ready"),
        (0.5, True, False, "draining"),
        (7.0, False, False, "silent"),
        (7.0, True, False, "silent"),
        (None, True, True, "gone"),
    ],
)
def test_a_node_is_ready_draining_silent_or_gone(
    silent_seconds: float | None, is_draining: bool, is_gone: bool, state: str
) -> None:
    node = dataclasses.replace(NODE, is_draining=is_draining)
    told = node_object(node, Load(), silent_seconds, is_gone=is_gone)
    assert (told["state"], told["silent_seconds"]) == (state, silent_seconds)
    assert state in STATES


def test_on_postgresql_who_does_not_beat_is_silent(postgres_url: str) -> None:
    database = Database.open_now(postgres_url)
    try:
        database.write_now(_keep_two, time.time())
        told = database.read_now(node_objects)
    finally:
        database.close_now()
    assert [(one["id"], one["running"], one["queued"], one["state"]) for one in told] == [
        ("node_1", 0, 0, "silent"),
        ("node_2", 2, 1, "ready"),
    ]
    assert 19 < told[0]["silent_seconds"] < 60


@pytest.mark.sqlite("the locks beside its file say who lives")
def test_in_a_file_who_holds_no_lock_is_gone(tmp_path: Path) -> None:
    database = Database.open_now(f"sqlite:///{tmp_path / 'state.db'}")
    lock = NodeLock(lock_file(tmp_path / "run", "node_2"))
    try:
        database.write_now(_keep_two, time.time())
        told = database.read_now(node_objects, database.path)
    finally:
        lock.release()
        database.close_now()
    assert [(one["id"], one["running"], one["queued"], one["state"], one["silent_seconds"]) for one in told] == [
        ("node_1", 0, 0, "gone", None),
        ("node_2", 2, 1, "ready", None),
    ]


def _keep_two(conn: Connection, now: float) -> None:
    """The first was heard of 20 s ago; the second has three runs."""
    for number in (1, 2):
        own: dict[str, Any] = {"id": f"node_{number}", "home": f"/home/{number}", "started_at": now + number}
        beat_at = now - 20 if number == 1 else now
        node_store.register(conn, dataclasses.replace(NODE, beat_at=beat_at, **own))
    for number, status in enumerate([RunStatus.RUNNING, RunStatus.RUNNING, RunStatus.QUEUED]):
        keep_run(conn, f"run_{number}", node="node_2", status=status)
