"""`hermes nodes`: what the database says of the processes that share it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from hermes.core.node import Node
from hermes.home.locks import NodeLock
from hermes.home.paths import create_home
from hermes.runs.node import lock_file
from hermes.store import nodes as node_store
from hermes.store.database import Connection, Database
from tests.support.cli import Hermes
from tests.support.store import keep_run


def test_nobody_is_there_and_it_says_how_to_begin(hermes: Hermes) -> None:
    create_home(hermes.home)
    done = hermes("nodes")
    assert (done.code, done.out) == (0, "No node runs; start one with: hermes gateway start\n")
    assert json.loads(hermes("nodes", "--json").out) == []


def test_each_node_is_a_line_with_its_runs_and_its_state(hermes: Hermes, postgres_url: str) -> None:
    create_home(hermes.home)
    _keep_two(hermes, postgres_url)
    done = hermes("nodes")
    assert done.code == 0, done.err
    titles, first, second = done.out.splitlines()
    assert titles.split() == ["id", "name", "url", "version", "started", "last", "beat", "running", "queued", "state"]
    assert first.split()[:4] == ["node_1", "hermes1:/one", "http://10.0.0.1:8642", "1.2.3"]
    assert (first.split()[-3:], second.split()[-3:]) == (["1", "0", "draining"], ["0", "0", "silent"])
    assert "no listener" in second
    told = json.loads(hermes("nodes", "--json").out)
    assert [(one["id"], one["state"], one["running"]) for one in told] == [
        ("node_1", "draining", 1),
        ("node_2", "silent", 0),
    ]


@pytest.mark.sqlite("the locks beside its file say who lives")
def test_the_one_gateway_of_a_file_is_told_too(hermes: Hermes, tmp_path: Path) -> None:
    """It does not beat: the lock says that it lives."""
    create_home(hermes.home)
    file = tmp_path / "elsewhere" / "state.db"
    file.parent.mkdir()
    lock = NodeLock(lock_file(file.parent / "run", "node_1"))
    try:
        _keep_two(hermes, f"sqlite:///{file}")
        _, first, second = hermes("nodes").out.splitlines()
    finally:
        lock.release()
    assert (first.split()[-4:], second.split()[-4:]) == (["-", "1", "0", "draining"], ["-", "0", "0", "gone"])


def test_a_name_with_control_characters_does_nothing_to_the_terminal(hermes: Hermes, postgres_url: str) -> None:
    create_home(hermes.home)
    _keep_two(hermes, postgres_url, host="evil\x1b[2J")
    assert "\x1b" not in hermes("nodes").out


def _keep_two(hermes: Hermes, url_of_database: str, host: str = "hermes1") -> None:
    hermes.environ["HERMES_DATABASE_URL"] = url_of_database
    now = time.time()

    def keep(conn: Connection) -> None:
        url = "http://10.0.0.1:8642"
        first = Node(
            id="node_1",
            kind="gateway",
            home="/one",
            host=host,
            pid=7,
            version="1.2.3",
            url=url,
            started_at=now - 60,
            beat_at=now,
            is_draining=True,
        )
        second = Node(
            id="node_2",
            kind="gateway",
            home="/two",
            host=host,
            pid=8,
            version="1.2.4",
            started_at=now - 30,
            beat_at=now - 20,
        )
        for node in (first, second):
            node_store.register(conn, node)
        keep_run(conn, node="node_1")

    database = Database.open_now(url_of_database)
    database.write_now(keep)
    database.close_now()
