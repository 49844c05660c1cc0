"""A database file looked at from outside."""

from __future__ import annotations

import os
from pathlib import Path

from hermes.store.database import Database
from hermes.store.integrity import Integrity, examine
from tests.support.store import keep_session


def make(path: Path, sessions: int = 0) -> None:
    database = Database.open_now(f"sqlite:///{path}")
    for number in range(sessions):
        database.write_now(lambda conn, n: keep_session(conn, f"s{n}", last_active=float(n)), number)
    database.close_now()


def test_a_whole_file_has_no_problems_and_tells_when_something_last_happened(tmp_path: Path) -> None:
    make(tmp_path / "empty.db")
    assert examine(tmp_path / "empty.db") == Integrity(())
    make(tmp_path / "used.db", sessions=3)
    assert examine(tmp_path / "used.db") == Integrity((), 2.0)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["empty.db", "used.db"]


def test_a_file_that_is_in_use_can_be_examined(tmp_path: Path) -> None:
    database = Database.open_now(f"sqlite:///{tmp_path / 'state.db'}")
    database.write_now(keep_session)
    assert examine(tmp_path / "state.db") == Integrity((), 1.0)
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
    assert examine(tmp_path / "absent").problems
    assert not (tmp_path / "absent").exists()
