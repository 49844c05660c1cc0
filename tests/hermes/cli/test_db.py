"""`hermes db` without a gateway."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

from hermes.core import event as run_events
from hermes.core.event import KeptEvent
from hermes.core.file import File, new_file_id
from hermes.core.message import Message
from hermes.core.run import RunStatus, Usage
from hermes.home.locks import lock_gateway
from hermes.home.paths import create_home
from hermes.store import audit, events, runs, sessions, started_calls
from hermes.store import files as file_store
from hermes.store.connecting import reading, shown
from hermes.store.database import Database
from hermes.store.revisions import alembic_config
from hermes.store.schema import HEAD
from tests.support.cli import Hermes
from tests.support.disks import small_disk
from tests.support.postgres import postgres_database
from tests.support.store import a_session, keep_run

pytestmark = pytest.mark.sqlite("each test runs on both by itself: a backup is an SQLite file")
ON_SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, hermes: Hermes) -> Iterator[str]:
    """Of a home's database; on PostgreSQL it is there, and empty."""
    create_home(hermes.home)
    if request.param == "sqlite":
        yield f"sqlite:///{hermes.home.state_db}"
        return
    with postgres_database(request.getfixturevalue("postgres")) as server:
        hermes.environ["HERMES_DATABASE_URL"] = server
        yield server


def force(url: str) -> tuple[str, ...]:
    return () if url.startswith("sqlite") else ("--force",)


@pytest.fixture
def server_url(postgres: str) -> Iterator[str]:
    with postgres_database(postgres) as server:
        yield server


def write(url: str, *functions: object) -> None:
    database = Database.open_now(url)
    for function in functions:
        database.write_now(function)  # type: ignore[arg-type]
    database.close_now()


def talk(conn: Connection) -> None:
    """The owner's session with one ended run, and another's."""
    sessions.create(conn, a_session("s", owner="owner", title="Fish"))
    keep_run(conn, "r", "s", owner="owner", model="m")
    sessions.add_messages(
        conn, "s", "r", [Message("user", "Where is the swordfish?"), Message("assistant", "Here.")], 2.0
    )
    told: list[run_events.RunEvent] = [
        run_events.RunStarted("s", "m"),
        run_events.MessageDelta("Here."),
        run_events.RunCompleted("Here.", {}),
    ]
    events.append(conn, "r", [KeptEvent(seq, 2.0, event) for seq, event in enumerate(told, 1)])
    runs.finish(conn, "r", RunStatus.COMPLETED, 3.0, "Here.", "stop", Usage(), None, "run.completed", 3)
    sessions.create(conn, a_session("theirs", owner="key_1"))


def upload(hermes: Hermes, url: str, data: bytes) -> str:
    """As it lies beside an SQLite file."""
    record = File(
        id=new_file_id(),
        owner="owner",
        filename="a.txt",
        purpose="user_data",
        media_type="text/plain",
        bytes=len(data),
        sha256="0" * 64,
        created_at=1.0,
    )
    write(url, partial(file_store.insert, file=record))
    hermes.home.files_dir.mkdir(exist_ok=True)
    (hermes.home.files_dir / record.id).write_bytes(data)
    return record.id


def break_run(conn: Connection) -> None:
    keep_run(conn, "r")
    conn.exec_driver_sql("UPDATE runs SET finished_at = 1")


def test_without_a_home_it_says_how_to_make_one(hermes: Hermes) -> None:
    for word in ("check", "upgrade", "backup", "vacuum", "export", "retention"):
        done = hermes("db", word)
        assert (done.code, "it is made with: hermes gateway" in done.err) == (2, True)
    assert not hermes.home.path.exists()


@ON_SQLITE
def test_without_a_database_it_says_who_makes_one(hermes: Hermes, url: str) -> None:
    done = hermes("db", "check")
    assert (done.code, "the first start of a gateway makes it" in done.err) == (1, True)
    assert not hermes.home.state_db.exists()


def test_a_whole_database_is_said_to_be_whole_and_what_was_examined(hermes: Hermes, url: str) -> None:
    write(url, talk)
    done = hermes("db", "check")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        f"{shown(url)} is whole. Examined: pages, references, schema, runs and events, "
        "sessions and messages, approvals, jobs, search index.\n"
    )
    assert "pages and indexes" in hermes("db", "check", "--full").out
    assert json.loads(hermes("db", "check", "--json").out)["ok"] is True


