"""Plans: a list of conversations that is made, looked at, and then deleted or archived as it is, once."""

from __future__ import annotations

from collections.abc import Sequence

from hermes.core.clock import Clock
from hermes.core.errors import Conflict, NotFound
from hermes.store.database import Connection, Database
from hermeslink.conversations.conversations import Conversations, updated
from hermeslink.conversations.log import EventLog
from hermeslink.core.conversation import ConversationStatus, LinkEvent
from hermeslink.core.ids import new_id
from hermeslink.core.plan import LIFE_SECONDS, Plan, PlanKind
from hermeslink.store import conversation_list
from hermeslink.store import conversations as conversation_store
from hermeslink.store import plans as plan_store

DAY = 86400.0


class Plans:
    def __init__(self, database: Database, log: EventLog, conversations: Conversations, clock: Clock) -> None:
        self._database = database
        self._log = log
        self._conversations = conversations
        self._clock = clock
        self._executing: set[str] = set()

    async def create(
        self,
        kind: PlanKind,
        *,
        profile: str | None = None,
        older_than_days: float | None = None,
        but: Sequence[str] = (),
    ) -> Plan:
        """Of the active conversations that fit; archived ones were put away to stay."""
        return await self._database.write(_create, kind, profile, older_than_days, but, self._clock.now(), durable=True)

    async def get(self, kind: PlanKind, plan_id: str) -> Plan:
        """Raises NotFound `clear_plan_not_found` or `archive_plan_not_found`."""
        found = await self._database.read(plan_store.get, kind, plan_id)
        if found is None:
            raise NotFound(f"no {kind} plan {plan_id[:64]!r}", code=f"{kind}_plan_not_found")
        return found

    async def execute(self, kind: PlanKind, plan_id: str) -> Plan:
        """What is gone meanwhile does not count. One that a crash broke off is still pending, and goes on.

        Raises NotFound as `get` does, and Conflict `clear_plan_executed`, `clear_plan_expired` (or `archive_…`).
        """
        await self.get(kind, plan_id)
        if plan_id in self._executing:
            raise _executed(kind)
        self._executing.add(plan_id)
        try:
            plan = await self.get(kind, plan_id)  # anew: another call may have come to its end meanwhile
            status = plan.status(self._clock.now())
            if status == "completed":
                raise _executed(kind)
            if status == "expired":
                raise Conflict("this plan is too old: make another one", code=f"{kind}_plan_expired")
            for conversation_id in plan.conversation_ids:
                await self._do(kind, plan_id, conversation_id)
            await self._database.write(plan_store.complete, plan_id, self._clock.now(), durable=True)
        finally:
            self._executing.discard(plan_id)
        return await self.get(kind, plan_id)

    async def _do(self, kind: PlanKind, plan_id: str, conversation_id: str) -> None:
        if kind is PlanKind.CLEAR:
            [done] = await self._conversations.delete_many([conversation_id])
            if done.error is None:
                await self._database.write(plan_store.count_done, plan_id)
            elif not isinstance(done.error, NotFound):
                raise done.error
        else:
            await self._log.write(_archive, plan_id, conversation_id, self._clock.now())


def _executed(kind: PlanKind) -> Conflict:
    return Conflict("this plan was executed: a plan is executed once", code=f"{kind}_plan_executed")


def _create(
    conn: Connection, kind: PlanKind, profile: str | None, days: float | None, but: Sequence[str], now: float
) -> Plan:
    unchanged_since = None if days is None else now - days * DAY
    ids, total = conversation_list.ids(conn, profile=profile, unchanged_since=unchanged_since, but=but)
    plan = Plan(
        id=new_id("plan"),
        kind=kind,
        conversation_ids=tuple(ids),
        total_count=total,
        created_at=now,
        expires_at=now + LIFE_SECONDS,
    )
    plan_store.add(conn, plan)
    return plan


def _archive(conn: Connection, plan_id: str, conversation_id: str, now: float) -> tuple[None, list[LinkEvent]]:
    try:
        found = conversation_store.get(conn, conversation_id)
    except NotFound:
        return None, []
    if found.status is ConversationStatus.ARCHIVED:
        return None, []
    conversation_store.set_status(conn, conversation_id, ConversationStatus.ARCHIVED, now)
    plan_store.count_done(conn, plan_id)
    return None, updated(conn, conversation_id, now)
