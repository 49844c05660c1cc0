"""Databases that leave and arrive: whole, without keys unless asked, and quiet."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from hermes.core.errors import StoreCorrupt, StoreUnavailable
from hermes.core.key import Key, Scope
from hermes.store import keys, sessions
from hermes.store.database import Connection, Database
from hermes.store.snapshot import adopt, copy_problem, snapshot
from tests.support.store import keep_run, keep_session

pytestmark = pytest.mark.sqlite("a copy of a file")

DIGEST = "d" * 64


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A session, a run, a key and two jobs, of which one is due; a callback and a delivery wait to be sent."""
    path = tmp_path / "state.db"
    database = Database.open_now(f"sqlite:///{path}")
    database.write_now(_fill)
    database.close_now()
    return path


def _fill(conn: Connection) -> None:
    keep_session(conn, "s")
    keep_run(conn, "r")
    keys.add(conn, Key(id="key_1", name="bot", scopes=frozenset(Scope), created_at=1.0), DIGEST, "cli")
    for job_id, next_due in (("job_1", 100.0), ("job_2", None)):
        conn.exec_driver_sql(
            "INSERT INTO jobs (id, owner, name, schedule, timezone, anchor, prompt, deliver, skills, catch_up, state,"
            " created_at, updated_at, fired, next_due) VALUES (?, 'owner', 'j', '1h', 'UTC', 0, 'p', 'local', '[]',"
            " 'one', ?, 1, 1, 0, ?)",
            (job_id, "completed" if next_due is None else "scheduled", next_due),
        )
    conn.exec_driver_sql(
        "INSERT INTO callbacks (id, run_id, url, created_at, attempts, next_attempt_at) VALUES ('c', 'r', 'u', 1, 0, 5)"
    )
    conn.exec_driver_sql(
        "INSERT INTO job_runs (job_id, due_at, is_manual, fired_at, reason, deliver, delivery_attempts, delivery_due)"
        " VALUES ('job_1', 1, 0, 1, 'ran', 'webhook:u', 0, 5)"
    )


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    conn = sqlite3.connect(path)
    try:
        return conn.execute(query).fetchall()
    finally:
        conn.close()


def test_a_snapshot_is_whole_while_the_database_is_open_and_written(source: Path, tmp_path: Path) -> None:
    database = Database.open_now(f"sqlite:///{source}")
    database.write_now(keep_session, "newest")
    snapshot(source, tmp_path / "copy.db", with_keys=True)
    assert rows(tmp_path / "copy.db", "SELECT id FROM sessions ORDER BY id") == [("newest",), ("s",)]
    assert rows(tmp_path / "copy.db", "SELECT name FROM keys") == [("bot",)]
    database.close_now()


def test_without_keys_not_even_their_digests_are_in_the_file(source: Path, tmp_path: Path) -> None:
    snapshot(source, tmp_path / "copy.db", with_keys=False)
    assert rows(tmp_path / "copy.db", "SELECT count(*) FROM keys") == [(0,)]
    assert DIGEST.encode() not in (tmp_path / "copy.db").read_bytes()
    assert rows(source, "SELECT count(*) FROM keys") == [(1,)]


def test_an_adopted_database_opens_to_nobody_fires_nothing_and_sends_nothing(source: Path) -> None:
    assert adopt(source, with_keys=False) == 1
    assert rows(source, "SELECT count(*) FROM keys") == [(0,)]
    assert rows(source, "SELECT id, state, next_due FROM jobs ORDER BY id") == [
        ("job_1", "paused", None),
        ("job_2", "completed", None),
    ]
    assert rows(source, "SELECT next_attempt_at FROM callbacks") == [(None,)]
    assert rows(source, "SELECT delivery_due FROM job_runs") == [(None,)]
    database = Database.open_now(f"sqlite:///{source}")
    assert database.read_now(sessions.get, "s") is not None
    database.close_now()


def test_its_keys_are_taken_when_that_is_asked_for(source: Path) -> None:
    adopt(source, with_keys=True)
    assert rows(source, "SELECT name FROM keys") == [("bot",)]


@pytest.mark.parametrize(
    "extra",
    [
        "CREATE TRIGGER evil AFTER UPDATE ON jobs BEGIN DELETE FROM sessions; END",
        "CREATE VIEW evil AS SELECT 1",
    ],
)
def test_what_would_run_with_our_statements_is_refused_before_the_first(source: Path, extra: str) -> None:
    conn = sqlite3.connect(source)
    conn.execute(extra)
    conn.close()
    before = source.read_bytes()
    with pytest.raises(StoreCorrupt, match="which none of ours has"):
        adopt(source, with_keys=False)
    assert source.read_bytes() == before


def test_a_damaged_or_foreign_file_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_bytes(b"no database" * 100)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE x (y)")
    other.close()
    whole = source.read_bytes()
    (tmp_path / "cut.db").write_bytes(whole[: len(whole) // 2])
    for name in ("text.db", "other.db", "cut.db"):
        with pytest.raises((StoreCorrupt, StoreUnavailable)):
            adopt(tmp_path / name, with_keys=False)


def test_of_a_copy_that_finds_no_room_the_place_it_goes_to_is_told(source: Path, tmp_path: Path) -> None:
    conn = sqlite3.connect(":memory:")
    conn.execute("PRAGMA max_page_count=1")
    with pytest.raises(sqlite3.OperationalError) as full:
        conn.execute("CREATE TABLE t (x)")
    conn.close()
    (tmp_path / "stick").mkdir()
    told = str(copy_problem(full.value, source, tmp_path / "stick" / "copy.db"))
    assert f"no room left for the copy in {tmp_path / 'stick'}" in told
    assert str(source) not in told