def test_what_is_broken_is_named_with_its_mend_and_is_exit_code_1(hermes: Hermes, url: str) -> None:
    write(url, break_run)
    done = hermes("db", "check")
    assert (done.code, done.err) == (1, "")
    first, mend, last = done.out.splitlines()
    assert first == "1 runs whose status does not fit whether they have ended: r [status_and_end_differ]"
    assert "hermes db restore" in mend
    assert last == f"1 to mend in {shown(url)}."
    told = json.loads(hermes("db", "check", "--json").out)
    assert (told["ok"], told["findings"][0]["ids"]) == (False, ["r"])


def test_a_backup_brings_back_sessions_and_uploads_and_what_was_replaced_is_kept(hermes: Hermes, url: str) -> None:
    write(url, talk)
    file_id = upload(hermes, url, b"hello")
    done = hermes("db", "backup")
    (made,) = (hermes.home.path / "backups").iterdir()
    assert (done.code, f"Wrote {made}, " in done.out, f"hermes db restore {made}" in done.out) == (0, True, True)
    shutil.rmtree(hermes.home.files_dir)
    write(url, partial(sessions.delete, session_id="s"))
    later = upload(hermes, url, b"later")
    done = hermes("db", "restore", str(made), *force(url))
    assert (done.code, done.err) == (0, "")
    assert f"Restored {shown(url)} from {made}, made " in done.out
    assert "swordfish" in hermes("sessions", "show", "s").out
    if not url.startswith("sqlite"):
        return
    assert (hermes.home.files_dir / file_id).read_bytes() == b"hello"
    (aside,) = hermes.home.path.glob("state.db.before-restore-*.files")
    assert [path.name for path in aside.iterdir()] == [later]
    assert hermes("db", "check").code == 0
    with reading(url) as conn:
        assert [entry.action for entry in audit.newest(conn)] == ["database.restored"]


def test_a_backup_goes_where_it_is_told_to_and_overwrites_nothing(hermes: Hermes, url: str, tmp_path: Path) -> None:
    write(url, talk)
    assert hermes("db", "backup", str(tmp_path / "one.db")).code == 0
    before = (tmp_path / "one.db").read_bytes()
    done = hermes("db", "backup", str(tmp_path / "one.db"))
    assert (done.code, "exists already" in done.err) == (1, True)
    assert (tmp_path / "one.db").read_bytes() == before
    assert hermes("db", "backup", str(tmp_path / "missing" / "one.db")).code == 1
    assert hermes("db", "backup", str(tmp_path), "--no-files").code == 0
    assert len(list(tmp_path.glob("hermes-default-*.db"))) == 1


def test_a_backup_of_what_is_broken_is_made_and_says_so(hermes: Hermes, url: str, tmp_path: Path) -> None:
    write(url, break_run)
    done = hermes("db", "backup", str(tmp_path / "one.db"))
    assert (done.code, "The backup has these faults, too." in done.out) == (0, True)
    done = hermes("db", "restore", str(tmp_path / "one.db"))
    assert (done.code, "--force takes it all the same" in done.err) == (1, True)


def test_while_a_gateway_runs_nothing_is_restored_or_moved(hermes: Hermes, url: str, tmp_path: Path) -> None:
    write(url, talk)
    hermes("db", "backup", str(tmp_path / "one.db"))
    lock = lock_gateway(hermes.home.pid_file, now=1.0)
    for arguments in (
        ("restore", str(tmp_path / "one.db"), *force(url)),
        ("migrate", "--to", f"sqlite:///{tmp_path / 'two.db'}"),
    ):
        done = hermes("db", *arguments)
        assert (done.code, "gateway stop, and try again" in done.err) == (1, True), arguments
    lock.release()
    assert not (tmp_path / "two.db").exists()


def test_a_database_that_a_process_has_open_is_neither_replaced_nor_moved(
    hermes: Hermes, url: str, tmp_path: Path
) -> None:
    write(url, talk)
    hermes("db", "backup", str(tmp_path / "one.db"))
    database = Database.open_now(url)
    database.write_now(sessions.delete, "theirs")
    for arguments in (
        ("restore", str(tmp_path / "one.db"), *force(url)),
        ("migrate", "--to", f"sqlite:///{tmp_path / 'two.db'}"),
    ):
        done = hermes("db", *arguments)
        assert (done.code, "stop" in done.err) == (1, True), arguments
    assert database.read_now(sessions.get, "theirs") is None
    database.close_now()


