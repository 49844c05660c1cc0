"""Bytes of uploads between a home's files/ and the database."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest
from sqlalchemy import Connection

from hermes.core.file import File, new_file_id
from hermes.files.moving import gather, keep_aside, spread
from hermes.store import file_chunks
from hermes.store import files as file_store
from hermes.store.database import Database
from tests.support.database import new_url

LARGE = bytes(range(256)) * 3000  # three pieces, and some


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database.open_now(new_url(tmp_path / "state.db"))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


def keep(database: Database, directory: Path, data: bytes, *, name: str | None = None) -> str:
    """A record, and its bytes in files/."""
    record = File(
        id=name or new_file_id(),
        owner="owner",
        filename="a.bin",
        purpose="user_data",
        media_type="application/octet-stream",
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        created_at=1.0,
    )
    database.write_now(file_store.insert, record)
    (directory / record.id).write_bytes(data)
    return record.id


def test_bytes_come_into_the_database_and_out_again_as_they_were(
    database: Database, directory: Path, tmp_path: Path
) -> None:
    contents = {keep(database, directory, data): data for data in (LARGE, b"hello", b"")}
    assert database.write_now(gather, directory) == []
    assert database.write_now(gather, directory) == []  # again: nothing is doubled
    there = tmp_path / "there"
    assert database.write_now(spread, there) == 2
    for file_id, data in contents.items():
        if data:
            assert (there / file_id).read_bytes() == data
            assert stat.S_IMODE((there / file_id).stat().st_mode) == 0o600
    assert database.read_now(file_chunks.records_with) == {}
    assert sorted(path.name for path in there.iterdir()) == sorted(one for one, data in contents.items() if data)
    database.close_now()


def test_what_lost_its_bytes_is_named_and_stops_nothing(database: Database, directory: Path) -> None:
    gone, cut, whole = (keep(database, directory, b"hello") for _ in range(3))
    (directory / gone).unlink()
    (directory / cut).write_bytes(b"hel")
    assert sorted(database.write_now(gather, directory)) == sorted([gone, cut])
    assert database.read_now(file_chunks.records_with) == {whole: 5}
    database.close_now()


def test_a_name_that_leads_elsewhere_is_neither_read_nor_written(
    database: Database, directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"hello")
    evil = keep(database, directory, b"hello", name="../secret")

    def add(conn: Connection) -> None:
        file_chunks.add(conn, evil, 0, b"other")

    assert database.write_now(gather, directory) == [evil]
    database.write_now(add)
    assert database.write_now(spread, directory) == 0
    assert (tmp_path / "secret").read_bytes() == b"hello"
    database.close_now()


def test_bytes_that_are_there_already_stay(database: Database, directory: Path) -> None:
    file_id = keep(database, directory, b"hello")
    database.write_now(gather, directory)
    inode = (directory / file_id).stat().st_ino
    assert database.write_now(spread, directory) == 0
    assert (directory / file_id).stat().st_ino == inode
    database.close_now()


def test_bytes_that_were_cut_off_are_written_anew(database: Database, directory: Path) -> None:
    file_id = keep(database, directory, b"hello")
    database.write_now(gather, directory)
    (directory / file_id).write_bytes(b"hel")
    assert database.write_now(spread, directory) == 1
    assert (directory / file_id).read_bytes() == b"hello"
    database.close_now()


def test_files_of_no_record_are_kept_aside(directory: Path, tmp_path: Path) -> None:
    known, other = new_file_id(), new_file_id()
    for name in (known, other, "README"):
        (directory / name).write_bytes(b"x")
    assert keep_aside(directory, {known}, tmp_path / "aside") == 1
    assert [path.name for path in (tmp_path / "aside").iterdir()] == [other]
    assert (directory / other).exists()
    assert keep_aside(tmp_path / "none", set(), tmp_path / "aside") == 0
