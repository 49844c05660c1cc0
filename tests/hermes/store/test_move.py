"""A home's data goes to another database and can be used there at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from hermes.core.errors import Conflict, HermesError, InvalidInput, NotFound, StoreUnavailable
from hermes.core.message import Message
from hermes.core.run import RunStatus
from hermes.store import runs, search, sessions
from hermes.store.connecting import reading
from hermes.store.database import Database
from hermes.store.integrity import check_database
from hermes.store.move import move
from tests.support.filled import everything, fill
from tests.support.postgres import postgres_database
from tests.support.store import keep_run, keep_session

pytestmark = pytest.mark.sqlite("each test runs on both by itself")


@pytest.fixture
def home_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'state.db'}"


@pytest.fixture
def server_url(postgres: str) -> Iterator[str]:
    with postgres_database(postgres) as url:
        yield url


def write(url: str, *functions: object) -> None:
    database = Database.open_now(url)
    for function in functions:
        database.write_now(function)  # type: ignore[arg-type]
    database.close_now()


def say(conn: Connection) -> None:
    sessions.add_messages(conn, "s", None, [Message("user", "Where is the swordfish?")], 1.0)


def test_a_home_goes_to_a_server_and_back_and_is_the_same(home_url: str, server_url: str, tmp_path: Path) -> None:
    write(home_url, fill)
    there = move(home_url, server_url)
    back = move(server_url, f"sqlite:///{tmp_path / 'back.db'}")
    assert there.copied == back.copied
    with reading(home_url) as before, reading(f"sqlite:///{tmp_path / 'back.db'}") as after:
        expected = everything(before)
        assert {name: rows for name, rows in everything(after).items() if name != "runs"} == {
            name: rows for name, rows in expected.items() if name != "runs"
        }
    assert (tmp_path / "back.db").stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back.db", "state.db"]


def test_the_search_finds_there_what_was_said_here(home_url: str, server_url: str) -> None:
    write(home_url, keep_session, say)
    moved = move(home_url, server_url)
    assert moved.indexed == 1
    with reading(server_url) as conn:
        found = search.find(conn, "alice", search.parse("swordfish"), limit=5)
        assert [hit.session_id for hit in found] == ["s"]
        assert search.pending(conn) == 0
    assert check_database(server_url).findings == ()


def test_an_open_run_stays_open_and_is_nobodys(home_url: str, server_url: str) -> None:
    write(home_url, lambda conn: keep_run(conn, "r", node="node_of_here"))
    move(home_url, server_url)
    with reading(server_url) as conn:
        (run,) = runs.open_runs(conn)
        assert (run.id, run.status, run.node) == ("r", RunStatus.RUNNING, None)


def test_a_target_that_holds_something_is_left_alone(home_url: str, server_url: str, tmp_path: Path) -> None:
    write(home_url, keep_session)
    write(server_url, lambda conn: keep_session(conn, "theirs"))
    with pytest.raises(Conflict, match="is not empty: name an empty database"):
        move(home_url, server_url)
    (tmp_path / "other.db").write_text("mine")
    with pytest.raises(Conflict, match="exists already"):
        move(home_url, f"sqlite:///{tmp_path / 'other.db'}")
    assert (tmp_path / "other.db").read_text() == "mine"


def test_what_fails_in_the_middle_can_be_done_again(home_url: str, server_url: str, tmp_path: Path) -> None:
    def fail(conn: Connection) -> None:
        raise HermesError("the power went")

    write(home_url, keep_session)
    for target in (server_url, f"sqlite:///{tmp_path / 'new.db'}"):
        with pytest.raises(HermesError, match="the power went"):
            move(home_url, target, also=fail)
        assert move(home_url, target).copied.rows["sessions"] == 1


def test_a_target_that_is_in_use_or_not_there_is_refused(home_url: str, server_url: str) -> None:
    write(home_url, keep_session)
    gateway = Database.open_now(server_url)
    with pytest.raises(Conflict, match="is in use by"):
        move(home_url, server_url)
    gateway.close_now()
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        move(home_url, "postgresql://hermes:top-secret-word@127.0.0.1:1/none")
    with pytest.raises(InvalidInput, match="already"):
        move(home_url, home_url)


def test_there_must_be_something_to_move(home_url: str, server_url: str) -> None:
    with pytest.raises(NotFound, match="there is no database"):
        move(home_url, server_url)