@ON_SQLITE
def test_a_damaged_database_is_replaced_by_its_backup(hermes: Hermes, url: str, tmp_path: Path) -> None:
    write(url, talk)
    hermes("db", "backup", str(tmp_path / "one.db"))
    hermes.home.state_db.write_bytes(b"no database" * 1000)
    assert "[damaged]" in hermes("db", "check").out
    assert hermes("db", "restore", str(tmp_path / "one.db")).code == 0
    assert "swordfish" in hermes("sessions", "show", "s").out


@ON_SQLITE
def test_a_machine_without_a_home_gets_one_with_the_backup(hermes: Hermes, url: str, tmp_path: Path) -> None:
    write(url, talk)
    hermes("db", "backup", str(tmp_path / "one.db"))
    shutil.rmtree(hermes.home.path)
    done = hermes("db", "restore", str(tmp_path / "one.db"))
    assert (done.code, "Made a home" in done.err) == (0, True)
    assert "swordfish" in hermes("sessions", "show", "s").out


@ON_SQLITE
def test_space_is_given_back_and_with_somebody_at_work_only_as_much_as_disturbs_nobody(
    hermes: Hermes, url: str
) -> None:
    write(url, talk, lambda conn: sessions.add_messages(conn, "theirs", None, [Message("user", "x" * 4_000_000)], 1.0))
    write(url, partial(sessions.delete, session_id="theirs"))
    database = Database.open_now(url)
    database.write_now(sessions.get, "s")
    done = hermes("db", "vacuum")
    assert (done.code, "has it open, so the file was not written anew" in done.out) == (0, True)
    assert hermes.home.state_db.stat().st_size > 4_000_000
    database.close_now()
    done = hermes("db", "vacuum")
    assert (done.code, "MB given back." in done.out) == (0, True)
    assert hermes.home.state_db.stat().st_size < 1_000_000
    assert hermes("db", "check").code == 0


def test_what_ended_runs_left_behind_is_removed(hermes: Hermes, url: str) -> None:
    write(url, talk, lambda conn: started_calls.mark(conn, "r", "c", 1.0))
    assert hermes("db", "check").code == 1
    done = hermes("db", "vacuum")
    assert (done.code, "1 rows that ended runs had left behind are removed." in done.out) == (0, True)
    assert hermes("db", "check").code == 0


def test_an_export_has_every_session_message_run_and_event(hermes: Hermes, url: str, tmp_path: Path) -> None:
    write(url, talk)
    done = hermes("db", "export", "--output", str(tmp_path / "all.jsonl"))
    assert (done.code, done.out) == (
        0,
        f"Wrote 2 sessions, 2 messages, 1 runs, 3 events to {tmp_path / 'all.jsonl'}.\n",
    )
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    kinds = [line["type"] for line in lines]
    assert kinds == ["export", "session", "message", "message", "run", "event", "event", "event", "session"]
    assert [line["owner"] for line in lines if line["type"] == "session"] == ["owner", "key_1"]
    assert [line["content"] for line in lines if line["type"] == "message"] == ["Where is the swordfish?", "Here."]
    run = lines[4]
    assert (run["run_id"], run["status"], run["output"], run["owner"]) == ("r", "completed", "Here.", "owner")
    assert [(line["seq"], line["event"]) for line in lines[5:8]] == [
        (1, "run.started"),
        (2, "message.delta"),
        (3, "run.completed"),
    ]
    exported = json.loads(hermes("sessions", "export", "s").out)
    assert {**exported["session"], "type": "session", "owner": "owner"} == lines[1]
    assert exported["messages"] == [{k: v for k, v in line.items() if k != "type"} for line in lines[2:4]]
    assert (tmp_path / "all.jsonl").stat().st_mode & 0o077 == 0
    one = hermes("db", "export", "--session", "s", "--no-events").out.splitlines()
    assert [json.loads(line)["type"] for line in one] == ["export", "session", "message", "message", "run"]
    done = hermes("db", "export", "--session", "none")
    assert (done.code, done.out) == (1, "")


