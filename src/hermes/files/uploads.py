"""Files that clients uploaded: their records in the store, their bytes where its database is (`storage`)."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from hermes.core.clock import Clock
from hermes.core.errors import InvalidInput, NotFound, StoreUnavailable, TooLarge
from hermes.core.file import FILE_ID, PURPOSES, File, new_file_id
from hermes.files.chunks import Chunks
from hermes.files.disk import Disk
from hermes.files.documents import Documents
from hermes.files.kinds import Kind
from hermes.files.storage import Arriving, Storage
from hermes.store import files as file_store
from hermes.store import turns
from hermes.store.database import Connection, Database
from hermes.store.files import Order

MAX_NAME_CHARACTERS = 1024
EXPIRY_SECONDS = (3600, 30 * 24 * 3600)
_GATHERED_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class UploadSettings:
    """`max_bytes` of one file, `total_bytes` of all files of one owner, `text_characters` of one document's text."""

    max_bytes: int = 50 << 20
    total_bytes: int = 1 << 30
    text_characters: int = 200_000


class Files:
    """`directory` None: there is no home, and nothing can be uploaded."""

    def __init__(
        self, database: Database, directory: Path | None, clock: Clock, settings: UploadSettings | None = None
    ) -> None:
        self.settings = settings or UploadSettings()
        self.documents = Documents()
        self._database = database
        self._storage = _storage(database, directory)
        self._clock = clock
        self._arriving: set[str] = set()
        self._arriving_bytes: Counter[str] = Counter()  # by owner: what is not in the store yet takes room, too

    async def receive(self, owner: str, declared_bytes: int = 0) -> Incoming:
        """Where the bytes of a new file go. Raises TooLarge when `declared_bytes` are more than there may come."""
        storage = self._where()
        if declared_bytes > self.settings.max_bytes:
            raise too_large(self.settings.max_bytes)
        await self._sweep_expired()
        taken = await self._database.read(file_store.total_bytes, owner)
        self._check_room(taken, max(declared_bytes, 1))
        return Incoming(self, storage, owner, taken)

    async def list_files(
        self, owner: str, *, limit: int = 10_000, order: Order = "desc", after: str | None = None, purpose: str | None
    ) -> tuple[list[File], bool]:
        """A page, and whether there is more. Raises InvalidInput when `after` names no file of the owner's."""
        now = self._clock.now()
        last = await self._record(after, owner) if after is not None else None
        if after is not None and last is None:
            raise InvalidInput(f"after: no file {after[:64]!r}", param="after")

        def page(conn: Connection) -> list[File]:
            return file_store.list_files(conn, owner, now, limit=limit + 1, order=order, after=last, purpose=purpose)

        found = await self._database.read(page)
        return found[:limit], len(found) > limit

    async def get(self, file_id: str, owner: str, param: str | None = None) -> File:
        """Raises NotFound `file_not_found`; someone else's file is as unknown as none."""
        found = await self._record(file_id, owner)
        if found is None:
            raise no_file(file_id, param)
        return found

    async def open(self, file_id: str, owner: str, param: str | None = None) -> tuple[File, BinaryIO]:
        """Its record, and its bytes open for reading: they stay readable when the file is deleted meanwhile."""
        record = await self.get(file_id, owner, param)
        return record, await self.open_part(record, 0, record.bytes, param)

    async def open_part(self, record: File, start: int, end: int, param: str | None = None) -> BinaryIO:
        """Stands at byte `start`, and has what follows to `end` at least. Raises NotFound `file_not_found`."""
        file = await self._where().open(record, start, end)
        if file is None:  # deleted just now, or taken out of the home by hand
            raise no_file(record.id, param)
        return file

    async def delete(self, file_id: str, owner: str) -> None:
        """Raises NotFound `file_not_found`."""
        now = self._clock.now()
        is_known = FILE_ID.fullmatch(file_id) is not None
        if not is_known or not await self._database.write(file_store.delete, file_id, owner, now, durable=True):
            raise no_file(file_id)
        await self._where().remove([file_id])

    async def sweep(self) -> int:
        """Removes what no record names: uploads that broke off, bytes whose record is gone. Returns how many.

        Call it at the start of a process that serves this home.
        """
        await self._sweep_expired()
        return 0 if self._storage is None else await self._storage.sweep(self._arriving)

    async def keep(self, record: File, bytes_: Arriving) -> None:
        """Both, or neither: the room is looked at once more, with what other uploads took meanwhile."""

        def check(conn: Connection) -> None:
            turns.wait_for(conn, "files", record.owner)
            taken = file_store.total_bytes(conn, record.owner)
            self._check_room(taken - file_store.counted(record.bytes), record.bytes)

        await bytes_.keep(record, check)

    def arriving(self, file_id: str, *, is_over: bool = False) -> None:
        """What is on its way is not swept."""
        (self._arriving.discard if is_over else self._arriving.add)(file_id)

    def arrived(self, owner: str, count: int, taken: int) -> None:
        """`taken` was so when the file began to come. Raises TooLarge `file_quota_exceeded` when that and all that is
        on its way for the owner are more than he may have.
        """
        self._arriving_bytes[owner] += count
        if count > 0:
            self._check_room(taken, self._arriving_bytes[owner])
        elif not self._arriving_bytes[owner]:
            del self._arriving_bytes[owner]

    def now(self) -> float:
        return self._clock.now()

    async def _record(self, file_id: str, owner: str) -> File | None:
        if FILE_ID.fullmatch(file_id) is None:
            return None
        return await self._database.read(file_store.get, file_id, owner, self._clock.now())

    async def _sweep_expired(self) -> None:
        if self._storage is not None:
            gone = await self._database.write(file_store.delete_expired, self._clock.now())
            if gone:
                await self._storage.remove(gone)

    def _check_room(self, taken: int, added: int) -> None:
        if taken + file_store.counted(added) > self.settings.total_bytes:
            raise TooLarge(
                f"this key's files take {taken} bytes and may take {self.settings.total_bytes} together: delete some, "
                "or raise uploads.total_mb",
                code="file_quota_exceeded",
                param="file",
            )

    def _where(self) -> Storage:
        if self._storage is None:
            raise StoreUnavailable("there is no home here, so no place for files")
        return self._storage


