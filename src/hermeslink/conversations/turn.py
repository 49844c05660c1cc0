"""What happens to a message and its answer, each step one transaction: taken in, begun, told, ended.

Every function is `fn(conn, …)` for `EventLog.write`: it returns its result, and the events that devices are to see.
The next message of a conversation begins in the transaction that ends the one before, so that none is forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hermes.core.errors import Busy, Conflict, NotFound
from hermes.store.database import Connection
from hermeslink.conversations.projection import (
    Answered,
    Asked,
    Began,
    Change,
    Ended,
    Finished,
    Noted,
    Questioned,
    Replied,
    Rewound,
    Said,
    project,
)
from hermeslink.conversations.titles import title_of
from hermeslink.conversations.views import conversation_json, message_json
from hermeslink.core.blob import Blob
from hermeslink.core.conversation import (
    AgentEvent,
    EventType,
    LinkEvent,
    Message,
    MessageStatus,
    NewEvent,
    Role,
)
from hermeslink.core.ids import new_id
from hermeslink.core.run import Run, RunStatus
from hermeslink.core.times import iso
from hermeslink.core.usage import UNKNOWN_MODEL, Used
from hermeslink.hermes.events import RemoteEvent
from hermeslink.store import acks as ack_store
from hermeslink.store import approvals as approval_store
from hermeslink.store import blobs as blob_store
from hermeslink.store import conversations as conversation_store
from hermeslink.store import devices as device_store
from hermeslink.store import events as event_store
from hermeslink.store import messages as message_store
from hermeslink.store import runs as run_store
from hermeslink.store import sent as sent_store
from hermeslink.store import sessions as session_store
from hermeslink.store import usage as usage_store
from hermeslink.store.approvals import Approval
from hermeslink.store.encoding import from_json, to_json
from hermeslink.store.sent import Sent
from hermeslink.store.sessions import Session

MOST_WAITING = 100
"""Messages of one conversation that wait for their turn."""

_ENDS: dict[RunStatus, tuple[MessageStatus, EventType, EventType]] = {
    RunStatus.COMPLETED: (MessageStatus.COMPLETED, "message.completed", "run.completed"),
    RunStatus.FAILED: (MessageStatus.FAILED, "message.failed", "run.failed"),
    RunStatus.CANCELLED: (MessageStatus.CANCELLED, "message.updated", "run.cancelled"),
}


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send. `names` are its sender's for it, by which it is known when it comes again, and `fingerprint`
    says whether it is the same then."""

    text: str
    attachments: tuple[str, ...] = ()
    client_message_id: str | None = None
    profile: str | None = None
    model: str | None = None
    names: tuple[str, ...] = ()
    fingerprint: str = ""


# --- a message comes ---


def answered_before(conn: Connection, outgoing: Outgoing) -> dict[str, Any] | None:
    """What was answered to it when it came first. Raises Conflict `idempotency_key_conflict`."""
    for name in outgoing.names:
        known = sent_store.get(conn, name)
        if known is not None and known.fingerprint != outgoing.fingerprint:
            raise Conflict(
                "that Idempotency-Key or client_message_id is another message's", code="idempotency_key_conflict"
            )
        if known is not None:
            answer: dict[str, Any] = from_json(known.answer)
            return answer
    return None


