"""Where a test keeps its data: in SQLite, or in a PostgreSQL.

Every test that needs a database takes its URL from `new_url`, so that it runs on both (tests/conftest.py).
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psycopg

from tests.support.postgres import Pool, postgres_server


def new_url(path: Path | None = None) -> str:
    """The URL of an empty database: on SQLite in that file, or in memory.

    On PostgreSQL the same path gives the same database for as long as the test runs.
    """
    return _state.url(path)


def copy_of(path: Path, to: Path) -> str:
    """The URL of a copy of the database `new_url(path)` as it is now, committed and nothing else, whoever writes."""
    if not is_postgres():
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(to)) as target:
            source.backup(target)
        return new_url(to)
    with psycopg.connect(new_url(path)) as there, psycopg.connect(new_url(to)) as here:
        _copy_tables(there, here)
    return new_url(to)


def url_for_process(home: Path) -> str | None:
    """What to set as database.url for a process with that home. None: nothing, it takes the file of the home."""
    url = new_url(home / "state.db")
    return url if is_postgres() else None


def give_back(url: str) -> None:
    """Where a test takes many: it is closed, and empty again for the next one."""
    _state.give_back(url)


def is_postgres() -> bool:
    return _state.is_postgres


def postgres_pool() -> Pool:
    """The databases of this worker's server, which starts when it is first asked for."""
    return _pool()


# What tests/conftest.py needs.


@dataclass
class State:
    """`count`: how many URLs were asked for so far. `has_sqlite`: an SQLite was opened in this process."""

    is_postgres: bool = False
    count: int = 0
    has_sqlite: bool = False
    taken: dict[str, Path | None] = field(default_factory=dict)

    def url(self, path: Path | None) -> str:
        self.count += 1
        if not self.is_postgres:
            return "sqlite://" if path is None else f"sqlite:///{path}"
        if path is not None:
            for url, taken in self.taken.items():
                if taken == path:
                    return url
        url = postgres_pool().take()
        self.taken[url] = path
        return url

    def give_back(self, url: str) -> None:
        if url in self.taken:
            del self.taken[url]
            postgres_pool().give_back(url)


def state() -> State:
    """Called once a process: an audit hook stays for good."""

    def hear(event: str, _: tuple[object, ...]) -> None:
        if event == "sqlite3.connect":
            _state.has_sqlite = True

    sys.addaudithook(hear)
    return _state


@contextmanager
def taken_back() -> Iterator[None]:
    before = set(_state.taken)
    yield
    for url in [url for url in _state.taken if url not in before]:
        _state.give_back(url)


def stop_servers() -> None:
    _servers.close()


_state = State()
_servers = ExitStack()


@cache
def _pool() -> Pool:
    return Pool(_servers.enter_context(postgres_server()))


def _copy_tables(there: psycopg.Connection, here: psycopg.Connection) -> None:
    there.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    here.execute("SET LOCAL session_replication_role = replica")  # the order of the tables is no matter
    for (table,) in there.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall():
        if table in ("alembic_version", "nodes"):  # the nodes of a copy are dead, and known to be
            continue
        with (
            there.cursor().copy(f"COPY {table} TO STDOUT (FORMAT binary)") as source,
            here.cursor().copy(f"COPY {table} FROM STDIN (FORMAT binary)") as target,
        ):
            for data in source:
                target.write(data)
    for name, last in there.execute("SELECT sequencename, last_value FROM pg_sequences").fetchall():
        if last is not None:
            here.execute("SELECT setval(%s::regclass, %s)", (name, last))
