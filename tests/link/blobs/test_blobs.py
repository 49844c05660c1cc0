"""What people attach: kept once by its content, whole or not at all, and nothing of it is left over."""

from __future__ import annotations

import asyncio
import hashlib
import stat
from pathlib import Path

import pytest

from hermes.core.errors import Conflict, InvalidInput, NotFound, StoreUnavailable, TooLarge
from hermes.store.database import Connection, Database
from hermeslink.blobs import blobs as blobs_module
from hermeslink.blobs.blobs import Blobs
from hermeslink.core.blob import Blob
from hermeslink.core.ids import new_id
from hermeslink.store import blobs as blob_store
from hermeslink.store import schema
from tests.support.link_conversations import add_conversation, add_message

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")


async def keep(blobs: Blobs, conversation: str, *pieces: bytes, name: str = "a.txt") -> Blob:
    async with await blobs.receive(conversation) as incoming:
        for piece in pieces:
            await incoming.write(piece)
        return await incoming.keep(name)


def on_disk(blobs: Blobs) -> set[str]:
    return {path.name for path in blobs.folder.path.iterdir()} if blobs.folder.path.exists() else set()


async def content(blobs: Blobs, blob: Blob) -> bytes:
    with await blobs.open(blob) as file:
        return file.read()


async def test_what_comes_is_hashed_counted_and_read_again(blobs: Blobs, conversation: str) -> None:
    data = bytes(range(256)) * 8192  # 2 MiB, in pieces that end anywhere
    pieces = [data[i : i + 70_001] for i in range(0, len(data), 70_001)]
    blob = await keep(blobs, conversation, *pieces, name="C:\\photos\\a.bin")
    assert (blob.size, blob.sha256, blob.filename) == (len(data), hashlib.sha256(data).hexdigest(), "a.bin")
    assert await blobs.get(conversation, blob.id) == blob
    assert await content(blobs, blob) == data
    assert stat.S_IMODE((blobs.folder.path / blob.sha256).stat().st_mode) == 0o600
    assert stat.S_IMODE(blobs.folder.path.stat().st_mode) == 0o700


async def test_equal_contents_lie_there_once_and_go_with_the_last(
    blobs: Blobs, database: Database, conversation: str
) -> None:
    other = await add_conversation(database)
    first, second = await keep(blobs, conversation, b"same"), await keep(blobs, other, b"same")
    assert first.id != second.id
    assert on_disk(blobs) == {first.sha256}
    await blobs.delete(conversation, first.id)
    assert await content(blobs, second) == b"same"
    await blobs.delete(other, second.id)
    assert on_disk(blobs) == set()


async def test_a_damaged_file_is_replaced_by_the_next_with_that_content(blobs: Blobs, conversation: str) -> None:
    first = await keep(blobs, conversation, b"whole")
    (blobs.folder.path / first.sha256).write_bytes(b"who")
    await keep(blobs, conversation, b"whole")
    assert await content(blobs, first) == b"whole"


async def test_another_conversations_is_as_unknown_as_none(blobs: Blobs, database: Database, conversation: str) -> None:
    blob, other = await keep(blobs, conversation, b"mine"), await add_conversation(database)
    for conversation_id, blob_id, code in (
        (other, blob.id, "blob_not_found"),
        (conversation, new_id("blob"), "blob_not_found"),
        (conversation, "blob_../../link.db", "blob_not_found"),
        (new_id("conv"), blob.id, "conversation_not_found"),
        ("conv_%2e%2e", blob.id, "conversation_not_found"),
    ):
        with pytest.raises(NotFound) as refused:
            await blobs.get(conversation_id, blob_id)
        assert refused.value.code == code
        with pytest.raises(NotFound):
            await blobs.delete(conversation_id, blob_id)


async def test_one_that_a_message_carries_stays(blobs: Blobs, database: Database, conversation: str) -> None:
    blob, message = await keep(blobs, conversation, b"sent"), await add_message(database, conversation)
    await database.write(blob_store.attach, message, [blob])
    with pytest.raises(Conflict) as refused:
        await blobs.delete(conversation, blob.id)
    assert refused.value.code == "blob_in_use"
    assert await content(blobs, blob) == b"sent"


async def test_a_message_tells_its_attachments_in_the_order_in_which_they_were_sent(
    blobs: Blobs, database: Database, conversation: str
) -> None:
    some = [await keep(blobs, conversation, f"{i}".encode()) for i in range(5)]
    asked = [some[i].id for i in (3, 0, 4)]
    found = await database.read(blob_store.get_many, conversation, [*asked, new_id("blob")])
    assert [blob.id for blob in found] == asked
    message, bare = await add_message(database, conversation), await add_message(database, conversation)
    await database.write(blob_store.attach, message, found)
    await database.write(blob_store.attach, bare, [])
    assert await database.read(blob_store.attached, [message, bare]) == {message: found}


