"""`hermes doctor` on a machine of many: what it finds of its peers, each provoked for real."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hermes import __version__
from hermes.core.node import Node
from hermes.doctor import diagnose
from hermes.home.locks import GatewayProcess, lock_gateway
from hermes.home.paths import Home, create_home
from hermes.store import nodes as node_store
from hermes.store.database import Database


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    create_home(made)
    return made


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    opened = Database.open_now(postgres_url)
    yield opened
    opened.close_now()


def names(home: Home, url: str, *, now: float | None = None) -> list[tuple[str, str]]:
    environ = {"HERMES_DATABASE_URL": url, "API_SERVER_PORT": "0", "PATH": os.environ["PATH"], "HOME": str(home.path)}
    found = diagnose(home, environ, now=time.time() if now is None else now, asks_model=False).findings
    return [(finding.name, finding.text) for finding in found if finding.is_wrong]


def a_node(number: int = 1, **fields: Any) -> Node:
    values: dict[str, Any] = {
        "id": f"node_{number}",
        "kind": "gateway",
        "home": f"/home/{number}",
        "host": f"hermes{number}",
        "pid": 1_000 + number,
        "version": __version__,
        "started_at": time.time(),
        "beat_at": time.time(),
    }
    return Node(**(values | fields))


def test_peers_of_one_kind_and_one_clock_are_nothing_to_mend(home: Home, database: Database, postgres_url: str) -> None:
    for number in (1, 2):
        database.write_now(node_store.register, a_node(number))
    assert names(home, postgres_url) == []


@pytest.mark.parametrize(("off", "where"), [(30.0, "ahead of"), (-30.0, "behind")])
def test_a_clock_that_differs_from_the_databases_is_said(
    home: Home, database: Database, postgres_url: str, off: float, where: str
) -> None:
    [(name, text)] = names(home, postgres_url, now=time.time() + off)
    assert name == "clock_skew" and f"s {where} the database's" in text


def test_a_peer_of_another_version_is_named(home: Home, database: Database, postgres_url: str) -> None:
    database.write_now(node_store.register, a_node(version="9.9.9"))
    [(name, text)] = names(home, postgres_url)
    assert name == "other_version" and "hermes1:/home/1" in text and "9.9.9" in text
    database.write_now(node_store.register, a_node(2, home="/home/1", host="hermes1"), "node_1")
    assert names(home, postgres_url) == []


def test_two_gateways_of_one_name_are_found(home: Home, database: Database, postgres_url: str) -> None:
    lock = lock_gateway(home.pid_file, now=time.time())
    try:
        lock.announce(GatewayProcess(os.getpid(), time.time(), None, is_ready=True))
        namesake: dict[str, Any] = {"home": str(home.path), "host": socket.gethostname()}
        database.write_now(node_store.register, a_node(pid=os.getpid(), **namesake))
        assert names(home, postgres_url) == []
        database.write_now(node_store.register, a_node(2, pid=os.getpid() + 1, **namesake))
        [(name, text)] = names(home, postgres_url)
    finally:
        lock.release()
    assert name == "same_name" and f"pid {os.getpid() + 1}" in text


def test_a_database_that_does_not_answer_is_said_without_its_password(home: Home) -> None:
    [(name, text)] = names(home, "postgresql://hermes:top-secret-word@127.0.0.1:1/hermes")
    assert name == "no_database" and "127.0.0.1:1/hermes" in text and "top-secret-word" not in text


def test_a_database_that_nobody_made_yet_stays_empty(home: Home, postgres_server_url: str) -> None:
    """Looking makes no tables."""
    assert names(home, postgres_server_url) == []
    assert node_store.read_in(postgres_server_url, lambda conn, file: True) is None


@pytest.fixture
def postgres_server_url(postgres: str) -> str:
    """The server's own database, which has none of our tables."""
    return postgres
