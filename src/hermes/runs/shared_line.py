"""The line where many nodes share a database: the rows of open runs are the line (`store/line.py`).

A run's place is decided in the transaction that keeps it. One that has to wait is this node's to begin: whenever a run
ends anywhere, or at the latest each second, it looks whether its turn has come, and begins it under the line's lock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from hermes.core.clock import Clock, pause
from hermes.core.errors import HermesError
from hermes.core.run import Run, RunStatus
from hermes.runs.line import Decision, Place, full
from hermes.store import line as line_store
from hermes.store.database import Connection, Database

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
STEP_SECONDS = 1e-6
WAITED_LATELY_SECONDS = 5.0


class SharedLine:
    """`tell` says a word to every node: `waiting` while a run of this one waits, `line` when a place got free and some
    node's runs wait for one. `look_forever` must run as a task."""

    def __init__(
        self, max_running: int, max_waiting: int, *, database: Database, clock: Clock, tell: Callable[[str], None]
    ) -> None:
        self.max_running = max_running
        self.max_waiting = max_waiting
        self.running = 0
        self._database = database
        self._clock = clock
        self._tell = tell
        self._places: dict[str, Place] = {}
        self._look = asyncio.Event()
        self._others_wait_until = 0.0

    @property
    def waiting(self) -> int:
        return len(self._places)

    def join(self, session_id: str, owner: str, *, is_resumed: bool = False, is_child: bool = False) -> Place:
        return Place(session_id, owner, is_child=is_child)

    def decide(self, conn: Connection, run: Run, place: Place) -> Decision:
        """Of a run that is about to be kept, in its transaction. Raises Busy when the line is full."""
        if place.is_child:  # its session is as new as it is
            return Decision(True, run.created_at)
        line = line_store.stand_still(conn)
        before = [one for one in line if one.session_id == run.session_id]
        queued = sum(one.is_queued for one in line)
        running = sum(not one.is_queued and not one.is_child for one in line)
        is_running = not before and running < self.max_running and not line_store.may_begin(line, self.max_running)
        if not is_running and queued >= self.max_waiting:
            raise full(running, queued)
        last = before[-1].created_at + STEP_SECONDS if before else 0.0  # of another node, perhaps by a faster clock
        now = self._clock.now() if is_running else 0.0  # the one it came after ended while this one waited for the line
        return Decision(is_running, max(run.created_at, last, now))

    def settle(self, place: Place, run: Run) -> None:
        """The run is kept, as it was decided."""
        place.run_id = run.id
        if run.status is RunStatus.QUEUED:
            place.ready = asyncio.get_running_loop().create_future()
            self._places[run.id] = place
            self._others_wait_until = self._clock.monotonic() + WAITED_LATELY_SECONDS
            self._look.set()
        else:
            self._run(place)

    async def wait(self, place: Place) -> None:
        """Until its turn may have come; `begins` says so in the transaction that begins it."""
        if place.ready is not None:
            await asyncio.shield(place.ready)

    def begins(self, conn: Connection, run: Run) -> bool:
        """Whether it is really its turn. Nobody else's place is decided until this transaction ends.

        A run that stands nowhere any more has lost nothing by going on: its beginning finds that it was deleted.
        """
        line = line_store.stand_still(conn)
        if all(one.run_id != run.id for one in line):
            return True
        is_its_turn = run.id in line_store.may_begin(line, self.max_running, line_store.last_owner(conn))
        if is_its_turn:
            line_store.note_begun(conn, run.owner)
        return is_its_turn

    def began(self, place: Place, *, is_its_turn: bool) -> None:
        """What `begins` said, now that it is committed. A run whose turn it was not waits again."""
        if is_its_turn:
            self._places.pop(place.run_id, None)
            self._run(place)
        else:
            place.ready = asyncio.get_running_loop().create_future()
            self._look.set()

    def leave(self, place: Place) -> None:
        """Give the place up, from wherever it stands; may be called twice."""
        self._places.pop(place.run_id, None)
        if place.is_running:
            place.is_running = False
            self.running -= not place.is_child
        self._look.set()
        if self._clock.monotonic() < self._others_wait_until:
            self._tell("line")

    def heard(self, word: str) -> None:
        if word == "waiting":
            self._others_wait_until = self._clock.monotonic() + WAITED_LATELY_SECONDS
        else:
            self._look.set()

    async def look_forever(self) -> None:
        while True:
            await pause(self._clock, LOOK_SECONDS if self._places else None, self._look)
            self._look.clear()
            if self._places:
                await self._call_up()

    async def _call_up(self) -> None:
        self._tell("waiting")
        try:
            line, last_owner = await self._database.read(line_store.standing_and_last_owner)
        except HermesError as error:
            log.warning("cannot see whose turn it is: %s", error.message)
            return
        except Exception:  # raised, it would end the group, and with it every run
            log.exception("cannot see whose turn it is")
            return
        standing = {one.run_id for one in line}
        deleted = [run_id for run_id in self._places if run_id not in standing]  # or kept since we read: it waits again
        for run_id in (*deleted, *line_store.may_begin(line, self.max_running, last_owner)):
            place = self._places.get(run_id)
            if place is not None and place.ready is not None and not place.ready.done():
                place.ready.set_result(None)

    def _run(self, place: Place) -> None:
        place.is_running = True
        self.running += not place.is_child