async def test_an_empty_one_is_refused(blobs: Blobs, conversation: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await keep(blobs, conversation, b"")
    assert refused.value.code == "blob_empty"
    assert on_disk(blobs) == set()


async def test_one_that_is_too_large_leaves_nothing(blobs: Blobs, conversation: str) -> None:
    mib = bytes(1 << 20)
    blob = await keep(blobs, conversation, *[mib] * 50)
    assert blob.size == blobs_module.MOST_BYTES
    await blobs.delete(conversation, blob.id)
    with pytest.raises(TooLarge) as refused:
        await keep(blobs, conversation, *[mib] * 50, b"1")
    assert refused.value.code == "blob_too_large"
    assert on_disk(blobs) == set()


async def test_one_whose_conversation_goes_while_it_comes_is_refused(
    blobs: Blobs, database: Database, conversation: str
) -> None:
    async with await blobs.receive(conversation) as incoming:
        await incoming.write(b"late")
        await database.write(_delete_conversation, conversation)
        with pytest.raises(NotFound) as refused:
            await incoming.keep("a")
    assert refused.value.code == "conversation_not_found"
    assert on_disk(blobs) == set()


async def test_those_of_a_conversation_go_with_it_in_its_own_transaction(
    blobs: Blobs, database: Database, conversation: str
) -> None:
    other = await add_conversation(database)
    kept = await keep(blobs, other, b"both")
    blob, message = await keep(blobs, conversation, b"both"), await add_message(database, conversation)
    await keep(blobs, conversation, b"alone")
    await database.write(blob_store.attach, message, [blob])

    def delete(conn: Connection) -> list[Blob]:
        gone = blob_store.forget(conn, [conversation])
        _delete_conversation(conn, conversation)
        return gone

    gone = await database.write(delete)
    assert len(gone) == 2
    await blobs.collect(gone)
    assert on_disk(blobs) == {kept.sha256}
    assert await blobs.forget([other, conversation]) == 1
    assert on_disk(blobs) == set()


async def test_what_a_crash_left_is_swept_and_what_is_others_is_not(blobs: Blobs, conversation: str) -> None:
    kept = await keep(blobs, conversation, b"kept")
    for name in ("0" * 64, f"{'0' * 32}.part", "README", ".DS_Store"):
        (blobs.folder.path / name).write_bytes(b"x")
    assert await blobs.sweep() == 2
    assert on_disk(blobs) == {kept.sha256, "README", ".DS_Store"}


async def test_the_first_start_sweeps_what_is_not_there(blobs: Blobs) -> None:
    assert await blobs.sweep() == 0


async def test_one_that_is_cut_off_leaves_nothing(blobs: Blobs, conversation: str) -> None:
    began = asyncio.Event()

    async def upload() -> None:
        async with await blobs.receive(conversation) as incoming:
            await incoming.write(bytes(3 << 20))
            began.set()
            await asyncio.Event().wait()

    uploading = asyncio.ensure_future(upload())
    await began.wait()
    assert len(on_disk(blobs)) == 1
    uploading.cancel()
    await asyncio.wait([uploading])
    assert on_disk(blobs) == set()


async def test_the_same_content_kept_and_deleted_at_once_is_never_a_row_without_a_file(
    blobs: Blobs, database: Database, conversation: str
) -> None:
    async def come_and_go() -> None:
        blob = await keep(blobs, conversation, b"same")
        assert await content(blobs, blob) == b"same"
        await blobs.delete(conversation, blob.id)

    async def be_cut_off() -> None:
        coming = asyncio.ensure_future(keep(blobs, conversation, b"same"))
        await asyncio.wait([coming], timeout=0.003)
        coming.cancel()
        await asyncio.wait([coming])

    await asyncio.gather(*(come_and_go() for _ in range(20)), *(be_cut_off() for _ in range(20)))
    rows = await database.read(_contents)
    assert rows == on_disk(blobs)


async def test_a_file_that_is_gone_is_a_blob_that_is_not_found(blobs: Blobs, conversation: str) -> None:
    blob = await keep(blobs, conversation, b"lost")
    (blobs.folder.path / blob.sha256).unlink()
    with pytest.raises(NotFound) as refused:
        await blobs.open(blob)
    assert refused.value.code == "blob_not_found"


async def test_a_link_in_the_place_of_a_file_is_not_followed(blobs: Blobs, conversation: str, tmp_path: Path) -> None:
    blob = await keep(blobs, conversation, b"mine")
    (tmp_path / "secret").write_bytes(b"not")
    (blobs.folder.path / blob.sha256).unlink()
    (blobs.folder.path / blob.sha256).symlink_to(tmp_path / "secret")
    with pytest.raises(StoreUnavailable):
        await blobs.open(blob)


def _delete_conversation(conn: Connection, conversation_id: str) -> None:
    conn.execute(schema.conversations.delete().where(schema.conversations.c.id == conversation_id))


def _contents(conn: Connection) -> set[str]:
    return set(conn.scalars(schema.blobs.select().with_only_columns(schema.blobs.c.sha256)))
