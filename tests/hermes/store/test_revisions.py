"""A fresh database and an upgraded one are the same; what is not ours or newer than us is left alone."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from hermes.core.errors import StoreUnavailable
from hermes.store import revisions
from hermes.store.database import Database
from hermes.store.schema import HEAD, metadata
from tests.support.store import keep_session

pytestmark = pytest.mark.sqlite("PostgreSQL has tests of its own here")


def test_a_fresh_database_is_what_the_migrations_make(tmp_path: Path) -> None:
    Database.open_now(f"sqlite:///{tmp_path / 'fresh.db'}").close_now()
    _migrate(tmp_path / "migrated.db", "head")
    assert _schema(tmp_path / "fresh.db") == _schema(tmp_path / "migrated.db")


def test_alembic_finds_no_difference_between_a_migrated_database_and_the_tables_of_the_code(tmp_path: Path) -> None:
    _migrate(tmp_path / "migrated.db", "head")
    engine = create_engine(f"sqlite:///{tmp_path / 'migrated.db'}", poolclass=NullPool)
    with engine.connect() as conn:
        assert compare_metadata(MigrationContext.configure(conn), metadata) == []


def test_head_is_the_newest_revision() -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as conn:
        assert ScriptDirectory.from_config(revisions.alembic_config(conn)).get_heads() == [HEAD]


def test_downgrading_to_the_beginning_leaves_nothing_behind(tmp_path: Path) -> None:
    _migrate(tmp_path / "state.db", "head")
    _migrate(tmp_path / "state.db", "base")
    assert [name for name, _ in _schema(tmp_path / "state.db") if not name.startswith("sqlite_")] == ["alembic_version"]


def test_opening_a_database_behind_head_migrates_it(url: str, tmp_path: Path) -> None:
    _migrate(tmp_path / "state.db", "head")
    _migrate(tmp_path / "state.db", "base")
    database = Database.open_now(url)
    database.write_now(keep_session)
    database.close_now()
    Database.open_now(f"sqlite:///{tmp_path / 'fresh.db'}").close_now()
    assert _schema(tmp_path / "state.db") == _schema(tmp_path / "fresh.db")


def test_a_migration_that_fails_leaves_the_database_as_it_was(url: str, tmp_path: Path) -> None:
    _migrate(tmp_path / "state.db", "head")
    _migrate(tmp_path / "state.db", "base")
    _execute(tmp_path / "state.db", "CREATE TABLE runs (mine)")  # sessions and messages come before it
    before = _schema(tmp_path / "state.db")
    with pytest.raises(StoreUnavailable, match="table runs already exists"):
        Database.open_now(url)
    assert _schema(tmp_path / "state.db") == before


def test_opening_a_database_at_head_does_not_import_alembic(url: str) -> None:
    Database.open_now(url).close_now()
    script = (
        "import sys; from hermes.store.database import Database;"
        f"Database.open_now({url!r}).close_now(); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_database_that_is_newer_than_the_program_is_refused_and_left_as_it_is(url: str, tmp_path: Path) -> None:
    database = Database.open_now(url)
    database.write_now(keep_session)
    database.close_now()
    _execute(tmp_path / "state.db", "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreUnavailable, match=r"older than the database .*state\.db.*9999"):
        Database.open_now(url)
    assert _execute(tmp_path / "state.db", "SELECT id FROM sessions") == [("s",)]


def test_a_database_of_another_program_is_refused_and_left_as_it_is(url: str, tmp_path: Path) -> None:
    _execute(tmp_path / "state.db", "CREATE TABLE photos (id INTEGER)")
    with pytest.raises(StoreUnavailable, match=r"state\.db is a database of another program"):
        Database.open_now(url)
    assert [name for name, _ in _schema(tmp_path / "state.db")] == ["photos"]


def test_many_that_open_an_empty_database_at_once_make_it_once(url: str) -> None:
    with ThreadPoolExecutor(5) as threads:
        databases = list(threads.map(Database.open_now, [url] * 5))
    for database in databases:
        database.close_now()


def _migrate(path: Path, to: str) -> None:
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        if to == "base":
            command.downgrade(revisions.alembic_config(conn), to)
        else:
            command.upgrade(revisions.alembic_config(conn), to)


def _schema(path: Path) -> list[tuple[str, str]]:
    """A table that was rebuilt by a migration has its name in quotes, which says nothing about it."""
    rows = _execute(path, "SELECT name, sql FROM sqlite_master")
    return sorted((name, (sql or "").replace(f'CREATE TABLE "{name}"', f"CREATE TABLE {name}")) for name, sql in rows)


def _execute(path: Path, sql: str) -> list[Any]:
    conn = sqlite3.connect(path)
    try:
        rows = conn.execute(sql).fetchall()
        conn.commit()
        return rows
    finally:
        conn.close()
