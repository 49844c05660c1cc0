"""A fresh link.db and an upgraded one are the same."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

from hermes.store.database import Database
from hermeslink.store.schema import HEAD, LINK, metadata
from tests.support.link_conversations import conversation, keep

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")


def test_a_fresh_database_is_what_the_migrations_make(tmp_path: Path) -> None:
    Database.open_now(f"sqlite:///{tmp_path / 'fresh.db'}", LINK).close_now()
    migrate(tmp_path / "migrated.db", "head")
    assert schema(tmp_path / "fresh.db") == schema(tmp_path / "migrated.db")


def test_alembic_finds_no_difference_between_a_migrated_database_and_the_tables_of_the_code(tmp_path: Path) -> None:
    migrate(tmp_path / "migrated.db", "head")
    engine = create_engine(f"sqlite:///{tmp_path / 'migrated.db'}", poolclass=NullPool)
    with engine.connect() as conn:
        context = MigrationContext.configure(conn, opts={"include_name": is_no_search_index})
        assert compare_metadata(context, metadata) == []


def is_no_search_index(name: str | None, kind: str, parents: Any) -> bool:
    """FTS5 keeps a table of its own and some behind it."""
    return kind != "table" or name is None or "_search" not in name


def test_head_is_the_newest_revision() -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as conn:
        assert ScriptDirectory.from_config(alembic_config(conn)).get_heads() == [HEAD]


def test_downgrading_to_the_beginning_leaves_nothing_behind(tmp_path: Path) -> None:
    migrate(tmp_path / "link.db", "head")
    migrate(tmp_path / "link.db", "base")
    assert [name for name, _ in schema(tmp_path / "link.db") if not name.startswith("sqlite_")] == ["alembic_version"]


def test_opening_a_database_behind_head_migrates_it(tmp_path: Path) -> None:
    migrate(tmp_path / "link.db", "head")
    migrate(tmp_path / "link.db", "base")
    database = Database.open_now(f"sqlite:///{tmp_path / 'link.db'}", LINK)
    database.write_now(keep, conversation())
    database.close_now()
    Database.open_now(f"sqlite:///{tmp_path / 'fresh.db'}", LINK).close_now()
    assert schema(tmp_path / "link.db") == schema(tmp_path / "fresh.db")


def migrate(path: Path, to: str) -> None:
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        change = command.downgrade if to == "base" else command.upgrade
        change(alembic_config(conn), to)


def alembic_config(conn: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", LINK.migrations)
    config.attributes["connection"] = conn
    return config


def schema(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as conn:
        return sorted((name, sql or "") for name, sql in conn.execute("SELECT name, sql FROM sqlite_master"))
