"""A backup is everything at one moment; a restore is that, and repeats nothing that may have happened since."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection

from hermes.core import event as run_events
from hermes.core.errors import Conflict, HermesError, NotFound, StoreCorrupt, StoreUnavailable
from hermes.core.event import KeptEvent
from hermes.core.key import Key, Scope
from hermes.core.message import Message
from hermes.core.run import RunStatus
from hermes.store import callbacks, events, facts, keys, runs, sessions
from hermes.store.backup import BACKUP, back_up, new_part, restore
from hermes.store.connecting import reading
from hermes.store.database import Database
from hermes.store.invariants import check
from hermes.store.move import move
from tests.support.filled import everything, fill
from tests.support.postgres import postgres_database
from tests.support.store import keep_run, keep_session

NOW = 1_000_000.0

pytestmark = pytest.mark.sqlite("each test runs on both by itself")


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    (tmp_path / "home").mkdir()
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'home' / 'state.db'}"
        return
    with postgres_database(request.getfixturevalue("postgres")) as postgres_url:
        yield postgres_url


@pytest.fixture
def home_url(tmp_path: Path) -> str:
    (tmp_path / "home").mkdir()
    return f"sqlite:///{tmp_path / 'home' / 'state.db'}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups" / "one.db"


def write(url: str, *functions: object) -> None:
    database = Database.open_now(url)
    for function in functions:
        database.write_now(function)  # type: ignore[arg-type]
    database.close_now()


def contents(url: str) -> dict[str, list[tuple[object, ...]]]:
    with reading(url) as conn:
        found = everything(conn)
    found["facts"] = [row for row in found["facts"] if row[0] != BACKUP]
    return found


def test_a_backup_has_everything_in_one_file_that_only_its_owner_reads(url: str, file: Path) -> None:
    write(url, fill)
    done = back_up(url, file, now=NOW)
    expected = contents(url)
    if url.startswith("postgresql"):
        expected["runs"] = contents(f"sqlite:///{file}")["runs"]  # the node is a process's
    assert contents(f"sqlite:///{file}") == expected
    assert [path.name for path in file.parent.iterdir()] == ["one.db"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert done.bytes == file.stat().st_size


def test_a_backup_is_one_moment_of_a_database_that_is_written_meanwhile(url: str, file: Path) -> None:
    """Each write adds a session and its message: never one without the other."""
    database = Database.open_now(url)
    is_over = threading.Event()
    has_begun = threading.Event()

    def write_on() -> None:
        number = 0
        while not is_over.is_set():
            database.write_now(_say, number)
            number += 1
            if number == 20:
                has_begun.set()

    writing = threading.Thread(target=write_on)
    writing.start()
    try:
        assert has_begun.wait(20)
        back_up(url, file, now=NOW)
    finally:
        is_over.set()
        writing.join()
    database.close_now()
    with reading(f"sqlite:///{file}") as conn:
        assert check(conn) == []
        assert conn.exec_driver_sql("SELECT count(*) FROM sessions").scalar_one() >= 20


def _say(conn: Connection, number: int) -> None:
    keep_session(conn, f"s{number}")
    sessions.add_messages(conn, f"s{number}", None, [Message("user", "x")], 1.0)


def test_a_backup_overwrites_nothing_and_leaves_no_half_of_one(url: str, file: Path) -> None:
    write(url, keep_session)
    file.write_text("mine")
    with pytest.raises(Conflict, match=r"one\.db exists already"):
        back_up(url, file, now=NOW)
    assert file.read_text() == "mine"

    def fail(conn: Connection) -> None:
        raise HermesError("no")

    with pytest.raises(HermesError, match="no"):
        back_up(url, file.with_name("two.db"), now=NOW, also=fail)
    with pytest.raises((StoreUnavailable, OSError)):
        back_up(url, file.parent / "missing" / "three.db", now=NOW)
    assert [path.name for path in file.parent.iterdir()] == ["one.db"]


def test_there_is_no_backup_of_nothing(url: str, file: Path) -> None:
    if url.startswith("postgresql"):
        write(url, lambda conn: conn.exec_driver_sql("DROP TABLE alembic_version"))
    with pytest.raises(NotFound, match=r"nothing of ours|no database"):
        back_up(url, file, now=NOW)


def test_what_was_backed_up_comes_back_and_what_came_later_is_gone(url: str, file: Path) -> None:
    write(url, keep_session, lambda conn: sessions.add_messages(conn, "s", None, [Message("user", "old")], 1.0))
    back_up(url, file, now=NOW)
    write(url, lambda conn: keep_session(conn, "later"))
    done = restore(url, file, now=NOW + 60, is_forced=url.startswith("postgresql"))
    database = Database.open_now(url)
    assert [message.text for message in database.read_now(sessions.history, "s")] == ["old"]
    assert database.read_now(sessions.get, "later") is None
    assert database.read_now(facts.get, BACKUP) is None
    database.close_now()
    assert (done.made_at, done.findings) == (NOW, ())
    if done.aside is not None:
        with reading(f"sqlite:///{done.aside}") as conn:
            assert sessions.get(conn, "later") is not None
    assert (done.aside is None) == url.startswith("postgresql")
    with reading(f"sqlite:///{file}") as conn:  # the backup is still one
        assert facts.get(conn, BACKUP) is not None


def test_a_backup_of_the_one_kind_restores_into_the_other(tmp_path: Path, home_url: str, postgres: str) -> None:
    with postgres_database(postgres) as server_url:
        write(server_url, fill)
        back_up(server_url, tmp_path / "of-server.db", now=NOW)
        restore(home_url, tmp_path / "of-server.db", now=NOW, is_forced=True)
        assert contents(home_url)["messages"] == contents(server_url)["messages"]
        back_up(home_url, tmp_path / "of-home.db", now=NOW)
        restore(server_url, tmp_path / "of-home.db", now=NOW, is_forced=True)
        assert contents(home_url) == contents(server_url)


def test_open_runs_are_told_as_interrupted_and_nothing_that_waited_is_sent(url: str, file: Path) -> None:
    def work(conn: Connection) -> None:
        keep_run(conn, "running", "s1", node="node_1")
        events.append(conn, "running", [KeptEvent(1, 1.0, run_events.RunStarted("s1", "m"))])
        keep_run(conn, "queued", "s2", status=RunStatus.QUEUED, request={"messages": [["user", "hello"] + [None] * 5]})
        callbacks.insert(conn, "c", "running", "http://example/", 1.0)

    write(url, work)
    back_up(url, file, now=NOW)
    done = restore(url, file, now=NOW + 1, is_forced=True)
    assert (done.interrupted, done.unsent) == (2, 1)
    with reading(url) as conn:
        assert check(conn) == []
        assert [one.event.name for one in events.after(conn, "running")] == ["run.started", "run.interrupted"]
        assert [one.event.name for one in events.after(conn, "queued")] == ["run.interrupted"]
        assert [message.text for message in sessions.history(conn, "s2")] == ["hello"]
        assert runs.open_runs(conn) == []
        assert [one.next_attempt_at for one in callbacks.of_run(conn, "running")] == [None]


def test_who_was_shut_out_since_stays_out_and_what_was_spent_stays_spent(url: str, file: Path) -> None:
    def add(conn: Connection) -> None:
        for name in ("revoked", "rotated", "spent"):
            key = Key(id=f"key_{name}", name=name, scopes=frozenset(Scope), created_at=1.0)
            keys.add(conn, key, name.ljust(64, "0"), "cli")

    def change(conn: Connection) -> None:
        keys.revoke(conn, "revoked", 2.0, "cli")
        keys.rotate(conn, "rotated", "new".ljust(64, "0"), 2.0, "cli")
        keys.spend(conn, "key_spent", 1.5)

    write(url, add)
    back_up(url, file, now=NOW)
    write(url, change)
    restore(url, file, now=NOW, is_forced=True)
    with reading(url) as conn:
        assert keys.by_digest(conn, "revoked".ljust(64, "0")) is None
        assert keys.by_digest(conn, "rotated".ljust(64, "0")) is None
        assert keys.by_digest(conn, "new".ljust(64, "0")) is not None
        spent = keys.get(conn, "key_spent")
        assert spent is not None
        assert spent.spent_usd == 1.5


def test_a_database_that_is_not_empty_is_not_replaced_on_a_server_without_force(
    tmp_path: Path, home_url: str, postgres: str
) -> None:
    write(home_url, keep_session)
    back_up(home_url, tmp_path / "one.db", now=NOW)
    with postgres_database(postgres) as server_url:
        write(server_url, lambda conn: keep_session(conn, "theirs"))
        with pytest.raises(Conflict, match=r"not empty: back it up .* --force"):
            restore(server_url, tmp_path / "one.db", now=NOW)
        with reading(server_url) as conn:
            assert sessions.get(conn, "theirs") is not None


def test_a_damaged_database_is_replaced_and_kept_with_its_log(home_url: str, file: Path, tmp_path: Path) -> None:
    write(home_url, keep_session)
    back_up(home_url, file, now=NOW)
    (tmp_path / "home" / "state.db").write_bytes(b"no database" * 1000)
    (tmp_path / "home" / "state.db-wal").write_bytes(b"its log")
    done = restore(home_url, file, now=NOW)
    assert done.aside is not None
    assert done.aside.read_bytes() == b"no database" * 1000
    assert done.aside.with_name(f"{done.aside.name}-wal").read_bytes() == b"its log"
    with reading(home_url) as conn:
        assert sessions.get(conn, "s") is not None


@pytest.mark.parametrize("kind", ["nothing", "foreign", "cut", "text", "trigger", "broken", "absent"])
def test_what_is_no_good_backup_replaces_nothing(home_url: str, file: Path, tmp_path: Path, kind: str) -> None:
    write(home_url, lambda conn: keep_session(conn, "mine"))
    before = contents(home_url)
    other = f"sqlite:///{tmp_path / 'other.db'}"
    write(other, *(partial(keep_run, id=f"r{number}", session_id=f"s{number}") for number in range(200)))
    back_up(other, file, now=NOW)
    match kind:
        case "nothing":
            file.write_bytes(b"")
        case "foreign":
            file.unlink()
            with closing(sqlite3.connect(file)) as conn:
                conn.execute("CREATE TABLE theirs (x)")
        case "cut":
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        case "text":
            file.write_text("no database" * 1000)
        case "trigger":
            with closing(sqlite3.connect(file)) as conn:
                conn.execute("CREATE TRIGGER evil AFTER UPDATE ON runs BEGIN DELETE FROM sessions; END")
        case "broken":
            with closing(sqlite3.connect(file)) as conn:
                conn.execute("UPDATE runs SET finished_at = 1 WHERE id = 'r1'")
                conn.commit()
        case "absent":
            file.unlink()
    with pytest.raises((StoreCorrupt, NotFound, HermesError)):
        restore(home_url, file, now=NOW)
    assert contents(home_url) == before
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["state.db"]


def test_a_backup_with_findings_is_taken_when_it_is_forced(home_url: str, file: Path) -> None:
    def break_it(conn: Connection) -> None:
        keep_run(conn, "r")
        conn.exec_driver_sql("UPDATE runs SET status = 'completed', finished_at = 1")

    write(home_url, break_it)
    done = back_up(home_url, file, now=NOW)
    assert [finding.name for finding in done.findings] == ["no_final_event"]
    with pytest.raises(HermesError, match=r"1 findings, the first: 1 ended runs .* --force"):
        restore(home_url, file, now=NOW)
    assert [finding.name for finding in restore(home_url, file, now=NOW, is_forced=True).findings] == ["no_final_event"]


def test_a_database_that_somebody_has_open_is_not_replaced(url: str, file: Path) -> None:
    from hermes.store.upkeep import check_unused

    write(url, keep_session)
    check_unused(url)
    database = Database.open_now(url)
    database.write_now(keep_session, "s2")
    with pytest.raises(Conflict) as caught:
        check_unused(url)
    assert caught.value.code == "database_in_use"
    database.write_now(keep_session, "s3")  # and nothing was taken from whoever has it open
    database.close_now()
    check_unused(url)


def test_what_a_killed_backup_left_is_removed_by_one_a_day_later(home_url: str, file: Path) -> None:
    write(home_url, keep_session)
    old, young = new_part(file), new_part(file)
    for part in (old, young, old.with_name(f"{old.name}-wal")):
        part.write_text("half")
    mine = file.with_name(".one.db.part")
    mine.write_text("mine")
    for path in (*file.parent.iterdir(),):
        if path != young:
            os.utime(path, (1.0, 1.0))
    back_up(home_url, file, now=NOW)
    assert sorted(path.name for path in file.parent.iterdir()) == sorted([mine.name, young.name, "one.db"])


@pytest.mark.parametrize("kind", ["backup", "move", "restore"])
def test_where_the_disk_knows_no_second_names_it_is_done_all_the_same(
    home_url: str, file: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A USB stick, a network file system."""

    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    write(home_url, keep_session)
    if kind == "restore":
        back_up(home_url, file, now=NOW)
    monkeypatch.setattr(os, "link", refuse)
    if kind == "backup":
        back_up(home_url, file, now=NOW)
    elif kind == "move":
        move(home_url, f"sqlite:///{file}")
    else:
        before = contents(home_url)
        done = restore(home_url, file, now=NOW)
        assert done.aside is not None
        assert contents(f"sqlite:///{done.aside}") == before
        assert stat.S_IMODE(done.aside.stat().st_mode) == 0o600
    assert contents(f"sqlite:///{file}")["sessions"] == contents(home_url)["sessions"]
    assert [path.name for path in file.parent.iterdir()] == ["one.db"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    if kind == "backup":
        with pytest.raises(Conflict):
            back_up(home_url, file, now=NOW)


def test_a_newer_database_and_its_backup_are_refused_by_their_own_names(home_url: str, file: Path) -> None:
    write(home_url, keep_session)
    back_up(home_url, file, now=NOW)
    for place in (home_url.removeprefix("sqlite:///"), str(file)):
        with closing(sqlite3.connect(place)) as conn:
            conn.execute("UPDATE alembic_version SET version_num = '9999'")
            conn.commit()
    for attempt, place in (
        (partial(back_up, home_url, file.with_name("two.db")), home_url.removeprefix("sqlite:///")),
        (partial(restore, home_url, file), str(file)),
    ):
        with pytest.raises(StoreUnavailable, match="install the newer") as refused:
            attempt(now=NOW)
        assert place in refused.value.message
        assert ".part" not in refused.value.message