def take_in(
    conn: Connection, conversation_id: str, outgoing: Outgoing, device_id: str, now: float
) -> tuple[dict[str, Any], Sequence[LinkEvent]]:
    """Returns what POST messages answers.

    Raises NotFound `conversation_not_found` and `blob_not_found`, Conflict `idempotency_key_conflict`, Busy.
    """
    known = answered_before(conn, outgoing)
    if known is not None:
        return known, []
    conversation = conversation_store.get(conn, conversation_id)
    waiting = run_store.count_open(conn, conversation_id)
    if waiting > MOST_WAITING:
        raise Busy(f"{MOST_WAITING} messages wait here already", code="conversation_queue_full", retry_after_seconds=5)
    if outgoing.profile is not None and outgoing.profile != conversation.profile:
        conversation_store.set_profile(conn, conversation_id, outgoing.profile, now)
    if outgoing.model is not None and outgoing.model != conversation.model_override:
        conversation_store.set_model(conn, conversation_id, outgoing.model, now)
    profile = outgoing.profile or conversation.profile
    model = outgoing.model or conversation.model_override
    is_first = waiting == 0
    run_id, device = new_id("run"), device_store.get(conn, device_id)
    common: dict[str, Any] = {
        "conversation_id": conversation_id,
        "position": 0,
        "run_id": run_id,
        "profile": profile,
        "created_at": now,
        "updated_at": now,
    }
    question = message_store.insert(
        conn,
        Message(
            id=new_id("msg"),
            role=Role.USER,
            status=MessageStatus.COMPLETED if is_first else MessageStatus.QUEUED,
            text=outgoing.text,
            client_message_id=outgoing.client_message_id,
            device_id=device_id,
            sender_name=device.label if device is not None else "",
            attachments=_carried(conn, conversation_id, outgoing.attachments),
            **common,
        ),
    )
    answer = message_store.insert(
        conn,
        Message(
            id=new_id("msg"),
            role=Role.ASSISTANT,
            status=MessageStatus.STREAMING if is_first else MessageStatus.QUEUED,
            sender_name=profile,
            **common,
        ),
    )
    status = RunStatus.RUNNING if is_first else RunStatus.QUEUED
    run_store.add(
        conn,
        run_id=run_id,
        conversation_id=conversation_id,
        user_message_id=question.id,
        assistant_message_id=answer.id,
        status=status,
        profile=profile,
        model=model,
        now=now,
    )
    told = Telling(conn, conversation_id, now)
    told.message("message.created", question)
    told.message("message.created", answer)
    if is_first:
        told.run("run.started", run_id, answer.id, status)
    told.conversation()
    events = told.events()
    conversation = conversation_store.get(conn, conversation_id)
    shown = {
        "ok": True,
        "conversation_id": conversation_id,
        "user_message": message_json(question),
        "assistant_message": message_json(answer),
        "run": {"id": run_id, "status": status.value},
        "last_event_seq": conversation.last_event_seq,
        "conversation": conversation_json(conversation, ack_store.acked(conn, conversation_id, device_id)),
    }
    for name in outgoing.names:
        sent_store.put(conn, name, conversation_id, Sent(outgoing.fingerprint, to_json(shown)), now)
    return shown, events


# --- its run goes on ---


def begin_next(conn: Connection, conversation_id: str, now: float) -> tuple[None, Sequence[LinkEvent]]:
    """The oldest that waits, where none runs."""
    told = Telling(conn, conversation_id, now)
    told.begin_next()
    return None, told.events()


def prepare(
    conn: Connection, run_id: str, has_sessions: bool, is_session_lost: bool, now: float
) -> tuple[Run | None, Sequence[LinkEvent]]:
    """Settles what the API server is asked. A run that nobody wants any more ends here instead.

    `is_session_lost`: the API server does not know the session any more.
    """
    run = run_store.get(conn, run_id)
    if run is None or run.status.is_final or run.prepared_at is not None:
        return run, []
    if run.is_cancelled:
        return _end(conn, run, Ended(RunStatus.CANCELLED), now)
    position = message_store.position_of(conn, run.conversation_id, run.user_message_id) or 0
    said = run_store.last_said_position(conn, run.conversation_id, position)
    session_id, sends_history = None, said > 0
    if has_sessions:
        session = session_store.get(conn, run.conversation_id, run.profile)
        if session is None or is_session_lost:
            session = Session(new_id("conv") if is_session_lost else run.conversation_id, 0)
            session_store.put(conn, run.conversation_id, run.profile, session)
        session_id, sends_history = session.session_id, said > session.known_position
    run_store.prepare(conn, run_id, session_id, sends_history, now)
    return run_store.get(conn, run_id), []


def accept(
    conn: Connection, run_id: str, profile: str, remote_id: str, now: float
) -> tuple[Run | None, Sequence[LinkEvent]]:
    """The API server has it, and is to stop it where the conversation was deleted meanwhile."""
    run = run_store.accept(conn, run_id, remote_id)
    if run is None or run.status.is_final:
        run_store.owe_stop(conn, profile, remote_id, now)
    return run, []


def tell(
    conn: Connection, run_id: str, events: Sequence[RemoteEvent], now: float
) -> tuple[Run | None, Sequence[LinkEvent]]:
    """What happened, once: events that are among ours already change nothing."""
    run = run_store.get(conn, run_id)
    if run is None or run.status.is_final:
        return run, []
    fresh = [event for event in events if event.seq > run.remote_seq]
    if not fresh:
        return run, []
    progress, changes = project(run.progress, fresh)
    run = replace(run, remote_seq=fresh[-1].seq, progress=progress)
    run_store.advance(conn, run_id, run.remote_seq, progress)
    told = Telling(conn, run.conversation_id, now)
    for change in changes:
        told.change(run, change)
    has_ended = bool(changes) and isinstance(changes[-1], Ended)
    return run_store.get(conn, run_id) if has_ended else run, told.events()