class Incoming:
    """A file on its way in. Leaving the context without `keep` removes what came so far."""

    def __init__(self, files: Files, storage: Storage, owner: str, taken: int) -> None:
        self.id = new_file_id()
        self._files = files
        self._owner = owner
        self._taken = taken
        self._arriving = storage.begin(self.id)
        self._most = files.settings.max_bytes
        self._gathered = bytearray()
        self._digest = hashlib.sha256()
        self.bytes = 0

    async def __aenter__(self) -> Incoming:
        self._files.arriving(self.id)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await asyncio.to_thread(self._arriving.drop)
        finally:
            self._files.arriving(self.id, is_over=True)
            self._files.arrived(self._owner, -self.bytes, self._taken)

    async def write(self, data: bytes | memoryview) -> None:
        """Raises TooLarge when this is more than one file may have."""
        if self.bytes + len(data) > self._most:
            raise too_large(self._most)
        self.bytes += len(data)
        self._files.arrived(self._owner, len(data), self._taken)
        self._gathered += data
        if len(self._gathered) >= _GATHERED_BYTES:
            await asyncio.to_thread(self._flush)

    async def keep(self, *, filename: str, purpose: str, expires_after_seconds: int | None = None) -> File:
        """Raises InvalidInput naming the field, TooLarge `file_quota_exceeded`."""
        if not self.bytes:
            raise InvalidInput("the file is empty", param="file")
        check_name(filename)
        check_purpose(purpose)
        check_expiry(expires_after_seconds)
        kind = await asyncio.to_thread(self._finish)
        now = self._files.now()
        record = File(
            id=self.id,
            owner=self._owner,
            filename=filename,
            purpose=purpose,
            media_type=kind.media_type,
            bytes=self.bytes,
            sha256=self._digest.hexdigest(),
            created_at=now,
            expires_at=None if expires_after_seconds is None else now + expires_after_seconds,
        )
        await self._files.keep(record, self._arriving)
        return record

    def _flush(self) -> None:
        self._arriving.append(self._gathered)
        self._digest.update(self._gathered)
        self._gathered.clear()

    def _finish(self) -> Kind:
        self._flush()
        return self._arriving.finish()


def no_file(file_id: str, param: str | None = None) -> NotFound:
    where = f"{param}: " if param else ""
    return NotFound(f"{where}no file {file_id[:64]!r}", code="file_not_found", param=param)


def too_large(most: int) -> TooLarge:
    return TooLarge(f"the file is larger than {most} bytes (setting: uploads.max_mb)", param="file")


def check_name(filename: str) -> None:
    if not filename or len(filename) > MAX_NAME_CHARACTERS:
        raise InvalidInput(f"filename must have 1 to {MAX_NAME_CHARACTERS} characters", param="filename")


def check_purpose(purpose: str) -> None:
    if purpose not in PURPOSES:
        raise InvalidInput(f"purpose must be one of {', '.join(PURPOSES)}", param="purpose")


def check_expiry(seconds: int | None) -> None:
    least, most = EXPIRY_SECONDS
    if seconds is not None and not least <= seconds <= most:
        raise InvalidInput(f"expires_after[seconds] must be from {least} to {most}", param="expires_after[seconds]")


def _storage(database: Database, directory: Path | None) -> Storage | None:
    if directory is None:
        return None
    return Chunks(database, directory) if database.is_shared else Disk(database, directory)
