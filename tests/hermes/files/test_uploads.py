"""Uploads: whole or not there, under their id alone, within their owner's room."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from hermes.core.errors import HermesError, InvalidInput, NotFound, StoreUnavailable, TooLarge
from hermes.core.file import File, new_file_id
from hermes.files import Files, UploadSettings
from hermes.store.database import Connection, Database
from hermes.store.schema import file_chunks
from tests.support import documents
from tests.support.clock import FakeClock
from tests.support.database import new_url

ALICE = "alice"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(new_url(tmp_path / "state.db"))
    yield opened
    await opened.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def files(database: Database, directory: Path, clock: FakeClock) -> Files:
    return Files(database, directory, clock, UploadSettings(max_bytes=3 << 20, total_bytes=4 << 20))


async def put(
    files: Files, data: bytes = b"hello", owner: str = ALICE, name: str = "a.txt", expires: int | None = None
) -> File:
    async with await files.receive(owner) as incoming:
        for at in range(0, len(data), 700_000):
            await incoming.write(data[at : at + 700_000])
        return await incoming.keep(filename=name, purpose="user_data", expires_after_seconds=expires)


async def all_of(files: Files, owner: str = ALICE) -> list[File]:
    return (await files.list_files(owner, purpose=None))[0]


def _ids_of_chunks(conn: Connection) -> list[str]:
    return sorted(conn.execute(sa.select(file_chunks.c.file_id).distinct()).scalars())


Kept = Callable[[], Awaitable[list[str]]]


@pytest.fixture
def kept(database: Database, directory: Path) -> Kept:
    """The names of what is in the files' directory, or the ids of what is in the database."""

    async def find() -> list[str]:
        names = sorted(path.name for path in directory.iterdir()) if directory.exists() else []
        ids = await database.read(_ids_of_chunks)
        assert database.is_shared or not ids
        return names + ids

    return find


async def test_a_file_lies_under_its_id_for_its_owner_alone(files: Files, kept: Kept, clock: FakeClock) -> None:
    data = bytes(range(256)) * 8000
    made = await put(files, data, name="../../etc/passwd")
    assert (made.filename, made.bytes, made.media_type) == ("../../etc/passwd", len(data), "application/octet-stream")
    assert made.created_at == clock.now()
    assert await kept() == [made.id]
    record, file = await files.open(made.id, ALICE)
    with file:
        assert (record, file.read()) == (made, data)


