"""Open runs that nobody conducts: of an earlier process, of a node that died, or given back by one that stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from hermes.core import event as events
from hermes.core.errors import Fenced, HermesError
from hermes.core.event import KeptEvent, RunEvent
from hermes.core.message import Message
from hermes.core.run import Run, RunRequest, RunStatus, Usage
from hermes.runs.active import Active, Steers
from hermes.runs.approvals import Desk, Mirror
from hermes.runs.beginning import new_session
from hermes.runs.clarify import ClarifyDesk
from hermes.runs.conduct import Conductor
from hermes.runs.ending import record_end
from hermes.runs.events import Recorder
from hermes.runs.resume import Progress, left_behind, progress_of, resumable, unfinished_text
from hermes.store import events as event_store
from hermes.store import nodes as node_store
from hermes.store import runs as run_store
from hermes.store import sessions as session_store
from hermes.store.database import Connection
from hermes.store.requests import messages_of

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Few, so that other nodes get their part of what a dead one left."""
STRAY_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Recovered:
    """How many runs go on, and how many could only be told as interrupted or cancelled."""

    resumed: int = 0
    interrupted: int = 0

    def __add__(self, other: Recovered) -> Recovered:
        return Recovered(self.resumed + other.resumed, self.interrupted + other.interrupted)


