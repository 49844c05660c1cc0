"""What people attach: rows in the database, bytes in a folder, copies in the inboxes of profiles."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from types import TracebackType
from typing import BinaryIO

from hermes.core.clock import Clock
from hermes.core.errors import Conflict, InvalidInput, NotFound, StoreUnavailable, TooLarge
from hermes.store.database import Database
from hermeslink.blobs.folder import Arriving, Folder
from hermeslink.blobs.inboxes import Inboxes
from hermeslink.blobs.names import clean_name
from hermeslink.blobs.threads import in_thread
from hermeslink.core.blob import Blob
from hermeslink.core.ids import is_id, new_id
from hermeslink.store import blobs as blob_store

MOST_BYTES = 50 << 20
_GATHERED_BYTES = 1 << 20
_log = logging.getLogger(__name__)


class Blobs:
    """One for a home: it alone puts files into the folder and takes them out."""

    def __init__(self, database: Database, folder: Folder, inboxes: Inboxes, clock: Clock) -> None:
        self.folder = folder
        self.inboxes = inboxes
        self._database = database
        self._clock = clock
        self._changing = asyncio.Lock()
        """Between a look at which rows there are and what is done to files for it nothing may come."""

    async def receive(self, conversation_id: str, *, device_id: str | None = None) -> Incoming:
        """Where the bytes of a new one go. Raises NotFound `conversation_not_found`."""
        await self._check_conversation(conversation_id)
        return Incoming(self, conversation_id, device_id)

    async def get(self, conversation_id: str, blob_id: str) -> Blob:
        """Raises NotFound `conversation_not_found`, or `blob_not_found`, also for one of another conversation."""
        found = None
        if is_id(conversation_id, "conv") and is_id(blob_id, "blob"):
            found = await self._database.read(blob_store.get, conversation_id, blob_id)
        if found is None:
            await self._check_conversation(conversation_id)
            raise no_blob(blob_id)
        return found

    async def open(self, blob: Blob) -> BinaryIO:
        """It stays readable when the blob is deleted meanwhile. Raises NotFound `blob_not_found`."""
        file = await in_thread(self.folder.open, blob.sha256)
        if file is None:
            _log.warning("blobs/%s is not there: the bytes of %s are lost", blob.sha256, blob.id)
            raise no_blob(blob.id)
        return file

    async def delete(self, conversation_id: str, blob_id: str) -> None:
        """Raises NotFound as `get` does, and Conflict `blob_in_use` when a message carries it."""
        blob = await self.get(conversation_id, blob_id)
        if not await self._database.write(blob_store.remove, blob, durable=True):
            raise Conflict(f"a message carries {blob_id}: it goes with its conversation", code="blob_in_use")
        await self.collect([blob])

    async def forget(self, conversation_ids: Collection[str]) -> int:
        """All of those conversations, whether these are still there or not. Returns how many.

        Who deletes a conversation calls `store.blobs.forget` in that transaction and `collect` behind it.
        """
        gone = await self._database.write(blob_store.forget, conversation_ids, durable=True)
        await self.collect(gone)
        return len(gone)

    async def collect(self, gone: Collection[Blob]) -> None:
        """Removes the files of blobs whose rows are gone, but for those that other blobs have, too. What the disk
        refuses now goes at the next start."""
        if not gone:
            return
        try:
            await self._remove_unnamed({blob.sha256 for blob in gone})
            await in_thread(self.inboxes.remove, [blob.id for blob in gone])
        except (OSError, StoreUnavailable) as error:
            _log.warning("some attached files stay until the next start: %s", error)

    async def sweep(self) -> int:
        """Removes what a crash left. Returns how many. Call it at a start, before anything comes in."""
        names = await in_thread(self.folder.names)
        removed = await self._remove_unnamed(set(names))
        try:
            copied = await in_thread(self.inboxes.blob_ids)
            await in_thread(self.inboxes.remove, await self._database.read(blob_store.gone, copied))
        except OSError as error:
            _log.warning("cannot look through the inboxes of the profiles: %s", error)
        return removed

    async def keep(self, arrived: Arriving, conversation_id: str, filename: str, device_id: str | None) -> Blob:
        blob = Blob(
            id=new_id("blob"),
            conversation_id=conversation_id,
            sha256=arrived.sha256,
            size=arrived.size,
            mime=arrived.mime,
            filename=clean_name(filename),
            device_id=device_id,
            created_at=self._clock.now(),
        )
        async with self._changing:
            await in_thread(self.folder.take, arrived)
            is_kept = await self._database.write(blob_store.add, blob, durable=True)
        if not is_kept:
            await self.collect([blob])
            raise no_conversation(conversation_id)
        return blob

    async def _check_conversation(self, conversation_id: str) -> None:
        is_known = is_id(conversation_id, "conv")
        if not is_known or not await self._database.read(blob_store.has_conversation, conversation_id):
            raise no_conversation(conversation_id)

    async def _remove_unnamed(self, names: Collection[str]) -> int:
        async with self._changing:
            # asked as a write, since then it stands behind those whose caller was cancelled and waits no more
            unnamed = await self._database.write(blob_store.unnamed, names)
            await in_thread(self.folder.remove, unnamed)
        return len(unnamed)


class Incoming:
    """A blob on its way in. Leaving the context without `keep` removes what came so far."""

    def __init__(self, blobs: Blobs, conversation_id: str, device_id: str | None) -> None:
        self._blobs = blobs
        self._conversation_id = conversation_id
        self._device_id = device_id
        self._arriving = blobs.folder.begin()
        self._gathered = bytearray()
        self.size = 0

    async def __aenter__(self) -> Incoming:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await in_thread(self._arriving.drop)

    async def write(self, data: bytes) -> None:
        """Raises TooLarge `blob_too_large` when this is more than one may have."""
        self.size += len(data)
        if self.size > MOST_BYTES:
            raise TooLarge(f"an attachment may have {MOST_BYTES >> 20} MiB", code="blob_too_large")
        self._gathered += data
        if len(self._gathered) >= _GATHERED_BYTES:
            await in_thread(self._flush)

    async def keep(self, filename: str) -> Blob:
        """Raises InvalidInput `blob_empty`, and NotFound when the conversation was deleted meanwhile."""
        if not self.size:
            raise InvalidInput("the file is empty", code="blob_empty")
        await in_thread(self._finish)
        return await self._blobs.keep(self._arriving, self._conversation_id, filename, self._device_id)

    def _flush(self) -> None:
        self._arriving.append(self._gathered)
        self._gathered.clear()

    def _finish(self) -> None:
        self._flush()
        self._arriving.finish()


def no_blob(blob_id: str) -> NotFound:
    return NotFound(f"no attachment {blob_id[:64]!r} in this conversation", code="blob_not_found")


def no_conversation(conversation_id: str) -> NotFound:
    return NotFound(f"no conversation {conversation_id[:64]!r}", code="conversation_not_found")
