"""What a database says is told in words with the way out; nobody is sent the wrong way."""

from __future__ import annotations

import sqlite3
from contextlib import closing, nullcontext
from pathlib import Path

import psycopg
import pytest

from hermes.core.errors import StoreCorrupt, StoreUnavailable
from hermes.store.postgres import check_version
from hermes.store.problems import is_damage, may_be_done_again, translated

PLACE = "postgresql://hermes@db:5432/hermes"
REFUSED = 'connection failed: connection to server at "db", port 5432 failed: FATAL:  '


def sqlite_error(code: int, words: str = "disk I/O error") -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(words)
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ('password authentication failed for user "hermes"', "Mend user or password in database.url"),
        ('database "hermes" does not exist', "Make it (createuser, createdb --owner)"),
        ('no pg_hba.conf entry for host "10.0.0.9"', "or pg_hba.conf there"),
    ],
)
def test_a_server_that_lets_nobody_in_is_not_waited_for(words: str, told: str) -> None:
    error = psycopg.OperationalError(REFUSED + words)
    assert not may_be_done_again(error)
    problem = translated(error, PLACE)
    assert isinstance(problem, StoreUnavailable)
    assert "does not let us in" in problem.message and told in problem.message


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (REFUSED + "the database system is starting up", "cannot be reached"),
        (REFUSED + "sorry, too many clients already", "Raise max_connections"),
        (REFUSED + 'too many connections for database "hermes"', "Raise max_connections"),
        (REFUSED + "remaining connection slots are reserved for roles with SUPERUSER", "Raise max_connections"),
        ('connection failed: connection to server at "db", port 5432 failed: Connection refused', "Start the server"),
        ("server closed the connection unexpectedly", "cannot be reached"),
    ],
)
def test_a_server_that_is_away_for_a_moment_is_waited_for(words: str, told: str) -> None:
    error = psycopg.OperationalError(words)
    assert may_be_done_again(error)
    assert told in str(translated(error, PLACE))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (psycopg.errors.ReadOnlySqlTransaction("cannot execute INSERT"), "name the primary in database.url"),
        (psycopg.errors.TooManyConnections("too many"), "Raise max_connections"),
        (psycopg.errors.AdminShutdown("terminating connection"), "cannot be reached"),
    ],
)
def test_what_a_server_says_in_a_code_is_told_and_waited_for(error: psycopg.Error, told: str) -> None:
    assert may_be_done_again(error)
    assert told in str(translated(error, PLACE))


def test_a_server_without_room_is_told_at_once() -> None:
    error = psycopg.errors.DiskFull("could not extend file")
    assert not may_be_done_again(error)
    assert "Free some disk space on the server" in str(translated(error, PLACE))


def test_only_damage_is_called_damage() -> None:
    assert is_damage(sqlite_error(sqlite3.SQLITE_CORRUPT, "database disk image is malformed"))
    assert is_damage(sqlite_error(sqlite3.SQLITE_NOTADB, "file is not a database"))
    for code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN):
        assert not is_damage(sqlite_error(code))


@pytest.mark.sqlite("what its driver says")
def test_text_that_is_none_is_damage_and_is_not_shown(tmp_path: Path) -> None:
    with closing(sqlite3.connect(":memory:")) as conn, pytest.raises(sqlite3.OperationalError) as raised:
        conn.execute("SELECT CAST(X'ff' || 'a secret' AS TEXT) AS text").fetchone()
    assert is_damage(raised.value) and "secret" in str(raised.value)
    problem = translated(raised.value, str(tmp_path / "state.db"))
    assert isinstance(problem, StoreCorrupt) and "secret" not in problem.message


def test_damage_names_the_commands_that_mend_it(tmp_path: Path) -> None:
    problem = translated(sqlite_error(sqlite3.SQLITE_CORRUPT, "malformed"), str(tmp_path / "state.db"))
    assert isinstance(problem, StoreCorrupt)
    assert "hermes db check" in problem.message and "hermes db restore" in problem.message


def test_a_disk_that_fails_while_it_has_room_is_told_as_failing(tmp_path: Path) -> None:
    problem = str(translated(sqlite_error(sqlite3.SQLITE_IOERR), str(tmp_path / "state.db")))
    assert "the disk failed under the database" in problem and "dmesg" in problem


@pytest.mark.parametrize(("number", "is_refused"), [(130_022, True), (140_000, False), (180_006, False)])
def test_a_server_of_an_old_version_is_refused_with_the_one_that_will_do(number: int, is_refused: bool) -> None:
    refused = pytest.raises(StoreUnavailable, match="PostgreSQL 13, which is too old: 14 or newer")
    with refused if is_refused else nullcontext():
        check_version(number, PLACE)
