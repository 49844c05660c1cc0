"""How a run begins: what is made of a request, and the one transaction that keeps all of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hermes.core import event as events
from hermes.core.errors import Conflict, InvalidInput, NotFound
from hermes.core.event import KeptEvent, RunEvent
from hermes.core.ids import new_id
from hermes.core.key import OWNER
from hermes.core.message import AudioPart, ImagePart
from hermes.core.model import Model
from hermes.core.run import Run, RunRequest, RunStatus
from hermes.core.session import Session
from hermes.runs.line import Decision
from hermes.store import events as event_store
from hermes.store import idempotency as idempotency_store
from hermes.store import keys as key_store
from hermes.store import runs as run_store
from hermes.store import sessions as session_store
from hermes.store import turns
from hermes.store.database import Connection
from hermes.store.requests import request_data, whereabouts

PREVIEW_CHARACTERS = 120


def check_parts(request: RunRequest, model: Model) -> None:
    """What the model cannot take is refused at once, and never left out in silence (spec: api-server section 1)."""
    for message in (*(request.history or ()), *request.messages):
        if isinstance(message.content, str):
            continue
        for part in message.content:
            if isinstance(part, ImagePart) and not model.takes_images:
                raise _untaken("images", model)
            if isinstance(part, AudioPart) and not model.takes_audio:
                raise _untaken("audio", model)


def _untaken(what: str, model: Model) -> InvalidInput:
    return InvalidInput(
        f"the model {model.name} takes no {what}; `hermes model` connects one that does",
        code="unsupported_content_type",
        param="messages",
    )


def new_session(request: RunRequest, now: float) -> Session:
    preview = next((m.text for m in request.messages if m.role == "user"), "")
    return Session(
        id=request.session_id or new_id("sess"),
        owner=request.owner,
        source=request.source,
        started_at=now,
        last_active=now,
        session_key=request.session_key,
        is_stateless=request.is_stateless,
        preview=" ".join(preview.split())[:PREVIEW_CHARACTERS],
        parent_session_id=None if request.child_of is None else request.child_of.session_id,
    )


@dataclass(frozen=True, slots=True)
class Begun:
    """What is kept now: the run, with its first events, or `is_replay`, the earlier run of a used key."""

    run: Run
    opened: Sequence[KeptEvent] = ()
    is_replay: bool = False


def new_run(request: RunRequest, session: Session, model: Model, now: float, node_id: str) -> Run:
    return Run(
        id=new_id("run") if request.child_of is None else request.child_of.child_id,
        session_id=session.id,
        owner=request.owner,
        source=request.source,
        status=RunStatus.QUEUED,
        created_at=now,
        updated_at=now,
        model=model.name,
        is_durable=request.is_durable,
        node=node_id,
        parent_run_id=None if request.child_of is None else request.child_of.run_id,
    )


def begin(
    conn: Connection,
    fence: Callable[[Connection], None],
    run: Run,
    session: Session,
    request: RunRequest,
    clashes: Sequence[str],
    decide: Callable[[Connection, Run], Decision],
) -> Begun:
    """One transaction: claim, session, place in the line, run, its messages and first events."""
    fence(conn)
    now = run.created_at
    claim = request.idempotency
    if claim is not None:
        earlier = idempotency_store.claim(conn, run.owner, claim.key, claim.fingerprint, run.id, now)
        if earlier is not None:
            if earlier.fingerprint != claim.fingerprint:
                raise Conflict(
                    "this Idempotency-Key was used with another request; take a new key",
                    code="idempotency_key_conflict",
                    param="Idempotency-Key",
                )
            first = run_store.get(conn, earlier.run_id)
            assert first is not None  # the claim of a run that was deleted is free
            return Begun(first, is_replay=True)
    if request.session_id:
        turns.wait_for(conn, "session", session.id)
    known = session_store.get(conn, session.id) if request.session_id else None
    if known is None:
        session_store.create(conn, session)
    check_owner(known, session.owner)
    run = _placed(run, request, decide(conn, run))
    opened = _opening(run, request, clashes)
    run_store.insert(conn, run)
    for keep in request.keep:
        keep(conn, run)
    if run.status is RunStatus.RUNNING:
        session_store.add_messages(conn, session.id, run.id, request.messages, now)
    event_store.append(conn, run.id, opened)
    return Begun(run, opened)


def _placed(run: Run, request: RunRequest, decision: Decision) -> Run:
    goes_on = request.is_durable or not decision.is_running
    return replace(
        run,
        status=RunStatus.RUNNING if decision.is_running else RunStatus.QUEUED,
        started_at=decision.created_at if decision.is_running else None,
        created_at=decision.created_at,
        request=request_data(request) if goes_on else whereabouts({"workdir": request.workdir, "model": request.model}),
    )


def _opening(run: Run, request: RunRequest, clashes: Sequence[str]) -> list[KeptEvent]:
    """The events that are kept together with the run itself."""
    happened: list[RunEvent] = [events.RunStarted(run.session_id, run.model)] if run.status is RunStatus.RUNNING else []
    happened += [events.Warned(warning) for warning in request.warnings]
    happened += [events.Warned(f"the client's tool {name!r} hides the server's") for name in clashes]
    return [KeptEvent(seq, run.created_at, event) for seq, event in enumerate(happened, 1)]


def check_owner(known: Session | None, owner: str) -> None:
    """Raises NotFound `session_not_found` for someone else's."""
    if known is not None and known.owner != owner:
        raise NotFound(f"no session {known.id!r}", code="session_not_found")


@dataclass(frozen=True, slots=True)
class Taken:
    """`left_usd`: what its key may still spend, None where nothing limits it."""

    left_usd: float | None = None


class BeingStopped(Conflict):
    """Whoever waits to begin it will be cancelled. Nobody outside hears of it."""


def take_up(
    conn: Connection,
    run: Run,
    request: RunRequest,
    clock: Callable[[], float],
    begins: Callable[[Connection, Run], bool],
) -> Taken | None:
    """The queued run begins: its messages come behind those of the runs before it. None when it is not its turn.

    Raises NotFound `run_not_found` where its session, and the run with it, was deleted while it waited, BeingStopped
    where it was stopped; Unauthorized where its key was revoked, BudgetExceeded where the runs before it spent what was
    left.
    """
    if not begins(conn, run):
        return None
    now = clock()  # not before: it may have waited for its turn
    key = key_store.check_in_force(conn, run.owner) if run.owner != OWNER else None
    left = run.request if run.is_durable else whereabouts(run.request)
    if not run_store.set_status(conn, run.id, RunStatus.RUNNING, now, started_at=now, request=left):
        if run_store.get(conn, run.id) is not None:
            raise BeingStopped(f"the run {run.id!r} is being stopped")
        raise NotFound(f"no run {run.id!r}: it was deleted", code="run_not_found")
    session_store.add_messages(conn, run.session_id, run.id, request.messages, now)
    return Taken(None if key is None else key.left_usd)
