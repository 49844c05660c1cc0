"""Records of files: whose they are, in which order, and when their time is over."""

from __future__ import annotations

from typing import Any

import pytest

from hermes.core.file import File, new_file_id
from hermes.store import files
from hermes.store.database import Database


def a_file(number: int = 0, **fields: Any) -> File:
    values: dict[str, Any] = {"owner": "alice", "filename": "a.txt", "purpose": "user_data", "media_type": "text/plain"}
    values |= {"bytes": 10_000, "sha256": "0" * 64, "created_at": 100.0 + number}
    return File(id=f"file-{number:032x}", **(values | fields))


async def keep(database: Database, *kept: File) -> None:
    for file in kept:
        await database.write(files.insert, file)


async def listed(database: Database, owner: str = "alice", now: float = 0.0, **how: Any) -> list[str]:
    found = await database.read(lambda conn: files.list_files(conn, owner, now, **({"limit": 100} | how)))
    return [file.id for file in found]


def test_an_id_is_the_public_apis_and_unguessable() -> None:
    assert new_file_id() != new_file_id()
    assert new_file_id().startswith("file-")
    assert len(new_file_id()) == 37


async def test_a_record_comes_back_as_it_was_kept(database: Database) -> None:
    file = a_file(filename="../Gerät\n😀.txt", expires_at=500.5)
    await keep(database, file)
    assert await database.read(files.get, file.id, "alice", 0.0) == file


async def test_a_name_that_no_database_holds_is_mended(database: Database) -> None:
    await keep(database, a_file(filename="a\x00b\ud800"))
    found = await database.read(files.get, a_file().id, "alice", 0.0)
    assert found is not None
    assert found.filename == "a\ufffdb\ufffd"


async def test_someone_elses_file_is_not_there(database: Database) -> None:
    file = a_file()
    await keep(database, file)
    assert await database.read(files.get, file.id, "bob", 0.0) is None
    assert await listed(database, "bob") == []
    assert await database.write(files.delete, file.id, "bob", 0.0) is False
    assert await database.write(files.delete, file.id, "alice", 0.0) is True
    assert await database.read(files.get, file.id, "alice", 0.0) is None


async def test_a_file_is_gone_the_moment_its_time_is_over(database: Database) -> None:
    late, early = a_file(1, expires_at=300.0), a_file(2, expires_at=200.0)
    await keep(database, late, early)
    assert await listed(database, now=199.9) == [early.id, late.id]
    assert await listed(database, now=200.0) == [late.id]
    assert await database.read(files.get, early.id, "alice", 200.0) is None
    assert await database.write(files.delete, early.id, "alice", 200.0) is False
    assert await database.write(files.delete_expired, 250.0) == [early.id]
    assert await database.read(files.all_ids) == {late.id}


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_of_any_size_are_the_whole_list_in_order(database: Database, order: files.Order) -> None:
    kept = [a_file(number, created_at=100.0 + number // 3) for number in range(10)]
    await keep(database, *kept)
    expected = [file.id for file in kept]
    if order == "desc":
        expected.reverse()
    for size in (1, 3, 4, 10):
        seen: list[str] = []
        after: File | None = None
        while page := await listed(database, limit=size, order=order, after=after):
            seen += page
            after = next(file for file in kept if file.id == page[-1])
        assert seen == expected


async def test_a_list_can_be_of_one_purpose(database: Database) -> None:
    await keep(database, a_file(1, purpose="vision"), a_file(2))
    assert await listed(database, purpose="vision") == [a_file(1).id]


async def test_a_small_file_counts_as_a_page_of_the_disk(database: Database) -> None:
    assert await database.read(files.total_bytes, "alice") == 0
    await keep(database, a_file(1, bytes=1), a_file(2, bytes=10_000), a_file(3, owner="bob"))
    assert await database.read(files.total_bytes, "alice") == 4096 + 10_000