def end(conn: Connection, run_id: str, ended: Ended, now: float) -> tuple[Run | None, Sequence[LinkEvent]]:
    """For an end that no event of the API server's told."""
    run = run_store.get(conn, run_id)
    if run is None or run.status.is_final:
        return run, []
    return _end(conn, run, ended, now)


def give_up(conn: Connection, run_id: str, ended: Ended, now: float) -> tuple[Run | None, Sequence[LinkEvent]]:
    """Ends it here, though it may go on at its API server: it is to be stopped there as soon as that can be."""
    run = run_store.get(conn, run_id)
    if run is not None and run.remote_id is not None and not run.status.is_final:
        run_store.owe_stop(conn, run.profile, run.remote_id, now)
    return end(conn, run_id, ended, now)


def run_of(conn: Connection, conversation_id: str, run_id: str) -> Run:
    """Raises NotFound `conversation_not_found`, `run_not_found`."""
    conversation_store.get(conn, conversation_id)
    run = run_store.get(conn, run_id)
    if run is None or run.conversation_id != conversation_id:
        raise NotFound(f"no run {run_id[:64]!r} in this conversation", code="run_not_found")
    return run


def cancel(conn: Connection, conversation_id: str, run_id: str, now: float) -> tuple[Run, Sequence[LinkEvent]]:
    """One that no API server was asked for ends at once; of another it is kept that it is to end.

    Raises NotFound `run_not_found`, Conflict `run_not_active`.
    """
    run = run_of(conn, conversation_id, run_id)
    if run.status.is_final:
        raise Conflict(f"the run is {run.status.value} already", code="run_not_active")
    run_store.want_cancelled(conn, run_id)
    if run.prepared_at is None:
        return _end(conn, replace(run, is_cancelled=True), Ended(RunStatus.CANCELLED), now)
    return replace(run, is_cancelled=True), []


def resolve(
    conn: Connection, approval: Approval, choice: str, device_id: str, now: float
) -> tuple[None, Sequence[LinkEvent]]:
    """A device decided, and the run knows."""
    known = approval_store.get(conn, approval.conversation_id, approval.id)
    if known is None:
        return None, []
    told = Telling(conn, approval.conversation_id, now)
    run = run_store.get(conn, approval.run_id)
    if known.decision is None and run is not None:
        told.resolve(run, known, choice, "user", device_id)
    elif known.device_id is None and known.decision is not None:  # the run told it first
        approval_store.resolve(conn, known.id, known.decision, known.scope, device_id, known.resolved_at or now)
    return None, told.events()


def _end(conn: Connection, run: Run, ended: Ended, now: float) -> tuple[Run, Sequence[LinkEvent]]:
    told = Telling(conn, run.conversation_id, now)
    told.end(run, ended)
    after = run_store.get(conn, run.id)
    assert after is not None
    return after, told.events()


