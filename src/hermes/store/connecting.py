"""A connection to a database as it is: nothing is made, upgraded or written. For asking what is wrong with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from hermes.core.errors import NotFound

from .database import parse_url, without_password
from .problems import translated

BUSY_SECONDS = 5.0


@contextmanager
def reading(url: str) -> Iterator[Connection]:
    """One snapshot, at whatever schema it has.

    Raises NotFound `database_not_found` where there is no file, ConfigError for what is no URL, and what the driver
    raises.
    """
    with closing(_connect(parse_url(url))) as conn:
        driver: Any = conn.connection.driver_connection
        is_sqlite = conn.dialect.name == "sqlite"
        driver.execute("BEGIN" if is_sqlite else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            yield conn
        finally:
            if not is_sqlite or driver.in_transaction:
                driver.execute("ROLLBACK")


@contextmanager
def asking(url: str) -> Iterator[Connection]:
    """`reading`, where what goes wrong is said as when a database is opened: StoreUnavailable, StoreCorrupt."""
    try:
        with reading(url) as conn:
            yield conn
    except Exception as error:
        problem = translated(error, shown(url))
        if problem is error:
            raise
        raise problem from error


def open_file(path: Path) -> sqlite3.Connection:
    """What a killed process left in the log beside the file is part of it. Where none is, no file is made."""
    is_in_use = path.with_name(f"{path.name}-wal").exists()
    how = "mode=ro" if is_in_use else "mode=ro&immutable=1"
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{how}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )


def shown(url: str) -> str:
    """A file's path; another URL without its password."""
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return parsed.database or "in memory"
    return without_password(parsed)


def _connect(url: URL) -> Connection:
    if url.get_backend_name() != "sqlite":
        from .postgres import make_engine

        conn: Connection = make_engine(url).connect()
        return conn
    path = Path(url.database or "")
    if not path.is_file():
        raise NotFound(f"there is no database {path}: the first start of a gateway makes it", code="database_not_found")
    engine = create_engine(
        "sqlite://", creator=lambda: open_file(path), poolclass=NullPool, isolation_level="AUTOCOMMIT"
    )
    return engine.connect()
