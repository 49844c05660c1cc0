"""Brings a database to the newest schema. At head that is one small read, and Alembic is not imported.

An empty database is made from `schema.metadata`, which is quicker; a test holds that the migrations make the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, inspect, select, update
from sqlalchemy import insert as insert_into

from hermes.core.errors import StoreUnavailable

from .database import Schema
from .schema import HEAD, alembic_version, metadata
from .statement import Statement

if TYPE_CHECKING:
    from alembic.config import Config


HERMES = Schema(metadata, alembic_version, HEAD, "hermes.store:migrations", "hermes-server")
"""Of a home."""

_LOCK = 0x6865726D6573
"""The number by which nodes that start together wait for each other."""


def bring_to_head(conn: Connection, place: str, schema: Schema = HERMES) -> None:
    """Raises StoreUnavailable where the database is not ours, or newer than this program."""
    if has_version(conn) and revision(conn) == schema.head:
        return
    with _alone(conn):  # of two processes that open it at once, the second finds it done
        if not has_version(conn):
            if inspect(conn).get_table_names():
                raise StoreUnavailable(f"{place} is a database of another program: move it away, or set database.url")
            schema.metadata.create_all(conn, checkfirst=False)
            conn.execute(insert_into(schema.version).values(version_num=schema.head))
        elif revision(conn) != schema.head:
            _upgrade(conn, place, schema)


def has_version(conn: Connection) -> bool:
    """Whether it is one of ours, at whatever schema."""
    return conn.dialect.has_table(conn, alembic_version.name)


def revision(conn: Connection) -> str | None:
    found: str | None = conn.execute(select(alembic_version.c.version_num)).scalar()
    return found


def write_again(conn: Connection) -> None:
    """Changes nothing, and is a write all the same: whether that works cannot be asked in another way."""
    _WRITE_AGAIN.run(conn, {})


_WRITE_AGAIN = Statement(update(alembic_version).values(version_num=alembic_version.c.version_num))


def alembic_config(conn: Connection, schema: Schema = HERMES) -> Config:
    """For Alembic's commands on this connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", schema.migrations)
    config.attributes["connection"] = conn
    return config


def _upgrade(conn: Connection, place: str, schema: Schema) -> None:
    from alembic import command
    from alembic.util import CommandError

    found = revision(conn)
    try:
        command.upgrade(alembic_config(conn, schema), "head")
    except CommandError as error:
        raise StoreUnavailable(
            f"this program is older than the database {place} (revision {found!r}, known up to {schema.head!r}): "
            f"install the newer {schema.program} again, or move the file away"
        ) from error


@contextmanager
def _alone(conn: Connection) -> Iterator[None]:
    """One transaction, after which every reference holds; while tables are rebuilt in it, nothing cascades."""
    driver: Any = conn.connection.driver_connection
    if conn.dialect.name == "postgresql":
        with driver.transaction():
            driver.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            yield
        return
    driver.execute("PRAGMA foreign_keys=OFF")  # has no effect within a transaction
    try:
        driver.execute("BEGIN IMMEDIATE")
        try:
            yield
            if broken := driver.execute("PRAGMA foreign_key_check").fetchone():
                raise StoreUnavailable(f"the migration would leave a row of {broken[0]!r} without its parent")
            driver.execute("COMMIT")
        finally:
            if driver.in_transaction:
                driver.execute("ROLLBACK")
    finally:
        driver.execute("PRAGMA foreign_keys=ON")
