"""Words between the nodes of a database: what a node does not have to wait for is what it is told at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

EVERYONE = "all"
"""The channel of all nodes; every other one is a node's id."""
LONGEST_WORD = 199


class Signals(Protocol):
    """Short words between the nodes of a database: lost when nobody listens, never the truth itself (that is a row)."""

    def send(self, to: str, word: str) -> None:
        """From the event loop; returns at once. `to` is a node's id or EVERYONE, the word printable ASCII.

        Words that wait for the same batch are merged when they are the same. Nothing is raised when the database is
        away: the words are dropped, and whom they were for is told `missed` when it is back.
        """

    async def listen(self, me: str, heard: Callable[[str], None], missed: Callable[[], None]) -> None:
        """Until it is cancelled. Both are called on the loop.

        `heard(word)` for each word to `me` or to everyone, one's own to everyone included. `missed()` after every
        connection, the first one too, and whenever a sender had to drop something: look at the rows again.
        """

    def rename(self, me: str) -> None:
        """The node has a new id: it is listened to from now on, and `missed` is called when that is so."""

    async def close(self) -> None:
        """What was sent is handed over first, if that takes less than a second."""


class NoSignals:
    """Of a database that one process uses: nobody else is there to be told."""

    def send(self, to: str, word: str) -> None:
        pass

    async def listen(self, me: str, heard: Callable[[str], None], missed: Callable[[], None]) -> None:
        await asyncio.Event().wait()

    def rename(self, me: str) -> None:
        pass

    async def close(self) -> None:
        pass
