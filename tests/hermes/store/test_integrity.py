"""A database file looked at from outside."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from hermes.core.errors import NotFound, StoreUnavailable
from hermes.core.message import Message
from hermes.store import runs, search, sessions
from hermes.store.connecting import reading
from hermes.store.database import Database
from hermes.store.integrity import Checked, Integrity, check_database, examine
from hermes.store.schema import HEAD
from tests.support.postgres import postgres_database
from tests.support.store import keep_run, keep_session

pytestmark = pytest.mark.sqlite("the pages of a file")


def make(path: Path, sessions: int = 0) -> None:
    database = Database.open_now(f"sqlite:///{path}")
    for number in range(sessions):
        database.write_now(lambda conn, n: keep_session(conn, f"s{n}", last_active=float(n)), number)
    database.close_now()


def test_a_whole_file_has_no_problems_and_tells_when_something_last_happened(tmp_path: Path) -> None:
    make(tmp_path / "empty.db")
    assert examine(tmp_path / "empty.db") == Integrity((), revision=HEAD)
    make(tmp_path / "used.db", sessions=3)
    assert examine(tmp_path / "used.db") == Integrity((), 2.0, HEAD)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["empty.db", "used.db"]


def test_a_file_that_is_in_use_can_be_examined(tmp_path: Path) -> None:
    database = Database.open_now(f"sqlite:///{tmp_path / 'state.db'}")
    database.write_now(keep_session)
    assert examine(tmp_path / "state.db") == Integrity((), 1.0, HEAD)
    database.close_now()


def test_damage_is_found(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    make(path, sessions=200)
    with path.open("r+b") as file:
        file.seek(8 * 4096)
        file.write(os.urandom(6 * 4096))
    found = examine(path)
    assert found.problems and found.newest is None


def test_what_is_no_database_is_a_problem_and_nothing_is_made_where_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database, but a long enough text " * 100)
    assert "not a database" in examine(tmp_path / "text").problems[0]
    absent = examine(tmp_path / "absent")
    assert (absent.problems, absent.revision) == ((), None)
    assert absent.refused is not None and str(tmp_path / "absent") in absent.refused
    assert not (tmp_path / "absent").exists()


def test_a_lock_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hermes.store.connecting.BUSY_SECONDS", 0.05)
    path = tmp_path / "state.db"
    make(path, sessions=1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        found = examine(path)
        assert found.problems == ()
        assert found.refused is not None and "locked" in found.refused
        with pytest.raises(StoreUnavailable, match="locked"):
            check_database(f"sqlite:///{path}")


def names(checked: Checked) -> list[str]:
    return [finding.name for finding in checked.findings]


@pytest.mark.parametrize("is_full", [False, True])
async def test_a_used_database_is_whole_while_it_is_used(url: str, is_full: bool) -> None:
    database = await Database.open(url)
    await database.write(keep_run)
    checked = await asyncio.to_thread(check_database, url, is_full=is_full)
    assert (checked.revision, checked.findings) == (HEAD, ())
    assert checked.examined[1:] == (
        "references",
        "schema",
        "runs and events",
        "sessions and messages",
        "approvals",
        "jobs",
        "search index",
    )
    await database.close()


async def test_a_postgresql_is_checked_as_well_and_its_password_is_not_told(postgres: str) -> None:
    with postgres_database(postgres) as empty:
        url = make_url(empty).set(password="top-secret-word").render_as_string(hide_password=False)
        database = await Database.open(url)
        await database.write(keep_run)
        checked = await asyncio.to_thread(check_database, url)
        assert (checked.revision, checked.findings) == (HEAD, ())
        assert "top-secret-word" not in checked.place
        await database.write(lambda conn: conn.exec_driver_sql("UPDATE runs SET finished_at = 1"))
        assert names(await asyncio.to_thread(check_database, url)) == ["status_and_end_differ"]
        await database.close()


def test_a_copy_of_the_files_of_a_killed_process_is_read_with_its_log(tmp_path: Path) -> None:
    """As a power cut leaves them: the file and a part of its log, without the shared memory beside it."""
    database = Database.open_now(f"sqlite:///{tmp_path / 'state.db'}")
    database.write_now(keep_run)
    (tmp_path / "copy").mkdir()
    for name in ("state.db", "state.db-wal"):
        (tmp_path / "copy" / name).write_bytes((tmp_path / name).read_bytes())
    database.close_now()
    copy = f"sqlite:///{tmp_path / 'copy' / 'state.db'}"
    assert check_database(copy).findings == ()
    with reading(copy) as conn:
        assert runs.get(conn, "r") is not None


def test_a_row_without_its_parent_is_found(tmp_path: Path) -> None:
    make(tmp_path / "state.db", sessions=2)
    with closing(sqlite3.connect(tmp_path / "state.db")) as conn:
        conn.execute(
            "INSERT INTO messages (session_id, created_at, role, content, reasoning) VALUES ('gone', 1, 'user', '', '')"
        )
        conn.commit()
    (found,) = check_database(f"sqlite:///{tmp_path / 'state.db'}").findings
    assert (found.name, found.text) == (
        "reference_broken",
        "1 rows of messages belong to a row of sessions that does not exist",
    )


def test_what_is_missing_of_the_schema_is_named(tmp_path: Path) -> None:
    make(tmp_path / "state.db")
    with closing(sqlite3.connect(tmp_path / "state.db")) as conn:
        conn.execute("DROP TABLE audit")
        conn.execute("DROP INDEX jobs_due")
        conn.execute("ALTER TABLE keys DROP COLUMN last_used_at")
    checked = check_database(f"sqlite:///{tmp_path / 'state.db'}")
    assert sorted(finding.text for finding in checked.findings) == [
        "the table audit is missing",
        "the table jobs has no index jobs_due",
        "the table keys has no last_used_at",
    ]


@pytest.mark.parametrize(("revision", "name"), [("0001", "old_schema"), ("9999", "newer_schema")])
def test_another_schema_is_told_and_left_as_it_is(tmp_path: Path, revision: str, name: str) -> None:
    make(tmp_path / "state.db")
    with closing(sqlite3.connect(tmp_path / "state.db")) as conn:
        conn.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        conn.commit()
    checked = check_database(f"sqlite:///{tmp_path / 'state.db'}")
    assert (checked.revision, names(checked)) == (revision, [name])
    with closing(sqlite3.connect(tmp_path / "state.db")) as conn:
        assert conn.execute("SELECT version_num FROM alembic_version").fetchall() == [(revision,)]


def test_damage_foreign_files_and_none_at_all_are_told_apart(tmp_path: Path) -> None:
    make(tmp_path / "state.db", sessions=200)
    with (tmp_path / "state.db").open("r+b") as file:
        file.seek(8 * 4096)
        file.write(b"\xff" * 6 * 4096)
    (tmp_path / "text").write_text("not a database, but a long enough text " * 100)
    with closing(sqlite3.connect(tmp_path / "other.db")) as conn:
        conn.execute("CREATE TABLE x (y)")
    found = {name: names(check_database(f"sqlite:///{tmp_path / name}")) for name in ("state.db", "text", "other.db")}
    assert found == {"state.db": ["damaged"], "text": ["damaged"], "other.db": ["not_ours"]}
    with pytest.raises(NotFound, match="there is no database"):
        check_database(f"sqlite:///{tmp_path / 'absent'}")
    assert not (tmp_path / "absent").exists()


def test_words_of_deleted_messages_in_the_search_index_are_found(tmp_path: Path) -> None:
    database = Database.open_now(f"sqlite:///{tmp_path / 'state.db'}")
    database.write_now(keep_session)
    database.write_now(sessions.add_messages, "s", None, [Message("user", "swordfish")], 1.0)
    database.write_now(search.catch_up)
    database.write_now(lambda conn: conn.exec_driver_sql("DELETE FROM sessions"))
    database.close_now()
    assert names(check_database(f"sqlite:///{tmp_path / 'state.db'}")) == ["search_index_stale"]