@ON_SQLITE
def test_a_home_moves_to_a_server_and_back_with_its_uploads(
    hermes: Hermes, url: str, server_url: str, tmp_path: Path
) -> None:
    write(url, talk)
    file_id = upload(hermes, url, b"hello")
    done = hermes("db", "migrate", "--to", server_url)
    assert (done.code, done.err) == (0, "")
    assert "messages in the search index of postgresql://" in done.out
    assert "Next, and give it the URL: hermes config set HERMES_DATABASE_URL -" in done.out
    there = Hermes(hermes.home, hermes.capture, {"HERMES_DATABASE_URL": server_url})
    assert "swordfish" in there("sessions", "search", "swordfish").out
    shutil.rmtree(hermes.home.files_dir)
    hermes.home.state_db.rename(tmp_path / "old.db")
    done = there("db", "migrate", "--to", url)
    assert (done.code, "Next: hermes config unset database.url" in done.out) == (0, True)
    assert (hermes.home.files_dir / file_id).read_bytes() == b"hello"
    assert "swordfish" in hermes("sessions", "search", "swordfish").out
    assert hermes("db", "check").code == 0
    with reading(url) as conn:
        assert [entry.action for entry in audit.newest(conn)] == ["database.moved", "database.moved"]


@ON_SQLITE
def test_no_password_is_told_by_a_move(hermes: Hermes, url: str) -> None:
    write(url, talk)
    done = hermes("db", "migrate", "--to", "postgresql://hermes:top-secret-word@127.0.0.1:1/none")
    assert (done.code, "127.0.0.1:1/none cannot be reached" in done.err) == (1, True)
    assert "top-secret-word" not in done.out + done.err


def test_what_retention_would_remove_is_told(hermes: Hermes, url: str) -> None:
    write(url, talk)
    done = hermes("db", "retention")
    assert (done.code, "Nothing is removed for its age." in done.out) == (0, True)
    hermes("config", "set", "retention.events_days", "30")
    hermes("config", "set", "retention.sessions_days", "365")
    assert [line.split() for line in hermes("db", "retention").out.splitlines()] == [
        ["setting", "keeps", "would", "go", "now"],
        ["retention.sessions_days", "365", "days", "2"],
        ["retention.events_days", "30", "days", "1"],
        ["retention.audit_days", "for", "ever", "-"],
        ["retention.job_runs_days", "for", "ever", "-"],
    ]


@ON_SQLITE
def test_an_older_schema_is_brought_up_and_read_by_nothing_before(hermes: Hermes, url: str) -> None:
    write(url, talk)
    assert hermes("db", "upgrade").out == f"{hermes.home.state_db} has the newest schema, {HEAD}.\n"
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        command.downgrade(alembic_config(conn), "0003")
    for word in ("export", "vacuum", "retention"):
        done = hermes("db", word)
        assert (done.code, "hermes db upgrade" in done.err) == (1, True)
    lock = lock_gateway(hermes.home.pid_file, now=1.0)
    done = hermes("db", "upgrade")
    assert (done.code, "already runs" in done.err) == (1, True)
    done = hermes("db", "upgrade", "--force")
    lock.release()
    assert (done.code, done.out) == (0, f"{hermes.home.state_db} has schema {HEAD} now; it had 0003.\n")
    assert hermes("db", "check").code == 0


@ON_SQLITE
def test_a_newer_schema_is_refused_by_name(hermes: Hermes, url: str) -> None:
    write(url, talk)
    with closing(sqlite3.connect(hermes.home.state_db)) as conn:
        conn.execute("UPDATE alembic_version SET version_num = '9999'")
        conn.commit()
    done = hermes("db", "upgrade")
    assert (done.code, "older than the database" in done.err) == (1, True)
    assert "[newer_schema]" in hermes("db", "check").out


@ON_SQLITE
def test_what_finds_no_database_makes_none(hermes: Hermes, url: str, tmp_path: Path) -> None:
    """One that SQLite makes by itself could be read by all."""
    for arguments in (("check",), ("upgrade",), ("vacuum",), ("backup",), ("migrate", "--to", f"{url}.new")):
        assert hermes("db", *arguments).code == 1, arguments
    assert not list(hermes.home.path.glob("state.db*"))


@ON_SQLITE
@pytest.mark.parametrize("to", ["sqlite:///near.db", "sqlite:///:memory:", "sqlite://"])
def test_nothing_moves_to_where_no_gateway_would_find_it(hermes: Hermes, url: str, to: str) -> None:
    write(url, talk)
    done = hermes("db", "migrate", "--to", to)
    assert (done.code, "no absolute path" in done.err) == (2, True)


@ON_SQLITE
def test_a_url_with_a_wrong_port_is_told_without_its_password(hermes: Hermes, url: str) -> None:
    write(url, talk)
    done = hermes("db", "migrate", "--to", "postgresql://u:sec@ret@host:port/name")
    assert (done.code, "@host:port/name" in done.err, "ret@" in done.err) == (2, True, False)