@pytest.mark.sqlite("a PostgreSQL holds the bytes itself")
async def test_only_its_owner_on_this_machine_can_read_it(files: Files, directory: Path) -> None:
    made = await put(files)
    assert stat.S_IMODE((directory / made.id).stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


async def test_its_type_is_that_of_its_bytes(files: Files) -> None:
    assert (await put(files, documents.png(), name="innocent.txt")).media_type == "image/png"


@pytest.mark.parametrize("name", ["a\nb", "\u202egpj.exe", "x" * 1024, "日本語.txt", "con", "..", "a/b\\c"])
async def test_any_name_is_only_text(files: Files, kept: Kept, name: str) -> None:
    made = await put(files, name=name)
    assert [file.filename for file in await all_of(files)] == [name]
    assert await kept() == [made.id]


async def test_a_file_over_the_limit_is_refused_while_it_comes(files: Files, kept: Kept) -> None:
    async with await files.receive(ALICE) as incoming:
        await incoming.write(bytes(3 << 20))
        with pytest.raises(TooLarge, match=r"uploads\.max_mb"):
            await incoming.write(b"x")
        assert await kept() in ([f"{incoming.id}.part"], [])
    assert await kept() == []


async def test_an_upload_that_breaks_off_leaves_nothing(files: Files, kept: Kept) -> None:
    with pytest.raises(ZeroDivisionError):
        async with await files.receive(ALICE) as incoming:
            await incoming.write(bytes(2 << 20))
            raise ZeroDivisionError
    assert (await kept(), await all_of(files)) == ([], [])


@pytest.mark.parametrize(
    ("data", "name", "purpose", "expires", "param"),
    [
        (b"", "a", "user_data", None, "file"),
        (b"x", "", "user_data", None, "filename"),
        (b"x", "a" * 1025, "user_data", None, "filename"),
        (b"x", "a", "fun", None, "purpose"),
        (b"x", "a", "user_data", 3599, "expires_after[seconds]"),
        (b"x", "a", "user_data", 2_592_001, "expires_after[seconds]"),
    ],
)
async def test_a_wrong_field_is_named_and_nothing_is_kept(
    files: Files, kept: Kept, data: bytes, name: str, purpose: str, expires: int | None, param: str
) -> None:
    async with await files.receive(ALICE) as incoming:
        await incoming.write(data)
        with pytest.raises(InvalidInput) as refused:
            await incoming.keep(filename=name, purpose=purpose, expires_after_seconds=expires)
    assert refused.value.param == param
    assert (await kept(), await all_of(files)) == ([], [])


async def test_what_is_still_on_its_way_takes_room_too(files: Files, kept: Kept) -> None:
    async with await files.receive(ALICE) as slow, await files.receive("bob") as other:
        await slow.write(bytes(2 << 20))
        await other.write(bytes(2 << 20))
        async with await files.receive(ALICE) as late:
            await late.write(bytes(1 << 20))
            with pytest.raises(TooLarge) as refused:
                await late.write(bytes(2 << 20))
            assert refused.value.code == "file_quota_exceeded"
        async with await files.receive(ALICE) as smaller:
            await smaller.write(bytes(2 << 20))
    assert await kept() == []
    await put(files, bytes(3 << 20))


async def test_each_owner_has_room_of_his_own(files: Files, kept: Kept) -> None:
    await put(files, bytes(3 << 20))
    with pytest.raises(TooLarge) as refused:
        await put(files, bytes(2 << 20))
    assert refused.value.code == "file_quota_exceeded"
    assert "uploads.total_mb" in refused.value.message
    await put(files, bytes(2 << 20), owner="bob")
    assert len(await kept()) == 2


async def test_what_is_declared_too_large_for_the_room_is_refused_before_it_comes(files: Files) -> None:
    await put(files, bytes(3 << 20))
    with pytest.raises(TooLarge):
        await files.receive(ALICE, 2 << 20)


async def test_uploads_at_once_cannot_overfill_the_room(files: Files, kept: Kept) -> None:
    results = await asyncio.gather(*(put(files, bytes(1 << 20)) for _ in range(6)), return_exceptions=True)
    made = [one.id for one in results if isinstance(one, File)]
    assert len(made) == 4
    assert all(isinstance(one, File | TooLarge) for one in results)
    assert await kept() == sorted(made)


async def test_someone_elses_file_is_as_unknown_as_none(files: Files) -> None:
    made = await put(files)
    told = []
    for file_id, owner in (
        (made.id, "bob"),
        (new_file_id(), ALICE),
        ("../state.db", ALICE),
        ("file-" + "A" * 32, ALICE),
    ):
        for look in (files.get, files.open, files.delete):
            with pytest.raises(NotFound) as unknown:
                await look(file_id, owner)
            told.append((unknown.value.code, unknown.value.message.replace(file_id, "X")))
    assert set(told) == {("file_not_found", "no file 'X'")}
    assert await all_of(files) == [made]


async def test_a_deleted_file_is_gone_and_its_bytes_with_it(files: Files, kept: Kept) -> None:
    made = await put(files)
    _, file = await files.open(made.id, ALICE)
    await files.delete(made.id, ALICE)
    with pytest.raises(NotFound):
        await files.get(made.id, ALICE)
    assert await kept() == []
    with file:
        assert file.read() == b"hello"  # who had begun to read it reads on


@pytest.mark.sqlite("files/ of a home; in a PostgreSQL nothing can be taken away or left")
async def test_a_link_in_a_files_place_is_not_followed(files: Files, directory: Path, tmp_path: Path) -> None:
    made = await put(files)
    (tmp_path / "secret").write_text("secret")
    (directory / made.id).unlink()
    (directory / made.id).symlink_to(tmp_path / "secret")
    with pytest.raises(StoreUnavailable, match="cannot read"):
        await files.open(made.id, ALICE)


@pytest.mark.sqlite("files/ of a home; in a PostgreSQL nothing can be taken away or left")
async def test_bytes_that_somebody_took_away_are_told_as_no_file(files: Files, directory: Path) -> None:
    made = await put(files)
    (directory / made.id).unlink()
    with pytest.raises(NotFound):
        await files.open(made.id, ALICE)


@pytest.mark.sqlite("files/ of a home; in a PostgreSQL nothing can be taken away or left")
async def test_a_start_sweeps_what_a_crash_left_and_nothing_else(files: Files, directory: Path, kept: Kept) -> None:
    made = await put(files)
    (directory / f"{new_file_id()}.part").write_text("half")
    (directory / new_file_id()).write_text("no record")
    (directory / "notes of the owner.txt").write_text("mine")
    async with await files.receive(ALICE) as incoming:
        await incoming.write(bytes(1 << 20))
        assert await files.sweep() == 2
        later = await incoming.keep(filename="b", purpose="user_data")
    assert await kept() == sorted([made.id, later.id, "notes of the owner.txt"])
    assert await files.sweep() == 0


async def test_a_file_goes_when_its_time_is_over(files: Files, kept: Kept, clock: FakeClock) -> None:
    made = await put(files, expires=3600)
    assert made.expires_at == clock.now() + 3600
    clock.advance(3600)
    with pytest.raises(NotFound):
        await files.open(made.id, ALICE)
    assert await files.sweep() == 0
    assert await kept() == []


async def test_a_page_follows_the_last_file_of_the_page_before(files: Files, clock: FakeClock) -> None:
    made = []
    for _ in range(3):
        made.append(await put(files))
        clock.advance(1)
    first, more = await files.list_files(ALICE, limit=2, order="asc", purpose=None)
    assert (first, more) == (made[:2], True)
    rest, more = await files.list_files(ALICE, limit=2, order="asc", after=first[-1].id, purpose=None)
    assert (rest, more) == (made[2:], False)
    with pytest.raises(InvalidInput, match="after") as refused:
        await files.list_files("bob", after=made[0].id, purpose=None)
    assert refused.value.param == "after"


async def test_without_a_home_nothing_can_be_uploaded(database: Database, clock: FakeClock) -> None:
    files = Files(database, None, clock)
    with pytest.raises(StoreUnavailable, match="no home"):
        await files.receive(ALICE)
    assert await files.sweep() == 0


async def test_a_disk_that_takes_no_more_is_told(database: Database, clock: FakeClock, tmp_path: Path) -> None:
    (tmp_path / "files").write_text("a file where the directory should be")
    files = Files(database, tmp_path / "files", clock)
    with pytest.raises(HermesError) as refused:
        await put(files)
    assert refused.value.code == "store_unavailable"
    assert str(tmp_path / "files") in refused.value.message
