"""Messages go out here: taken in for good, then conducted; and runs are ended here.

What `send` has answered is kept: it is in the database, beyond a power cut, before anybody is told.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from hermes.core.clock import Clock
from hermes.core.errors import InvalidInput, NotFound
from hermes.store.database import Connection, Database
from hermeslink.blobs.attaching import Attaching
from hermeslink.conversations import turn
from hermeslink.conversations.conduct import Conducting
from hermeslink.conversations.log import EventLog
from hermeslink.conversations.projection import Ended
from hermeslink.conversations.turn import Outgoing
from hermeslink.core.caller import Caller
from hermeslink.core.run import RunStatus
from hermeslink.hermes.problems import ServerUnauthorized, ServerUnavailable
from hermeslink.hermes.servers import ApiServer, ApiServers
from hermeslink.store import conversations as conversation_store
from hermeslink.store import runs as run_store
from hermeslink.store import sent as sent_store
from hermeslink.store.encoding import to_json

KNOWN_SECONDS = 30 * 86400.0
"""How long a message is known by the name that its sender gave it."""
STOPPING = "stopping"


class Sending:
    def __init__(
        self,
        log: EventLog,
        database: Database,
        servers: ApiServers,
        attaching: Attaching,
        clock: Clock,
        **settings: float,
    ) -> None:
        """`settings` are those of `Conducting`."""
        self._log = log
        self._database = database
        self._servers = servers
        self._clock = clock
        self.renamed: Callable[[], Awaitable[object]] = _nothing
        """Awaited for a profile that is not there: it may have another name, that the conversation gets then."""
        self.conducting = Conducting(log, database, servers, attaching, clock, **settings)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self._database.write(sent_store.forget_before, self._clock.now() - KNOWN_SECONDS)
        async with self.conducting.running():
            yield

    async def send(
        self, conversation_id: str, outgoing: Outgoing, caller: Caller, key: str | None = None
    ) -> dict[str, Any]:
        """What POST messages answers. `key`: the Idempotency-Key.

        Raises InvalidInput `message_content_required`; NotFound of the conversation, a file, the profile; Conflict
        `idempotency_key_conflict`; ServerUnavailable where no run of the conversation is open and none can begin now.
        """
        if not outgoing.text.strip() and not outgoing.attachments:
            raise InvalidInput("a message has content or attachments", code="message_content_required", param="content")
        outgoing = _named(outgoing, conversation_id, caller.device_id, key)
        answer, profile, is_idle = await self._database.read(_look, conversation_id, outgoing)
        if answer is not None:
            return answer
        try:
            server = self._servers.of(profile)
        except NotFound:
            await self.renamed()
            _, profile, is_idle = await self._database.read(_look, conversation_id, outgoing)
            server = self._servers.of(profile)
        if is_idle:
            await _check(server)
        answer = await self._log.write(
            turn.take_in, conversation_id, outgoing, caller.device_id, self._clock.now(), durable=True
        )
        self.conducting.wake(conversation_id)
        return answer

    async def cancel(self, conversation_id: str, run_id: str) -> dict[str, str]:
        """`{id, status}`: cancelled, or stopping where its API server takes its time or is away: it will be done.

        Raises NotFound `conversation_not_found`, `run_not_found`, Conflict `run_not_active`.
        """
        now = self._clock.now()
        run = await self._log.write(turn.cancel, conversation_id, run_id, now, durable=True)
        if not run.status.is_final:
            if run.remote_id is not None:
                try:
                    await self.conducting.stop(run)
                except ServerUnavailable:
                    await self.conducting.end(run, Ended(RunStatus.CANCELLED), is_given_up=True)
            self.conducting.wake(conversation_id)
            await self.conducting.ended(run)
        self.conducting.wake(conversation_id)
        after = await self._database.read(run_store.get, run_id)
        is_open = after is not None and not after.status.is_final
        status = STOPPING if is_open else RunStatus.CANCELLED.value if after is None else after.status.value
        return {"id": run_id, "status": status}

    def forget(self, conversation_id: str) -> None:
        """After it was deleted, which left word that its run is to be stopped: now, or when the API server is there
        again."""
        self.conducting.owe()

    def retitle(self, conversation_id: str) -> None:
        """After it got another title: its session gets it, too."""
        self.conducting.retitle(conversation_id)


async def _nothing() -> None:
    pass


async def _check(server: ApiServer) -> None:
    """Raises ServerUnavailable, which says how to mend it."""
    state = await server.state()
    if state.state != "online":
        refused = ServerUnauthorized if state.state == "unauthorized" else ServerUnavailable
        raise refused(state.issue or f"no API server answers for the profile {server.profile}")


def _look(conn: Connection, conversation_id: str, outgoing: Outgoing) -> tuple[dict[str, Any] | None, str, bool]:
    """What was answered before, the profile that is to answer, and whether nothing of the conversation is open."""
    answer = turn.answered_before(conn, outgoing)
    if answer is not None:
        return answer, "", False
    conversation = conversation_store.get(conn, conversation_id)
    return None, outgoing.profile or conversation.profile, conversation.active_run_id is None


def _named(outgoing: Outgoing, conversation_id: str, device_id: str, key: str | None) -> Outgoing:
    names: Sequence[str | None] = (
        None if key is None else f"key:{device_id}:{key}",
        None
        if outgoing.client_message_id is None
        else f"id:{device_id}:{conversation_id}:{outgoing.client_message_id}",
    )
    what = [conversation_id, outgoing.text, list(outgoing.attachments), outgoing.profile, outgoing.model]
    fingerprint = hashlib.sha256(to_json(what).encode()).hexdigest()
    return replace(outgoing, names=tuple(name for name in names if name is not None), fingerprint=fingerprint)