class TakeOver:
    """`look` takes up what was written for a run."""

    def __init__(
        self, conductor: Conductor, approval_timeout_seconds: float, look: Callable[[Active], Awaitable[None]]
    ) -> None:
        self._look = look
        self._conductor = conductor
        self._database = conductor.database
        self._clock = conductor.clock
        self.approval_timeout_seconds = approval_timeout_seconds
        self._strays: dict[str, float] = {}
        self._one_at_a_time = asyncio.Lock()
        self._is_over = False

    async def end(self) -> None:
        """Nothing more is taken over. Returns when what is claimed is conducted, or was given back."""
        self._is_over = True
        async with self._one_at_a_time:
            pass

    @property
    def is_claiming(self) -> bool:
        """Whether a run that the rows give to this node may be on its way here, although it is not here yet."""
        return self._one_at_a_time.locked()

    async def claim_all(self, why: str, *, is_bound: bool = False) -> Recovered:
        """Until none is left, or other nodes have them. `why` is told to their readers; `is_bound` as in
        `store.nodes.claim_orphans`. Raises StoreUnavailable."""
        async with self._one_at_a_time:
            await self._give_back_strays()
            taken, is_more = Recovered(), True
            while is_more and not self._is_over:
                fence, node_id = self._conductor.node.fence(), self._conductor.node.id
                claimed = await self._database.write(_claim, fence, node_id, is_bound)
                is_more = len(claimed) == AT_ONCE
                for run in claimed:
                    got = await self._take(run, node_id, why)
                    taken += got or Recovered()
                    is_more = is_more and got is not None  # else it might be claimed again at once, for ever
            return taken

    async def go_on_with(self, run: Run, mirror: Mirror, why: str) -> None:
        """An open run that another one delegated, which goes on here. Its questions are shown on the parent's desk.

        It may end at once, where nothing is known of what it was asked.
        """
        conductor = self._conductor
        if run.node != conductor.node.id:
            fence, node_id = conductor.node.fence(), conductor.node.id
            await self._database.write(_take_child, fence, run.id, node_id)
            run = replace(run, node=node_id)
        await self._go_on(run, why, mirror)

    async def _take(self, run: Run, node_id: str, why: str) -> Recovered | None:
        """None: it is nobody's again, for now."""
        earlier = self._conductor.active.get(run.id)
        if earlier is not None:  # lost to another node, which has lost it, too
            await earlier.done.wait()
        try:
            if not self._is_over:
                return await self._go_on(run, why)
        except HermesError as error:
            log.error("%s could not be taken over now: %s", run.id, error.message)
        except Exception:
            log.exception("%s cannot go on: what is kept of it cannot be read", run.id)
            await self._tell_left(run, run.last_seq)
            return Recovered(interrupted=1)
        await self._database.write(node_store.give_back, run.id, node_id)
        return None

    async def _go_on(self, run: Run, why: str, mirror: Mirror | None = None) -> Recovered:
        kept = [one async for one in self._stored(run.id)]
        own, started, steers = await self._database.read(left_behind, run)
        progress = progress_of(kept, own, started)
        is_orphan = run.parent_run_id is not None and mirror is None  # nobody waits for what it would say
        request = None if run.status is RunStatus.STOPPING or is_orphan else resumable(run)
        if request is None:
            queued = messages_of(run.request) if run.status is RunStatus.QUEUED else ()
            said = unfinished_text(kept, progress.void_after)
            await self._tell_left(run, kept[-1].seq if kept else 0, queued, said)
            children = [] if is_orphan else await self._database.read(run_store.children, run.id)
            for child in children:
                if not child.status.is_final:
                    await self._go_on(child, why)
            return Recovered(interrupted=1)
        await self._resume(run, request, kept, progress, steers, why, mirror)
        return Recovered(resumed=1)

    async def _resume(
        self,
        run: Run,
        request: RunRequest,
        kept: list[KeptEvent],
        progress: Progress,
        steers: list[tuple[int, str]],
        why: str,
        mirror: Mirror | None,
    ) -> None:
        conductor, clock = self._conductor, self._clock
        session = await self._database.read(session_store.get, run.session_id) or new_session(request, run.created_at)
        last_seq = kept[-1].seq if kept else 0
        recorder = self._recorder(run, last_seq, is_durable=True)
        recorder.usage = run.usage
        recorder.calls_done.update(progress.calls_done)
        children = await self._database.read(run_store.children, run.id)
        seconds = self.approval_timeout_seconds
        desk = Desk(self._database, recorder, clock, seconds, progress.asked, mirror)
        questions = ClarifyDesk(self._database, recorder, clock, seconds, progress.clarified)
        steering = Steers(clock)
        steering.add(steers)
        has_begun = run.status is not RunStatus.QUEUED
        try:
            if has_begun:
                resumed = events.RunResumed(why, progress.void_after)
                count, now = run.resumed + 1, clock.now()
                await recorder.record(
                    resumed,
                    operations=(lambda conn: run_store.set_resumed(conn, run.id, count, now),),
                    is_durable=True,
                )
        except BaseException:
            conductor.log.close(run.id)
            raise
        place = conductor.line.join(run.session_id, run.owner, is_resumed=True, is_child=run.parent_run_id is not None)
        conductor.line.settle(place, run)
        active = Active(run, request, None, recorder, desk, questions, place, steering, clock.monotonic())
        active.family.told.update(progress.children_told)
        active.family.found(children)
        if has_begun:
            active.progress, recorder.lost = progress, unfinished_text(kept, progress.void_after)
        conductor.active[run.id] = active  # from here on words about it find it
        try:
            await self._look(active)
        except BaseException:
            del conductor.active[run.id]
            conductor.line.leave(place)
            conductor.log.close(run.id)
            raise
        conductor.begin(active, session)

    def _recorder(self, run: Run, last_seq: int, *, is_durable: bool = False) -> Recorder:
        """Raises Fenced where the others took this node for dead since it claimed the run."""
        if run.node != self._conductor.node.id:
            raise Fenced("the others took this node for dead, and have the run")
        return self._conductor.log.open(run.id, run.session_id, run.owner, last_seq, is_durable=is_durable)

    async def _tell_left(self, run: Run, last_seq: int, queued: Sequence[Message] = (), said: str = "") -> None:
        """It cannot go on. `queued` waited with it for its place; `said` is the text of the answer that was lost."""
        recorder = self._recorder(run, last_seq)
        messages = list(queued)
        if said:
            messages.append(Message("assistant", said))
        recorder.usage = run.usage
        if run.status is RunStatus.STOPPING:  # whoever stopped it was told that it would
            final: RunEvent = events.RunCancelled("stopped by the user")
            status = RunStatus.CANCELLED
        elif run.parent_run_id is not None:
            final, status = events.RunCancelled("the run that delegated it has ended"), RunStatus.CANCELLED
        else:
            final, status = events.RunInterrupted("the server stopped while it ran"), RunStatus.INTERRUPTED
        now = self._clock.now()
        try:
            await record_end(recorder, run, now, status, final, messages, Usage(), said or None)
        finally:
            self._conductor.log.close(run.id)
        self._conductor.ended(run.id)

    async def _stored(self, run_id: str) -> AsyncIterator[KeptEvent]:
        after = 0
        while rows := await self._database.read(event_store.after, run_id, after, 500):
            for kept in rows:
                yield kept
            after = rows[-1].seq

    async def _give_back_strays(self) -> None:
        """Runs that the rows give to this node and that it does not conduct: what their end failed to keep, say.

        Only after a while, since one that begins in this moment is not here yet.
        """
        conductor, now = self._conductor, self._clock.monotonic()
        found = set(await self._database.read(node_store.runs_of, conductor.node.id)) - set(conductor.active)
        self._strays = {run_id: self._strays.get(run_id, now) for run_id in found}
        for run_id, since in self._strays.items():
            if now - since >= STRAY_SECONDS:
                log.warning("%s is open and nobody conducts it: it is taken up again", run_id)
                await self._database.write(node_store.give_back, run_id, conductor.node.id)


def _take_child(conn: Connection, fence: Callable[[Connection], None], run_id: str, node_id: str) -> None:
    fence(conn)
    node_store.take_child(conn, run_id, node_id)


def _claim(conn: Connection, fence: Callable[[Connection], None], node_id: str, is_bound: bool) -> list[Run]:
    fence(conn)
    return node_store.claim_orphans(conn, node_id, AT_ONCE, is_bound=is_bound)