class Telling:
    """Changes rows of one conversation and gathers what is told of it, in order."""

    def __init__(self, conn: Connection, conversation_id: str, now: float) -> None:
        self.conn = conn
        self.conversation_id = conversation_id
        self.now = now
        self._new: list[NewEvent] = []
        self._kept: list[LinkEvent] = []

    def events(self) -> list[LinkEvent]:
        self._keep()
        return self._kept

    # --- what is told ---

    def message(self, kind: EventType, message: Message | str) -> None:
        if isinstance(message, str):
            self._keep()  # its text is in the events
            found = message_store.get(self.conn, message)
            if found is None:
                return
            message = found
        self._add(kind, {"message": message_json(message)}, message.id, message.run_id)

    def run(
        self, kind: EventType, run_id: str, message_id: str, status: RunStatus, error: Any = None, usage: Any = None
    ) -> None:
        payload: dict[str, Any] = {"run": {"id": run_id, "status": status.value}}
        if error is not None:
            payload["error"] = error
        if usage is not None:
            payload["usage"] = usage
        self._add(kind, payload, message_id, run_id)

    def conversation(self) -> None:
        """As it is after this event, which is to be the last."""
        self._keep()
        found = conversation_store.get(self.conn, self.conversation_id)
        shown = conversation_json(replace(found, last_event_seq=found.last_event_seq + 1))
        self._add("conversation.updated", {"conversation": shown})

    # --- what changes ---

    def change(self, run: Run, change: Change) -> None:
        message_id = run.assistant_message_id
        match change:
            case Said(kind, piece, index):
                payload = {"message_id": message_id, "index": index, kind: piece}
                self._add("message.delta", payload, message_id, run.id)
            case Rewound(text_length, reasoning_length):
                self._keep()
                message_store.rewind(self.conn, message_id, text_length, reasoning_length, self.now)
                self.message("message.updated", message_id)
            case Began(id_, kind, payload, at):
                self._start(run, id_, kind, "running", payload, at, None)
                self._add("tool.started", {"message_id": message_id, "id": id_, **payload}, message_id, run.id)
            case Finished(id_, _, status, payload, at):
                when = at if at is not None else self.now
                message_store.finish_agent_event(self.conn, message_id, id_, status, when, payload)
                shown = {"message_id": message_id, "id": id_, "status": status, **payload}
                self._add("tool.completed", shown, message_id, run.id)
            case Noted(id_, kind, payload, at):
                self._start(run, id_, kind, "completed", payload, at, at if at is not None else self.now)
            case Asked():
                self._ask(run, change)
            case Answered(remote_id, choice, outcome):
                approval = approval_store.of_remote(self.conn, run.id, remote_id)
                if approval is not None and approval.decision is None:
                    self.resolve(run, approval, choice, outcome, None)
            case Questioned(question_id, details, expires_at):
                payload = {**details, "expires_at": iso(expires_at)}
                self._start(run, question_id, "question", "waiting", payload, None, None)
                self._add("question.asked", {"question_id": question_id, **payload}, message_id, run.id)
            case Replied(question_id, answer, outcome):
                self._replied(run, question_id, answer, outcome)
            case Ended():
                self.end(run, change)

    def resolve(self, run: Run, approval: Approval, choice: str, outcome: str, device_id: str | None) -> None:
        decision = "deny" if choice == "deny" else "approve"
        scope = None if choice == "deny" else choice
        approval_store.resolve(self.conn, approval.id, decision, scope, device_id, self.now)
        payload = {"approval_id": approval.id, "decision": decision, "scope": scope, "outcome": outcome}
        status = "completed" if decision == "approve" else "failed"
        message_store.finish_agent_event(self.conn, run.assistant_message_id, approval.id, status, self.now, payload)
        self._add("approval.resolved", payload, run.assistant_message_id, run.id)

    def end(self, run: Run, ended: Ended) -> None:
        """The answer, the run, what it took, the title; and the next one begins."""
        status = ended.status
        if run.is_cancelled and status is RunStatus.FAILED:
            status = RunStatus.CANCELLED  # it was to end, and did
        error = dict(ended.error) if ended.error is not None and status is RunStatus.FAILED else None
        message_status, message_kind, run_kind = _ENDS[status]
        for approval in approval_store.waiting(self.conn, run.id):
            self.resolve(run, approval, "deny", "ended", None)
        for question_id in message_store.waiting_questions(self.conn, run.assistant_message_id):
            self._replied(run, question_id, None, "ended")
        self._keep()
        for id_ in run.progress.open_calls.values():
            message_store.finish_agent_event(self.conn, run.assistant_message_id, id_, "cancelled", self.now, {})
        usage = _usage(ended)
        said, _ = message_store.said_so_far(self.conn, run.assistant_message_id)
        text = _whole(said, ended.output)
        message_store.finish(
            self.conn, run.assistant_message_id, message_status, self.now, text=text, usage=usage, error=error
        )
        run_store.end(self.conn, run.id, status, error, self.now)
        if run.status is RunStatus.QUEUED:
            message_store.set_status(self.conn, run.user_message_id, message_status, self.now)
            self.message("message.updated", run.user_message_id)
        if run.remote_id is not None:
            self._count(run, ended)
        if status is RunStatus.COMPLETED:
            self._title(run, text)
        self.message(message_kind, run.assistant_message_id)
        self.run(run_kind, run.id, run.assistant_message_id, status, error, usage)
        self.begin_next()
        self.conversation()

    def begin_next(self) -> None:
        run = run_store.current(self.conn, self.conversation_id)
        if run is None or run.status is RunStatus.RUNNING:
            return
        run_store.begin(self.conn, run.id, self.now)
        message_store.set_status(self.conn, run.user_message_id, MessageStatus.COMPLETED, self.now)
        message_store.set_status(self.conn, run.assistant_message_id, MessageStatus.STREAMING, self.now)
        self.message("message.updated", run.user_message_id)
        self.message("message.updated", run.assistant_message_id)
        self.run("run.started", run.id, run.assistant_message_id, RunStatus.RUNNING)

    def _start(
        self, run: Run, id_: str, kind: str, status: str, payload: Any, at: float | None, completed_at: float | None
    ) -> None:
        began = AgentEvent(
            id=id_,
            type=kind,
            status=status,
            started_at=at if at is not None else self.now,
            completed_at=completed_at,
            payload=payload,
        )
        message_store.start_agent_event(self.conn, run.assistant_message_id, began)

    def _replied(self, run: Run, question_id: str, answer: str | None, outcome: str) -> None:
        said = {"answer": answer, "outcome": outcome}
        status = "failed" if answer is None else "completed"
        message_store.finish_agent_event(self.conn, run.assistant_message_id, question_id, status, self.now, said)
        self._add("question.answered", {"question_id": question_id, **said}, run.assistant_message_id, run.id)

    def _ask(self, run: Run, asked: Asked) -> None:
        known = approval_store.of_remote(self.conn, run.id, asked.remote_id)
        approval_id = new_id("appr") if known is None else known.id
        if known is not None:
            approval_store.ask_again(self.conn, approval_id, asked.expires_at)
        else:
            approval_store.add(
                self.conn,
                approval_id=approval_id,
                conversation_id=run.conversation_id,
                run_id=run.id,
                remote_id=asked.remote_id,
                payload=asked.details,
                expires_at=asked.expires_at,
            )
            self._start(run, approval_id, "approval", "waiting", asked.details, None, None)
        payload = {"approval_id": approval_id, **asked.details, "expires_at": iso(asked.expires_at)}
        self._add("approval.requested", payload, run.assistant_message_id, run.id)

    def _count(self, run: Run, ended: Ended) -> None:
        model = ended.model or run.progress.model or run.model
        provider, separator, _ = (model or "").partition(":")
        input_tokens, output_tokens = _count_of(ended, "input_tokens"), _count_of(ended, "output_tokens")
        conversation_store.add_usage(
            self.conn,
            run.conversation_id,
            self.now,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            model=model,
            provider=provider if separator else None,
            context_window=ended.context_window,
        )
        used = Used(
            run_id=run.id,
            conversation_id=run.conversation_id,
            profile=run.profile,
            model=model or UNKNOWN_MODEL,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            messages=2,
            cost_usd=_cost_of(ended),
            at=self.now,
        )
        usage_store.record(self.conn, used)
        if run.session_id is None or run.sends_history or not run.progress.is_said:
            return
        session = session_store.get(self.conn, run.conversation_id, run.profile)
        position = message_store.position_of(self.conn, run.conversation_id, run.assistant_message_id)
        if session is not None and session.session_id == run.session_id and position is not None:
            session_store.advance(self.conn, run.conversation_id, run.profile, position)

    def _title(self, run: Run, answer: str) -> None:
        """Of the first exchange that came to something."""
        if conversation_store.get(self.conn, self.conversation_id).title:
            return
        question = message_store.get(self.conn, run.user_message_id)
        if question is None:
            return
        title = title_of(question.text, answer, [blob.filename for blob in question.attachments])
        if title is not None:
            conversation_store.set_title(self.conn, self.conversation_id, title, self.now, is_own=False)

    def _add(
        self, kind: EventType, payload: dict[str, Any], message_id: str | None = None, run_id: str | None = None
    ) -> None:
        self._new.append(NewEvent(kind, payload, message_id, run_id))

    def _keep(self) -> None:
        self._kept += event_store.append(self.conn, self.conversation_id, self._new, self.now)
        self._new = []


def _carried(conn: Connection, conversation_id: str, blob_ids: Sequence[str]) -> tuple[Blob, ...]:
    wanted = list(dict.fromkeys(blob_ids))
    found = blob_store.get_many(conn, conversation_id, wanted)
    missing = set(wanted) - {blob.id for blob in found}
    if missing:
        raise NotFound(f"no file {min(missing)[:64]!r} in this conversation", code="blob_not_found")
    return tuple(found)


def _whole(said: str, output: str | None) -> str:
    """What was said while it was said; the end's word where that is something else. Spaces make no difference: steps
    are set apart here."""
    if output is None or not output.strip():
        return said
    return said if "".join(said.split()).endswith("".join(output.split())) else output


def _usage(ended: Ended) -> dict[str, Any] | None:
    if not ended.usage:
        return None
    tokens = (_count_of(ended, "input_tokens"), _count_of(ended, "output_tokens"))
    return {
        "input_tokens": tokens[0],
        "output_tokens": tokens[1],
        "total_tokens": sum(tokens),
        "cost_usd": _cost_of(ended),
    }


def _count_of(ended: Ended, name: str) -> int:
    value = ended.usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _cost_of(ended: Ended) -> float | None:
    value = ended.usage.get("cost_usd")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else None
