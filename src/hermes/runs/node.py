"""This process among the nodes of its database: that it lives, which others do not, and what they tell each other.

On PostgreSQL a node beats, and one that has been silent for seconds is taken for dead. In a file of SQLite's own, a
process holds a lock that the system lets go of when it dies. A database in memory has no other process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hermes import __version__
from hermes.core.clock import Clock
from hermes.core.ids import new_id
from hermes.core.node import Node
from hermes.home.files import make_private_directory, write_private
from hermes.home.locks import NodeLock, is_held, sweep_locks
from hermes.store import nodes as node_store
from hermes.store.database import Connection, Database
from hermes.store.signals import EVERYONE

log = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
SILENT_SECONDS = 5.0
"""A node that was not heard of for so long is dead to the others: with the beat, a take-over begins within 7 s."""
LOOK_SECONDS = 2.0
"""How often a process looks for others that share its file: what they said to its runs, and whether they died."""
SWEPT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Identity:
    """`kind`: a `gateway` takes over what others left behind; `home` tells it from the gateways of other homes; `url`:
    where it answers. `id_file` holds what it is called: its home's lock tells the next process there that it is gone,
    and this which one it was."""

    kind: str = "library"
    home: str = ""
    url: str | None = None
    id_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Buried:
    """How many nodes were found dead, and how many others live."""

    dead: int = 0
    living: int = 0


class Watch:
    """Which peers are silent, by this node's own observation: no clock of another machine counts, and neither does
    time in which it could not look."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[int, float]] = {}
        self._looked_at = 0.0

    def silent(self, peers: Sequence[Node]) -> list[Node]:
        """Call it at least every three seconds."""
        now = self._clock.monotonic()
        if now - self._looked_at > 3 * BEAT_SECONDS:
            self._seen.clear()
        self._looked_at = now
        known = {
            peer.id: seen for peer in peers if (seen := self._seen.get(peer.id)) is not None and seen[0] == peer.beat
        }
        self._seen = {peer.id: known.get(peer.id, (peer.beat, now)) for peer in peers}
        return [peer for peer in peers if now - self._seen[peer.id][1] >= SILENT_SECONDS]


class Membership:
    """`enter` before the first run, `leave` behind the last."""

    def __init__(self, database: Database, clock: Clock, identity: Identity | None = None) -> None:
        self.id = new_id("node")
        self.identity = identity or Identity()
        self.is_shared = database.is_shared
        self.signals = database.signals()
        self._database = database
        self._clock = clock
        self._watch = Watch(clock)
        self._started_at = clock.now()
        self._locks = database.path.parent / "run" if database.path is not None else None
        self._lock: NodeLock | None = None
        self._fence = self._fence_of(self.id)
        self._rejoining = asyncio.Lock()

    @property
    def is_alone(self) -> bool:
        """In memory: there are no others."""
        return not self.is_shared and self._locks is None

    @property
    def seconds_between_looks(self) -> float | None:
        """None: nothing to look for."""
        if self.is_shared:
            return BEAT_SECONDS
        return None if self.is_alone else LOOK_SECONDS

    @property
    def takes_over(self) -> bool:
        return self.identity.kind == "gateway"

    async def enter(self) -> None:
        """Raises StoreUnavailable."""
        if self.is_alone:
            return
        if self._locks is not None:
            self._lock = await asyncio.to_thread(NodeLock, lock_file(self._locks, self.id))
            await asyncio.to_thread(sweep_locks, self._locks, "node_*.lock", older_than_seconds=SWEPT_SECONDS)
        await self._register(self.id)

    async def leave(self) -> None:
        """Whatever it still conducts is nobody's from now on."""
        if not self.is_alone:
            await self._database.write(node_store.remove, self.id)
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    async def rejoin(self, lost: str) -> None:
        """Under a new id, since the others took `lost` for dead; of several calls for one loss the first does it."""
        async with self._rejoining:
            if self.id != lost:
                return
            fresh = new_id("node")  # nothing happens in its name before it is registered
            await self._register(fresh)
            self.id, self._fence = fresh, self._fence_of(fresh)
            self.signals.rename(fresh)

    def fence(self) -> Callable[[Connection], None]:
        """What each transaction begins with that writes about runs which this node has now: it raises Fenced when the
        others took it for dead since. The same one for as long as the node has its id."""
        return self._fence

    async def beat(self, *, is_draining: bool) -> bool:
        """False: the others took it for dead."""
        if not self.is_shared:
            return True
        return await self._database.write_apart(node_store.beat, self.id, self._clock.now(), is_draining)

    async def bury(self) -> Buried:
        """Nodes that are dead lose their row, and with it their runs."""
        if self.is_alone:
            return Buried()
        peers = [node for node in await self._database.read(node_store.listed) if node.id != self.id]
        dead = self._watch.silent(peers) if self.is_shared else await asyncio.to_thread(self._without_lock, peers)
        buried = 0
        for peer in dead:
            if await self._database.write(node_store.remove_silent, peer.id, peer.beat):
                log.warning("%s %s (%s:%d) is gone: its runs are taken over", peer.kind, peer.id, peer.host, peer.pid)
                buried += 1
        return Buried(buried, len(peers) - buried)

    def tell_everyone(self, word: str) -> None:
        self.signals.send(EVERYONE, word)

    def tell(self, node_id: str, word: str) -> None:
        self.signals.send(node_id, word)

    async def _register(self, node_id: str) -> None:
        file = self.identity.id_file
        last = await asyncio.to_thread(_read_id, file) if file is not None else None
        await self._database.write(node_store.register, self._node(node_id), last)
        if file is not None:
            await asyncio.to_thread(_write_id, file, node_id)

    def _fence_of(self, node_id: str) -> Callable[[Connection], None]:
        return partial(node_store.check, node_id=node_id) if self.is_shared else _no_fence

    def _without_lock(self, peers: Sequence[Node]) -> list[Node]:
        assert self._locks is not None
        return [peer for peer in peers if not is_held(lock_file(self._locks, peer.id))]

    def _node(self, node_id: str) -> Node:
        return Node(
            id=node_id,
            kind=self.identity.kind,
            home=self.identity.home,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            url=self.identity.url,
            started_at=self._started_at,
            beat_at=self._clock.now(),
        )


def _no_fence(conn: Connection) -> None:
    pass


def _read_id(file: Path) -> str | None:
    with suppress(OSError, UnicodeDecodeError):
        text = file.read_text("ascii").strip()
        return text if text.replace("_", "").isalnum() else None
    return None


def _write_id(file: Path, node_id: str) -> None:
    with suppress(OSError):  # without it the others wait until this one was silent for long enough
        make_private_directory(file.parent)
        write_private(file, f"{node_id}\n")


def lock_file(directory: Path, node_id: str) -> Path:
    """What a process holds that conducts runs of a file in `directory`'s parent."""
    return directory / f"{node_id}.lock"
