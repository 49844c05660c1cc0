"""Who may run now: one run at a time a session, so many at once in all, and a fair line behind that.

Spec: api-server section 1, concurrency. A place is freed when its run ends, whoever reads.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Protocol

from hermes.core.errors import Busy, Conflict
from hermes.core.run import Run
from hermes.store import nodes as node_store
from hermes.store.database import Connection


@dataclass(slots=True, eq=False)
class Place:
    """A run's place. `is_running` once it has both its session's pen and one of the slots. `run_id` where the rows of
    the runs are the line. `is_child`: it needs no slot, as its parent, which waits for it, has one."""

    session_id: str
    owner: str
    run_id: str = ""
    is_running: bool = False
    has_pen: bool = False
    ready: asyncio.Future[None] | None = field(default=None)
    is_child: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a run that is about to be kept runs at once, and since when it runs or stands in line."""

    is_running: bool
    created_at: float


class AnyLine(Protocol):
    """Of one process (`Line`), or of all nodes of a database (`shared_line.SharedLine`)."""

    max_running: int
    max_waiting: int
    running: int

    @property
    def waiting(self) -> int: ...

    def join(self, session_id: str, owner: str, *, is_resumed: bool = False, is_child: bool = False) -> Place: ...

    def decide(self, conn: Connection, run: Run, place: Place) -> Decision: ...

    def settle(self, place: Place, run: Run) -> None: ...

    async def wait(self, place: Place) -> None: ...

    def begins(self, conn: Connection, run: Run) -> bool: ...

    def began(self, place: Place, *, is_its_turn: bool) -> None: ...

    def leave(self, place: Place) -> None: ...

    def heard(self, word: str) -> None: ...


def full(running: int, waiting: int) -> Busy:
    return Busy(
        f"{running} runs are going on and {waiting} wait; try again in a moment "
        "(settings: api_server.max_concurrent_runs, api_server.max_queued_runs).",
        retry_after_seconds=2,
    )


class Line:
    """`node_id`: another process's run of a session is respected where both keep their runs in one file."""

    def __init__(self, max_running: int = 32, max_waiting: int = 256, *, node_id: str | None = None) -> None:
        self.max_running = max_running
        self.max_waiting = max_waiting
        self.running = 0
        self._node_id = node_id
        self._sessions: dict[str, deque[Place]] = {}
        self._owners: OrderedDict[str, deque[Place]] = OrderedDict()
        self._waiting = 0

    @property
    def waiting(self) -> int:
        return self._waiting

    def join(self, session_id: str, owner: str, *, is_resumed: bool = False, is_child: bool = False) -> Place:
        """A place, running at once where there is room. Raises Busy when the line is full; a resumed run has stood in
        it before, and always has its place."""
        place = Place(session_id, owner, is_child=is_child)
        pens = self._sessions.get(session_id)
        if pens is None and (is_child or (self.running < self.max_running and not self._owners)):
            self._sessions[session_id] = deque((place,))
            place.has_pen = place.is_running = True
            self.running += not is_child
            return place
        if self._waiting >= self.max_waiting and not is_resumed:
            raise full(self.running, self._waiting)
        self._waiting += 1
        place.ready = asyncio.get_running_loop().create_future()
        if pens is None:
            self._sessions[session_id] = deque((place,))
            self._give_pen(place)
        else:
            pens.append(place)
        return place

    def decide(self, conn: Connection, run: Run, place: Place) -> Decision:
        """What `join` said. Raises Conflict `session_busy` when another process is in the middle of the session."""
        if self._node_id is not None and node_store.is_in_use(conn, run.session_id, self._node_id):
            raise Conflict(
                f"session {run.session_id!r} is in use by another hermes process; try again when its turn is over",
                code="session_busy",
            )
        return Decision(place.is_running, run.created_at)

    def settle(self, place: Place, run: Run) -> None:
        pass

    def begins(self, conn: Connection, run: Run) -> bool:
        """`wait` has returned, so it is its turn."""
        return True

    def began(self, place: Place, *, is_its_turn: bool) -> None:
        pass

    def heard(self, word: str) -> None:
        pass

    async def wait(self, place: Place) -> None:
        """Until the place runs. Cancelling it leaves the place in the line: `leave` gives it up."""
        if place.ready is not None:
            await asyncio.shield(place.ready)

    def leave(self, place: Place) -> None:
        """Give the place up, from wherever it stands."""
        pens = self._sessions.get(place.session_id)
        if pens is None or place not in pens:
            return
        pens.remove(place)
        if place.is_running:
            self.running -= not place.is_child
            place.is_running = False
        else:
            self._waiting -= 1
            self._forget(place)
        if not pens:
            del self._sessions[place.session_id]
        elif place.has_pen:
            self._give_pen(pens[0])
        place.has_pen = False
        self._fill()

    def _give_pen(self, place: Place) -> None:
        place.has_pen = True
        if place.is_child:
            self._waiting -= 1
            self._begin(place)
            return
        self._owners.setdefault(place.owner, deque()).append(place)
        self._fill()

    def _forget(self, place: Place) -> None:
        waiting = self._owners.get(place.owner)
        if waiting is not None and place in waiting:
            waiting.remove(place)
            if not waiting:
                del self._owners[place.owner]

    def _fill(self) -> None:
        """Free slots go round the owners, one each, so that a busy one does not starve the others."""
        while self._owners and self.running < self.max_running:
            owner, waiting = next(iter(self._owners.items()))
            place = waiting.popleft()
            if waiting:
                self._owners.move_to_end(owner)
            else:
                del self._owners[owner]
            self._waiting -= 1
            self.running += 1
            self._begin(place)

    def _begin(self, place: Place) -> None:
        place.is_running = True
        if place.ready is not None and not place.ready.done():
            place.ready.set_result(None)