@ON_SQLITE
def test_a_backup_that_is_whole_is_one_though_the_database_takes_no_writes(
    hermes: Hermes, url: str, tmp_path: Path
) -> None:
    """As one does whose disk is full: then a backup is wanted most."""
    write(url, talk)
    with closing(sqlite3.connect(hermes.home.state_db)) as conn:
        conn.execute("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no'); END")
    done = hermes("db", "backup", str(tmp_path / "one.db"))
    assert (done.code, "warning: the audit log does not tell of it" in done.err) == (0, True)
    assert done.out.startswith(f"Wrote {tmp_path / 'one.db'}")


@ON_SQLITE
def test_an_export_overwrites_nothing_and_leaves_no_half(hermes: Hermes, url: str, tmp_path: Path) -> None:
    write(url, talk)
    file = tmp_path / "all.jsonl"
    file.write_text("mine")
    done = hermes("db", "export", "-o", str(file))
    assert (done.code, f"{file} exists already" in done.err, file.read_text()) == (1, True, "mine")
    file.unlink()
    with closing(sqlite3.connect(hermes.home.state_db)) as conn:
        conn.execute("UPDATE events SET data = 'no JSON'")
        conn.commit()
    with pytest.raises(ValueError, match="line 1 column 1"):
        hermes("db", "export", "-o", str(file))
    assert not file.exists()


@ON_SQLITE
def test_what_damage_an_export_meets_is_told_in_words(hermes: Hermes, url: str) -> None:
    write(url, talk)
    with closing(sqlite3.connect(hermes.home.state_db)) as conn:
        (page,) = conn.execute("SELECT rootpage FROM sqlite_master WHERE name = 'messages'").fetchone()
        (size,) = conn.execute("PRAGMA page_size").fetchone()
    with hermes.home.state_db.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"z" * size)
    done = hermes("db", "export")
    assert (done.code, "is damaged" in done.err, "db restore" in done.err) == (1, True, True)


@ON_SQLITE
def test_a_newer_database_is_not_told_to_be_upgraded(hermes: Hermes, url: str) -> None:
    write(url, talk)
    with closing(sqlite3.connect(hermes.home.state_db)) as conn:
        conn.execute("UPDATE alembic_version SET version_num = '9999'")
        conn.commit()
    for word in ("export", "vacuum", "retention"):
        done = hermes("db", word)
        assert (done.code, "install the newer hermes-server" in done.err, "upgrade" in done.err) == (1, True, False)


def test_a_backup_on_a_medium_that_takes_no_writes_is_restored(hermes: Hermes, url: str, tmp_path: Path) -> None:
    write(url, talk)
    medium = tmp_path / "medium"
    medium.mkdir()
    assert hermes("db", "backup", str(medium / "one.db")).code == 0
    with nothing_made_in(medium):
        assert hermes("db", "restore", str(medium / "one.db"), *force(url)).code == 0


@contextmanager
def nothing_made_in(directory: Path) -> Iterator[None]:
    """Root may write where nobody else may, so it is watched instead."""
    before = directory.stat().st_mtime_ns
    yield
    assert directory.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "url", ["postgresql://u:hidden1@127.0.0.1:9/x", "postgresql://u@127.0.0.1:9/x?password=hidden1"]
)
def test_no_password_of_the_database_is_ever_told(hermes: Hermes, url: str) -> None:
    create_home(hermes.home)
    hermes.environ["HERMES_DATABASE_URL"] = url
    for arguments in (("db", "check"), ("db", "backup"), ("db", "vacuum"), ("nodes",), ("doctor", "--offline")):
        done = hermes(*arguments)
        assert (done.code, "127.0.0.1:9/x" in done.err + done.out) == (1, True), arguments
        assert "hidden1" not in done.err + done.out, arguments


@ON_SQLITE
def test_a_home_on_a_disk_that_takes_no_writes_is_backed_up(hermes: Hermes, url: str, tmp_path: Path) -> None:
    """As the kernel leaves it after an error of the disk."""
    write(url, talk)
    file = tmp_path / "one.db"
    with small_disk(hermes.home.path, 24) as disk:
        disk.run("mount", "-o", "remount,ro", str(hermes.home.path))
        command = [*disk.prefix, sys.executable, "-m", "hermes", "db", "backup", str(file)]
        environ = {**os.environ, "HERMES_HOME": str(hermes.home.path)}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.startswith(f"Wrote {file}")) == (0, True), done.stderr
    assert "warning: the audit log does not tell of it" in done.stderr
    with reading(f"sqlite:///{file}") as conn:
        assert sessions.get(conn, "s") is not None
