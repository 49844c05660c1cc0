"""How a run begins: what is made of a request, and the one transaction that keeps all of it."""

from __future__ import annotations

from collections.abc import Sequence

from hermes.core import event as events
from hermes.core.errors import Conflict, InvalidInput, NotFound
from hermes.core.event import KeptEvent, RunEvent
from hermes.core.ids import new_id
from hermes.core.key import OWNER
from hermes.core.message import AudioPart, ImagePart
from hermes.core.model import Model
from hermes.core.run import Run, RunRequest, RunStatus
from hermes.core.session import Session
from hermes.store import events as event_store
from hermes.store import idempotency as idempotency_store
from hermes.store import keys as key_store
from hermes.store import runs as run_store
from hermes.store import sessions as session_store
from hermes.store import turns
from hermes.store.database import Connection
from hermes.store.requests import request_data

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
    )


def new_run(request: RunRequest, session: Session, model: Model, now: float, *, is_running: bool) -> Run:
    return Run(
        id=new_id("run"),
        session_id=session.id,
        owner=request.owner,
        source=request.source,
        status=RunStatus.RUNNING if is_running else RunStatus.QUEUED,
        created_at=now,
        updated_at=now,
        started_at=now if is_running else None,
        model=model.name,
        is_durable=request.is_durable,
        request=request_data(request) if request.is_durable or not is_running else {},
    )


def opening(run: Run, request: RunRequest, clashes: Sequence[str]) -> list[KeptEvent]:
    """The events that are kept together with the run itself."""
    happened: list[RunEvent] = [events.RunStarted(run.session_id, run.model)] if run.status is RunStatus.RUNNING else []
    happened += [events.Warned(warning) for warning in request.warnings]
    happened += [events.Warned(f"the client's tool {name!r} hides the server's") for name in clashes]
    return [KeptEvent(seq, run.created_at, event) for seq, event in enumerate(happened, 1)]


def begin(
    conn: Connection, run: Run, session: Session, request: RunRequest, opening: Sequence[KeptEvent]
) -> Run | None:
    """One transaction: claim, session, run, its messages and first events. Gives the earlier run of a used key."""
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
            return run_store.get(conn, earlier.run_id)
    if request.session_id:
        turns.wait_for(conn, "session", session.id)
    known = session_store.get(conn, session.id) if request.session_id else None
    if known is None:
        session_store.create(conn, session)
    check_owner(known, session.owner)
    run_store.insert(conn, run)
    for keep in request.keep:
        keep(conn, run)
    if run.status is RunStatus.RUNNING:
        session_store.add_messages(conn, session.id, run.id, request.messages, now)
    event_store.append(conn, run.id, opening)
    return None


def check_owner(known: Session | None, owner: str) -> None:
    """Raises NotFound `session_not_found` for someone else's."""
    if known is not None and known.owner != owner:
        raise NotFound(f"no session {known.id!r}", code="session_not_found")


def take_up(conn: Connection, run: Run, request: RunRequest, now: float) -> float | None:
    """The queued run begins: its messages come behind those of the runs before it. Gives what its key may spend.

    Raises NotFound `run_not_found` where its session, and the run with it, was deleted while it waited; Unauthorized
    where its key was revoked, BudgetExceeded where the runs before it spent what was left.
    """
    key = key_store.check_in_force(conn, run.owner) if run.owner != OWNER else None
    left = run.request if run.is_durable else {}
    if not run_store.set_status(conn, run.id, RunStatus.RUNNING, now, started_at=now, request=left):
        raise NotFound(f"no run {run.id!r}: it was deleted", code="run_not_found")
    session_store.add_messages(conn, run.session_id, run.id, request.messages, now)
    return None if key is None else key.left_usd
