"""Files on many nodes: their bytes are in the database, and any node gives, counts and deletes any of them."""

from __future__ import annotations

import asyncio
import hashlib
import random
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from hermes.core.errors import NotFound, StoreUnavailable, TooLarge
from hermes.core.file import File
from hermes.files import Files, UploadSettings
from hermes.files.disk import Disk
from hermes.store import file_chunks as chunk_store
from hermes.store import files as file_store
from hermes.store.database import Connection, Database
from hermes.store.file_chunks import CHUNK_BYTES
from hermes.store.schema import file_chunks
from tests.support.clock import FakeClock

ALICE = "alice"
LIMITS = UploadSettings(max_bytes=24 << 20, total_bytes=32 << 20)


@pytest.fixture
async def nodes(postgres_url: str, tmp_path: Path) -> AsyncIterator[list[Files]]:
    """Two, each with a home and connections of its own."""
    databases = [await Database.open(postgres_url) for _ in range(2)]
    clock = FakeClock()
    yield [Files(one, tmp_path / f"files{n}", clock, LIMITS) for n, one in enumerate(databases)]
    for one in databases:
        await one.close()


async def put(files: Files, data: bytes, owner: str = ALICE) -> File:
    async with await files.receive(owner) as incoming:
        for at in range(0, len(data), 700_000):
            await incoming.write(data[at : at + 700_000])
        return await incoming.keep(filename="a.bin", purpose="user_data")


def count_chunks(conn: Connection) -> int:
    return conn.execute(sa.select(sa.func.count()).select_from(file_chunks)).scalar_one()


@pytest.mark.parametrize("size", [1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 77])
async def test_a_file_that_one_node_took_is_given_whole_by_another(nodes: list[Files], size: int) -> None:
    data = random.Random(size).randbytes(size)
    made = await put(nodes[0], data)
    record, file = await nodes[1].open(made.id, ALICE)
    with file:
        assert (record, file.read()) == (made, data)
    assert made.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("start", "end"), [(0, 5), (5, 5), (CHUNK_BYTES - 3, CHUNK_BYTES + 3), (2 * CHUNK_BYTES, 524_300)]
)
async def test_a_part_is_read_without_the_rest(nodes: list[Files], start: int, end: int) -> None:
    data = random.Random(1).randbytes(2 * CHUNK_BYTES + 100)
    made = await put(nodes[0], data)
    with await nodes[1].open_part(made, start, end) as file:
        assert file.read(end - start) == data[start:end]
        assert len(file.read()) < CHUNK_BYTES


async def test_who_reads_when_another_node_deletes_reads_on(nodes: list[Files]) -> None:
    made = await put(nodes[0], b"hello")
    _, file = await nodes[1].open(made.id, ALICE)
    await nodes[0].delete(made.id, ALICE)
    with file:
        assert file.read() == b"hello"
    with pytest.raises(NotFound):
        await nodes[1].open(made.id, ALICE)


async def test_bytes_that_went_between_record_and_reading_are_no_file(nodes: list[Files]) -> None:
    made = await put(nodes[0], b"hello")
    record = await nodes[1].get(made.id, ALICE)
    await nodes[0].delete(made.id, ALICE)
    with pytest.raises(NotFound) as gone:
        await nodes[1].open_part(record, 0, 5)
    assert gone.value.code == "file_not_found"


async def test_nothing_of_an_upload_is_seen_before_it_is_whole_and_nothing_stays_of_a_broken_one(
    nodes: list[Files], postgres_url: str, tmp_path: Path
) -> None:
    async with await nodes[0].receive(ALICE) as incoming:
        await incoming.write(bytes(2 << 20))
        assert (await nodes[1].list_files(ALICE, purpose=None))[0] == []
        assert await nodes[1].sweep() == 0  # another node that starts takes nothing away
        assert list((tmp_path / "files0").iterdir()) == []  # a kill now leaves nothing
        await incoming.keep(filename="a", purpose="user_data")
    with pytest.raises(ZeroDivisionError):
        async with await nodes[0].receive(ALICE) as incoming:
            await incoming.write(bytes(2 << 20))
            raise ZeroDivisionError
    database = await Database.open(postgres_url)
    assert await database.read(count_chunks) == 8
    await database.close()


async def test_a_file_that_there_is_no_room_for_leaves_no_bytes(nodes: list[Files], postgres_url: str) -> None:
    """Each node has counted what comes to itself; what they take together is looked at in the transaction."""
    both = await asyncio.gather(
        *(put(node, bytes(10 << 20)) for node in nodes for _ in range(2)), return_exceptions=True
    )
    assert [type(one) for one in both if not isinstance(one, File)] == [TooLarge]
    database = await Database.open(postgres_url)
    assert await database.read(count_chunks) == 120
    assert await database.read(file_store.total_bytes, ALICE) == 30 << 20
    await database.close()


async def test_the_time_of_a_file_is_over_on_every_node_and_its_bytes_go(nodes: list[Files], postgres_url: str) -> None:
    async with await nodes[0].receive(ALICE) as incoming:
        await incoming.write(b"hello")
        made = await incoming.keep(filename="a", purpose="user_data", expires_after_seconds=3600)
    nodes[0]._clock.advance(3600)  # type: ignore[attr-defined]
    with pytest.raises(NotFound):
        await nodes[1].get(made.id, ALICE)
    await nodes[1].sweep()
    database = await Database.open(postgres_url)
    assert await database.read(count_chunks) == 0
    await database.close()


async def test_memory_stays_flat_whatever_a_file_has(nodes: list[Files]) -> None:
    async with await nodes[0].receive(ALICE) as incoming:
        piece = bytes(1 << 16)
        tracemalloc.start()
        try:
            for _ in range(384):
                await incoming.write(piece)
            made = await incoming.keep(filename="a", purpose="user_data")
            _, file = await nodes[1].open(made.id, ALICE)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    file.close()
    assert made.bytes == 24 << 20
    assert peak < 8 << 20


async def test_bytes_of_a_home_that_was_moved_here_are_taken_in_at_its_start(
    postgres_url: str, tmp_path: Path, nodes: list[Files]
) -> None:
    """The record came with the database, the bytes lie in the home's files/ still."""
    database = await Database.open(postgres_url)
    before = Files(database, tmp_path / "files0", FakeClock(), LIMITS)
    before._storage = Disk(database, tmp_path / "files0")
    data = random.Random(2).randbytes(CHUNK_BYTES + 9)
    made, cut = await put(before, data), await put(before, b"whole")
    (tmp_path / "files0" / cut.id).write_bytes(b"who")
    with pytest.raises(NotFound):
        await nodes[1].open(made.id, ALICE)
    await asyncio.gather(*(node.sweep() for node in (nodes[0], nodes[0], nodes[1])))
    _, file = await nodes[1].open(made.id, ALICE)
    with file:
        assert file.read() == data
    assert sorted(path.name for path in (tmp_path / "files0").iterdir()) == sorted([made.id, cut.id])
    assert await database.read(chunk_store.records_without) == {cut.id: 5}  # what is not whole is not taken
    await database.close()


async def test_a_disk_that_takes_no_copy_is_told(postgres_url: str, tmp_path: Path, nodes: list[Files]) -> None:
    made = await put(nodes[0], b"hello")
    (tmp_path / "full").write_text("a file where the directory should be")
    database = await Database.open(postgres_url)
    with pytest.raises(StoreUnavailable, match=str(tmp_path / "full")):
        await Files(database, tmp_path / "full", FakeClock(), LIMITS).open(made.id, ALICE)
    await database.close()
