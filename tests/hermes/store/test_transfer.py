"""From one database into another: everything, the same, or nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from hermes.core.errors import Conflict, HermesError, StoreUnavailable
from hermes.core.message import Message
from hermes.store import facts, search, sessions
from hermes.store.connecting import reading
from hermes.store.database import Database
from hermes.store.schema import messages, runs
from hermes.store.transfer import transfer
from tests.support.filled import TABLES, everything, fill
from tests.support.postgres import postgres_database
from tests.support.store import keep_run, keep_session

pytestmark = pytest.mark.sqlite("each test runs on both by itself")


@pytest.fixture(params=["sqlite", "postgres"])
def source_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    yield from _url(request, tmp_path / "source.db")


@pytest.fixture(params=["sqlite", "postgres"])
def target_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    yield from _url(request, tmp_path / "target.db")


def _url(request: pytest.FixtureRequest, path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{path}"
        return
    with postgres_database(request.getfixturevalue("postgres")) as url:
        yield url


@pytest.fixture
def source(source_url: str) -> Iterator[Database]:
    database = Database.open_now(source_url)
    yield database
    database.close_now()


@pytest.fixture
def target(target_url: str) -> Iterator[Database]:
    database = Database.open_now(target_url)
    yield database
    database.close_now()


def test_every_row_of_every_table_arrives_as_it_was(source: Database, source_url: str, target: Database) -> None:
    source.write_now(fill)
    told: list[tuple[str, int]] = []
    with reading(source_url) as rows:
        copied = transfer(rows, target, told=lambda table, count: told.append((table, count)))
    assert copied.rows == {table.name: 3 for table in TABLES}
    assert told == list(copied.rows.items())
    expected = source.read_now(everything)
    place = [column.name for column in runs.columns].index("node")
    expected["runs"] = [(*row[:place], None, *row[place + 1 :]) for row in expected["runs"]]  # it was a process's
    assert target.read_now(everything) == expected


def test_ids_go_on_where_they_were_even_those_of_rows_that_are_gone(
    source: Database, source_url: str, target: Database
) -> None:
    def say(conn: Connection, text: str) -> None:
        sessions.add_messages(conn, "s", None, [Message("user", text)], 1.0)

    def last(conn: Connection) -> int:
        return int(conn.execute(sa.select(sa.func.max(messages.c.id))).scalar_one())

    source.write_now(keep_session)
    for text in ("a", "b", "c"):
        source.write_now(say, text)
    given = source.read_now(last)
    source.write_now(lambda conn: conn.exec_driver_sql("DELETE FROM messages WHERE content = 'c'"))
    with reading(source_url) as rows:
        transfer(rows, target)
    target.write_now(say, "d")
    assert target.read_now(last) == given + 1


def test_an_empty_database_goes_into_an_empty_one_and_its_first_id_is_1(
    source: Database, source_url: str, target: Database
) -> None:
    with reading(source_url) as rows:
        assert transfer(rows, target).total == 0
    target.write_now(keep_session)
    target.write_now(sessions.add_messages, "s", None, [Message("user", "a")], 1.0)
    assert [one.id for one in target.read_now(sessions.messages, "s")] == [1]


def test_what_is_not_empty_is_left_as_it_is_unless_it_is_to_be_replaced(
    source: Database, source_url: str, target: Database
) -> None:
    source.write_now(keep_session, "from the source")
    target.write_now(keep_session, "of the target")
    target.write_now(sessions.add_messages, "of the target", None, [Message("user", "swordfish")], 1.0)
    target.write_now(search.catch_up)
    with reading(source_url) as rows:
        with pytest.raises(Conflict, match="not empty"):
            transfer(rows, target)
        assert target.read_now(sessions.get, "from the source") is None
        transfer(rows, target, replaces=True)
    assert target.read_now(sessions.get, "of the target") is None
    assert target.read_now(sessions.get, "from the source") is not None
    assert not target.read_now(search.has_orphans)


def test_facts_alone_do_not_make_it_full_and_are_the_sources_afterwards(
    source: Database, source_url: str, target: Database
) -> None:
    source.write_now(facts.put, "profile", "default")
    target.write_now(facts.put, "profile", "other")
    target.write_now(facts.put, "more", "x")
    with reading(source_url) as rows:
        transfer(rows, target)
    assert (target.read_now(facts.get, "profile"), target.read_now(facts.get, "more")) == ("default", None)


def test_what_fails_in_the_middle_leaves_nothing(source: Database, source_url: str, target: Database) -> None:
    def fail(conn: Connection) -> None:
        raise HermesError("no room for files")

    source.write_now(fill)
    with reading(source_url) as rows, pytest.raises(HermesError, match="no room for files"):
        transfer(rows, target, also=fail)
    assert set(map(len, target.read_now(everything).values())) == {0}


def test_a_database_that_gives_back_something_else_is_refused(
    source: Database, source_url: str, tmp_path: Path
) -> None:
    """A trigger stands for whatever may change rows on their way."""
    Database.open_now(f"sqlite:///{tmp_path / 'target.db'}").close_now()
    with closing(sqlite3.connect(tmp_path / "target.db")) as conn:
        conn.execute("CREATE TRIGGER t AFTER INSERT ON audit BEGIN UPDATE audit SET actor = 'x' WHERE id = new.id; END")
    source.write_now(fill)
    target = Database.open_now(f"sqlite:///{tmp_path / 'target.db'}")
    with reading(source_url) as rows, pytest.raises(HermesError, match="table audit does not read as it was written"):
        transfer(rows, target)
    assert set(map(len, target.read_now(everything).values())) == {0}
    target.close_now()


def test_characters_that_postgresql_refuses_are_replaced_and_counted(tmp_path: Path, postgres: str) -> None:
    source_url = f"sqlite:///{tmp_path / 'source.db'}"
    Database.open_now(source_url).close_now()
    with closing(sqlite3.connect(tmp_path / "source.db")) as conn:
        conn.execute(
            "INSERT INTO audit (at, actor, action, subject) "
            "VALUES (1, 'a' || char(0) || 'b', 'x', CAST(x'61ff62' AS TEXT))"
        )
        conn.commit()
    with postgres_database(postgres) as url:
        target = Database.open_now(url)
        with reading(source_url) as rows:
            assert transfer(rows, target).mended == 2
        found = target.read_now(lambda conn: conn.exec_driver_sql("SELECT actor, subject FROM audit").all())
        assert [tuple(row) for row in found] == [("a\ufffdb", "a\ufffdb")]
        target.close_now()


def test_a_number_that_is_too_large_for_the_target_is_told_with_its_table(tmp_path: Path, postgres: str) -> None:
    source = Database.open_now(f"sqlite:///{tmp_path / 'source.db'}")
    source.write_now(keep_run)
    source.write_now(lambda conn: conn.exec_driver_sql("UPDATE runs SET input_tokens = 3000000000"))
    source.close_now()
    with postgres_database(postgres) as url:
        target = Database.open_now(url)
        with (
            reading(f"sqlite:///{tmp_path / 'source.db'}") as rows,
            pytest.raises(HermesError, match=r"table runs was refused: .*3000000000.* out of range"),
        ):
            transfer(rows, target)
        assert target.read_now(sessions.get, "s") is None
        target.close_now()


def test_a_target_that_finds_no_room_says_where(source: Database, source_url: str, tmp_path: Path) -> None:
    source.write_now(_much)
    target = Database.open_now(f"sqlite:///{tmp_path / 'small.db'}")
    target.write_now(lambda conn: conn.exec_driver_sql("PRAGMA max_page_count=1"))  # it is as small as it can be
    with (
        reading(source_url) as rows,
        pytest.raises(StoreUnavailable, match=r"no room left for the database .*small\.db"),
    ):
        transfer(rows, target)
    target.close_now()


def _much(conn: Connection) -> None:
    keep_session(conn)
    sessions.add_messages(conn, "s", None, [Message("user", "x" * 100_000)], 1.0)
