"""What a person decides reaches the run that waits for it."""

from __future__ import annotations

from collections.abc import Sequence

from hermes.core.clock import Clock
from hermes.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from hermes.store.database import Connection, Database
from hermeslink.conversations import turn
from hermeslink.conversations.log import EventLog
from hermeslink.core.caller import Caller
from hermeslink.core.conversation import LinkEvent
from hermeslink.core.run import Run
from hermeslink.hermes.problems import RunGone, ServerRefused
from hermeslink.hermes.servers import ApiServers
from hermeslink.store import approvals as approval_store
from hermeslink.store import audit
from hermeslink.store import conversations as conversation_store
from hermeslink.store import runs as run_store
from hermeslink.store.approvals import Approval


class Approvals:
    def __init__(self, log: EventLog, database: Database, servers: ApiServers, clock: Clock) -> None:
        self._log = log
        self._database = database
        self._servers = servers
        self._clock = clock

    async def decide(
        self,
        conversation_id: str,
        approval_id: str,
        *,
        approved: bool,
        scope: str,
        reason: str | None,
        caller: Caller,
    ) -> None:
        """`scope`: once, session, always. The run is told first, and what it took is kept: where Link is killed between
        them, the run's own events tell it.

        Raises NotFound `conversation_not_found`, `approval_not_found`; Conflict `approval_resolved`; Forbidden
        `scope_required`; InvalidInput `invalid_approval_choice`; ServerUnavailable; ServerRefused.
        """
        approval, run = await self._database.read(_look, conversation_id, approval_id)
        if approval.decision is not None or run is None or run.status.is_final or run.remote_id is None:
            raise _resolved()
        if approved and scope == "always" and not caller.is_admin:
            raise Forbidden(
                "always changes what the profile allows from now on, and takes a device with the scope admin",
                code="scope_required",
            )
        choice = scope if approved else "deny"
        try:
            await self._servers.of(run.profile).approve(run.remote_id, approval.remote_id, choice, reason)
        except RunGone as error:
            raise _resolved() from error
        except ServerRefused as error:
            if error.status == 409:
                raise _resolved() from error
            if error.status == 403:
                raise Forbidden(error.message, code="scope_required") from error
            if error.status not in (400, 422):
                raise  # no fault of the choice: it may be made again
            raise InvalidInput(error.message, code="invalid_approval_choice", param="scope") from error
        await self._log.write(_keep, approval, choice, caller, self._clock.now(), durable=True)

    async def reply(self, conversation_id: str, run_id: str, question_id: str, answer: str) -> None:
        """To what the model asked with its tool `clarify`. The run's own events tell of it then.

        Raises NotFound `conversation_not_found`, `run_not_found`; Conflict `question_answered`; InvalidInput
        `invalid_answer`; ServerUnavailable; ServerRefused.
        """
        run = await self._database.read(turn.run_of, conversation_id, run_id)
        if run.status.is_final or run.remote_id is None:
            raise _answered()
        try:
            await self._servers.of(run.profile).clarify(run.remote_id, question_id, answer)
        except RunGone as error:
            raise _answered() from error
        except ServerRefused as error:
            if error.status == 409:
                raise _answered() from error
            if error.status not in (400, 422):
                raise
            raise InvalidInput(error.message, code="invalid_answer", param="answer") from error


def _look(conn: Connection, conversation_id: str, approval_id: str) -> tuple[Approval, Run | None]:
    conversation_store.get(conn, conversation_id)
    approval = approval_store.get(conn, conversation_id, approval_id)
    if approval is None:
        raise NotFound(f"no approval {approval_id[:64]!r} in this conversation", code="approval_not_found")
    return approval, run_store.get(conn, approval.run_id)


def _keep(
    conn: Connection, approval: Approval, choice: str, caller: Caller, now: float
) -> tuple[None, Sequence[LinkEvent]]:
    audit.write(
        conn,
        "approval.denied" if choice == "deny" else "approval.approved",
        now,
        device_id=caller.device_id,
        subject=approval.id,
        address=caller.address or None,
        details={"scope": choice, "tool": approval.payload.get("tool"), "conversation_id": approval.conversation_id},
    )
    return turn.resolve(conn, approval, choice, caller.device_id, now)


def _answered() -> Conflict:
    return Conflict("that question has its answer, or waits for none any more", code="question_answered")


def _resolved() -> Conflict:
    return Conflict("that question has its answer, or waits for none any more", code="approval_resolved")
