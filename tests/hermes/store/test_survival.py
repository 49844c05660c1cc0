"""What was acknowledged outlives the process; a bad disk or file is told in words, and nothing is half written."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from hermes.core.errors import StoreCorrupt, StoreUnavailable
from hermes.core.message import Message
from hermes.store import sessions
from hermes.store.database import Database
from tests.support.store import keep_session

pytestmark = pytest.mark.sqlite("what happens to a file")

# Writes rows of NAME-0, NAME-1, … from eight tasks, and says each number once it is acknowledged.
WRITING = """
import asyncio, itertools, sys
from hermes.core.message import Message
from hermes.core.session import Session
from hermes.store import sessions
from hermes.store.database import Database

url, name, most = sys.argv[1], sys.argv[2], int(sys.argv[3])

def keep(conn, session):
    sessions.create(conn, session)
    sessions.add_messages(conn, session.id, None, [Message("user", "x" * 2000), Message("assistant", "y")], 2.0)

async def write(database, numbers):
    for number in numbers:
        session = Session(id=f"{name}-{number}", owner="o", source="s", started_at=1.0, last_active=1.0)
        await database.write(keep, session)
        print(number, flush=True)

async def main():
    database = await Database.open(url)
    numbers = iter(range(most))
    await asyncio.gather(*(write(database, numbers) for _ in range(8)))
    await database.close()

asyncio.run(main())
"""


@pytest.mark.parametrize("seed", range(4))
def test_every_acknowledged_write_is_there_after_kill_9_and_none_is_half_there(url: str, seed: int) -> None:
    Database.open_now(url).close_now()
    with _start_writing(url, "w", 1_000_000) as child:
        assert child.stdout is not None
        acknowledged = [int(child.stdout.readline()) for _ in range(random.Random(seed).randint(1, 400))]
        child.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in child.stdout.read().split("\n")[:-1]]

    database = Database.open_now(url)
    for number in acknowledged:
        assert [message.text for message in database.read_now(sessions.history, f"w-{number}")] == ["x" * 2000, "y"]
    kept = database.read_now(_counts)
    assert {messages for _, messages in kept} == {2}
    assert len(kept) - len(acknowledged) in range(9)  # at most what the eight tasks were waiting for
    assert database.read_now(_check) == "ok"
    database.close_now()


def test_two_processes_write_one_file_and_lose_nothing(url: str) -> None:
    children = [_start_writing(url, name, 300) for name in ("a", "b", "c")]
    for child in children:
        said, _ = child.communicate(timeout=60)
        assert child.returncode == 0
        assert sorted(map(int, said.split())) == list(range(300))
    database = Database.open_now(url)
    assert len(database.read_now(_counts)) == 900
    assert database.read_now(_check) == "ok"
    database.close_now()


def test_a_full_disk_is_told_and_writing_goes_on_when_there_is_room(url: str, tmp_path: Path) -> None:
    database = Database.open_now(url)
    database.write_now(keep_session)
    pages: int = database.read_now(lambda conn: _pragma(conn, "page_count"))
    database.write_now(lambda conn: _pragma(conn, f"max_page_count={pages + 10}"))
    with pytest.raises(StoreUnavailable, match=r"no room left .*state\.db.* free some disk space"):
        for _ in range(100):
            database.write_now(sessions.add_messages, "s", None, [Message("user", "x" * 4000)], 1.0)
    before = database.read_now(sessions.history, "s")
    database.write_now(lambda conn: _pragma(conn, "max_page_count=1000000"))
    database.write_now(sessions.add_messages, "s", None, [Message("user", "again")], 1.0)
    assert database.read_now(sessions.history, "s") == [*before, Message("user", "again")]
    database.close_now()


def test_a_read_only_database_is_told_with_its_path(url: str) -> None:
    database = Database.open_now(url)
    database.write_now(lambda conn: _pragma(conn, "query_only=1"))
    with pytest.raises(StoreUnavailable, match=r"state\.db is read-only: make the file"):
        database.write_now(keep_session)
    database.close_now()


@pytest.mark.skipif(os.name != "posix", reason="another user is a matter of POSIX")
def test_a_file_of_another_user_is_told_with_its_path() -> None:
    """Nobody is forbidden anything as root, so a root test gives itself up first."""
    directory = Path(tempfile.mkdtemp())
    try:
        Database.open_now(f"sqlite:///{directory / 'state.db'}").close_now()
        directory.chmod(0o755)
        (directory / "state.db").chmod(0o444)
        script = (
            "import os, sys\n"
            "from hermes.core.errors import StoreUnavailable\n"
            "from hermes.store import sqlite\n"
            "from hermes.store.database import Database\n"
            "if os.geteuid() == 0: os.setuid(65534)\n"
            "try: Database.open_now(sys.argv[1])\n"
            "except StoreUnavailable as error: print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, f"sqlite:///{directory / 'state.db'}"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert str(directory / "state.db") in done.stdout
        assert "Permission denied" in done.stdout
    finally:
        shutil.rmtree(directory)


@pytest.mark.parametrize("name", ["missing/state.db", "."])
def test_a_place_where_no_file_can_be_is_told_with_its_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreUnavailable, match="cannot open the database") as caught:
        Database.open_now(f"sqlite:///{tmp_path / name}")
    assert str(tmp_path / name) in caught.value.message


def test_a_file_that_is_no_database_is_corrupt_and_left_as_it_is(url: str, tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"not a database, " * 1000)
    with pytest.raises(StoreCorrupt, match=r"state\.db is damaged"):
        Database.open_now(url)
    assert (tmp_path / "state.db").read_bytes() == b"not a database, " * 1000


def test_a_damaged_page_is_corrupt_when_it_is_read(url: str, tmp_path: Path) -> None:
    database = Database.open_now(url)
    database.write_now(keep_session)
    said = [Message("user", "x" * 1000) for _ in range(500)]
    database.write_now(sessions.add_messages, "s", None, said, 1.0)
    database.close_now()
    content = bytearray((tmp_path / "state.db").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 100_000] = b"\xff" * 100_000
    (tmp_path / "state.db").write_bytes(content)
    database = Database.open_now(url)
    with pytest.raises(StoreCorrupt, match="restore a backup"):
        database.read_now(sessions.history, "s")
    database.close_now()


def test_a_lock_that_another_process_keeps_is_told_and_the_next_write_succeeds(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hermes.store.sqlite.BUSY_SECONDS", 0.05)
    database = Database.open_now(url)
    script = "import sqlite3, sys; sqlite3.connect(sys.argv[1], isolation_level=None).execute('BEGIN IMMEDIATE'); "
    script += "print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "state.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StoreUnavailable, match=r"another process .*holds .*state\.db locked") as caught:
            database.write_now(keep_session)
        if Path("/proc/locks").exists():
            assert f"(pid {other.pid}: {Path(sys.executable).name})" in caught.value.message
        other.communicate("go")
    database.write_now(keep_session)
    database.close_now()


def _start_writing(url: str, name: str, most: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITING, url, name, str(most)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _counts(conn: Connection) -> list[Any]:
    """Each session with the number of its messages."""
    return (
        _driver(conn)
        .execute("SELECT s.id, (SELECT count(*) FROM messages m WHERE m.session_id = s.id) FROM sessions s")
        .fetchall()
    )


def _check(conn: Connection) -> str:
    return str(_pragma(conn, "integrity_check"))


def _pragma(conn: Connection, text: str) -> Any:
    row = _driver(conn).execute(f"PRAGMA {text}").fetchone()
    return None if row is None else row[0]


def _driver(conn: Connection) -> Any:
    return conn.connection.driver_connection
