"""Where the bytes of uploaded files lie: in a home's files/ (`disk`), or in a database that nodes share (`chunks`)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from hermes.core.errors import StoreUnavailable
from hermes.core.file import File
from hermes.files.kinds import Kind
from hermes.home.disk import refusal
from hermes.store.database import Connection

Check = Callable[[Connection], None]


class Arriving(Protocol):
    """The bytes of one file on their way. But for `keep` its methods block, and are called in a thread, one at a time;
    what the disk refuses is StoreUnavailable."""

    def append(self, data: bytes | bytearray) -> None: ...

    def finish(self) -> Kind:
        """No more will come. What the file is."""

    async def keep(self, record: File, check: Check) -> None:
        """From here on the file is there, whole; not where this raises, as `check` may, in the same transaction."""

    def drop(self) -> None:
        """Lets go of what is not part of a kept file."""


class Storage(Protocol):
    def begin(self, file_id: str) -> Arriving: ...

    async def open(self, record: File, start: int, end: int) -> BinaryIO | None:
        """A real file that is read from where it stands: the bytes from `start` on, to `end` at least. They stay
        readable when the file is deleted. None where they are gone already. Raises StoreUnavailable."""

    async def remove(self, ids: Sequence[str]) -> None:
        """The bytes of records that are gone."""

    async def sweep(self, arriving: Collection[str]) -> int:
        """Removes what broken uploads left, but for what is `arriving`. Returns how many."""


@contextlib.contextmanager
def told_as_unavailable(place: Path, verb: str = "change") -> Iterator[None]:
    """What the disk refuses, as StoreUnavailable."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"cannot {verb} {place}: {refusal(error, place)}") from error
