"""Telling a URL that a run has ended (spec: api-server section 5, callback_url): signed, and tried again.

A callback is a row that is kept with its run, so what was promised is sent after a restart, too. A receiver may get one
twice (the process ended between its answer and our note of it): the delivery's id is the same each time.

Where nodes share the database, any of them sends: it claims the row for as long as a try can take, so that nobody else
tries meanwhile, and somebody does when it is killed.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

from hermes.core.clock import Clock, pause
from hermes.core.errors import HermesError
from hermes.core.ids import new_id
from hermes.core.run import Run
from hermes.runs.run_object import run_object
from hermes.runs.runner import Runner
from hermes.runs.webhook import Answered, Webhooks
from hermes.store import callbacks as callback_store
from hermes.store import runs as run_store
from hermes.store.callbacks import Callback
from hermes.store.database import Connection, Database
from hermes.store.encoding import to_json

log = logging.getLogger(__name__)

WAITS_SECONDS = (5, 30, 120, 600, 3600, 10_800, 21_600, 43_200)
"""Between the tries: nine of them in 22 hours, then it is given up."""
AT_ONCE = 16
SPREAD_SECONDS = 0.25
"""By how much nodes look apart, so that they do not all come for one callback."""
STORE_PAUSE_SECONDS = 5.0
LEASE_SECONDS = 60.0
"""How long a node that tries keeps the others away; a try takes 10 s and the look-up of a name."""
LOOK_EVERY_SECONDS = 5.0
"""What another node leaves behind is seen within this time."""

Keep = Callable[[Connection, Run], object]


class Callbacks:
    """`clock`: one that all nodes of the database have."""

    def __init__(self, database: Database, runner: Runner, webhooks: Webhooks, clock: Clock) -> None:
        self._database = database
        self._runner = runner
        self._webhooks = webhooks
        self._clock = clock
        self._awaited: set[str] = set()  # so that the end of any other run costs nothing
        self._sending: set[str] = set()
        self._wake = asyncio.Event()

    async def promise(self, url: str, param: str = "callback_url") -> Keep:
        """For `RunRequest.keep`. Raises InvalidInput `invalid_callback_url`; the secret exists when it returns."""
        await self._webhooks.check(url, param)
        await self._webhooks.secret()
        return partial(self._keep, url)

    async def run_forever(self) -> None:
        """Send what is to be sent. Cancel it to stop; it does not raise."""
        forget = self._runner.on_end(self._ended)
        try:
            async with asyncio.TaskGroup() as group:
                await self._until_read()
                while True:
                    self._wake.clear()
                    await pause(self._clock, await self._begin_due(group), self._wake)
        finally:
            forget()

    def _keep(self, url: str, conn: Connection, run: Run) -> None:
        callback_store.insert(conn, new_id("cb"), run.id, url, self._clock.now())
        self._awaited.add(run.id)

    def _ended(self, run_id: str) -> None:
        if run_id in self._awaited:
            self._awaited.discard(run_id)
            self._wake.set()

    async def _until_read(self) -> None:
        """Runs that an earlier process left open end in this one."""
        while True:
            try:
                self._awaited.update(await self._database.read(callback_store.awaited_runs))
                return
            except HermesError as error:
                log.error("callbacks cannot be read: %s", error.message)
                await self._clock.sleep(STORE_PAUSE_SECONDS)

    async def _begin_due(self, group: asyncio.TaskGroup) -> float | None:
        """Start what is due, as far as there is room. Gives the seconds until more is; None: until something ends."""
        room = AT_ONCE - len(self._sending)
        if room <= 0:
            return None
        now = self._clock.now()
        sending = frozenset(self._sending)  # one that is taken while we read is still due in what we read
        try:
            found, next_at = await self._database.read(_due, now, AT_ONCE + len(sending))
        except HermesError as error:
            log.error("callbacks cannot be read: %s", error.message)
            return STORE_PAUSE_SECONDS
        for callback in [one for one in found if one.id not in sending][:room]:
            self._sending.add(callback.id)
            group.create_task(self._send(callback))
        wait = None if next_at is None else max(0.0, next_at - self._clock.now())
        if not self._database.is_shared:
            return wait
        look = LOOK_EVERY_SECONDS + random.uniform(0.0, SPREAD_SECONDS)
        return look if wait is None else min(wait, look)

    async def _send(self, callback: Callback) -> None:
        try:
            lease = await self._claimed(callback)
            run = await self._database.read(run_store.get, callback.run_id)
            if run is not None and lease is not None:  # else deleted meanwhile, or another node's
                answered = await self._webhooks.send(
                    callback.url, callback_body(run), delivery_id=callback.id, event=run.last_event or ""
                )
                await self._note(callback, answered, lease)
        except Exception:
            # Raised, it would end the others. The row is still due: its next try comes with the pause below.
            log.exception("callback %s of %s could not be sent", callback.id, callback.run_id)
            await self._clock.sleep(STORE_PAUSE_SECONDS)
        finally:
            self._sending.discard(callback.id)
            self._wake.set()

    async def _claimed(self, callback: Callback) -> float | None:
        """Until when it is ours. A process alone needs no claim: killed in the middle, it tries again at its start."""
        if not self._database.is_shared:
            return callback.next_attempt_at
        await self._webhooks.secret()  # who cannot sign leaves it to the others
        lease = self._clock.now() + LEASE_SECONDS
        return lease if await self._database.write(callback_store.claim, callback, lease) else None

    async def _note(self, callback: Callback, answered: Answered, lease: float) -> None:
        now = self._clock.now()
        if answered.is_taken:
            await self._database.write(callback_store.delivered, callback.id, now)
            return
        is_last = answered.is_refused_for_good or callback.attempts >= len(WAITS_SECONDS)
        wait = None if is_last else max(WAITS_SECONDS[callback.attempts], answered.retry_after_seconds)
        next_at = None if wait is None else now + wait
        if not await self._database.write(callback_store.failed, callback.id, answered.problem, next_at, lease):
            return  # deleted; or this process stood still for longer than its lease, and another has it now
        log.warning(
            "callback %s of %s to %s: %s; %s",
            callback.id,
            callback.run_id,
            urlsplit(callback.url).hostname,  # the rest of a URL is often a secret
            answered.problem,
            "given up" if wait is None else f"again in {wait:g} s",
        )


def callback_body(run: Run) -> bytes:
    """The run as `GET /v1/runs/{run_id}` gives it, and the name of its last event."""
    return to_json({"event": run.last_event, **run_object(run)}).encode()


def _due(conn: Connection, now: float, limit: int) -> tuple[list[Callback], float | None]:
    return callback_store.due(conn, now, limit), callback_store.next_due_at(conn, now)
