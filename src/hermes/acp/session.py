"""A session that an editor has open: where it works, how, and the turn that goes on in it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from acp import schema

from hermes.acp.services import Services
from hermes.core.errors import InvalidInput
from hermes.core.key import OWNER
from hermes.core.session import Session
from hermes.store import runs as run_store
from hermes.store import session_list
from hermes.store.database import Connection
from hermes.store.session_list import Listing

if TYPE_CHECKING:
    from hermes.acp.turn import Turn

SOURCE = "acp"
PAGE = 50


@dataclass(slots=True)
class OpenSession:
    """`model` is what a request's model may be, None for the home's. `notes` are told once, with the next turn."""

    id: str
    workdir: Path
    model: str | None = None
    turn: Turn | None = None
    notes: tuple[str, ...] = ()


def checked_folder(cwd: str) -> Path:
    """Raises InvalidInput."""
    folder = Path(cwd)
    if not folder.is_absolute() or "\0" in cwd:
        raise InvalidInput(f"cwd must be an absolute path, not {cwd!r}", param="cwd")
    try:
        is_folder = folder.is_dir()
    except OSError as error:
        raise InvalidInput(f"cwd: {cwd} cannot be opened: {error.strerror}", param="cwd") from None
    if not is_folder:
        raise InvalidInput(f"cwd: there is no folder {cwd}", param="cwd")
    return folder


async def kept_model(services: Services, session: Session) -> str | None:
    """What the session was last asked to answer with."""
    runs = await services.runner.list_runs(OWNER, session_id=session.id, limit=1)
    asked = runs[0].request.get("model") if runs else None
    return asked if isinstance(asked, str) else session.model_choice


async def listed(services: Services, cwd: str | None, cursor: str | None) -> schema.ListSessionsResponse:
    """The most recently active first, whichever way in they were begun by. One that was not begun in an editor, or
    that says no folder, is shown with the agent's own. Raises InvalidInput for a cursor that this did not give."""
    before = None if cursor is None else _place_of(cursor)
    elsewhere = str(services.agent.workdir)
    found: list[schema.SessionInfo] = []
    while True:
        page = await services.database.read(_with_folders, Listing(limit=PAGE + 1, before=before))
        has_more, page = len(page) > PAGE, page[:PAGE]
        for session, folder in page:
            before = session.last_active, session.id
            if cwd is None or cwd == (folder or elsewhere):
                found.append(_info(session, folder or elsewhere))
        if not has_more or len(found) >= PAGE:
            break
    next_cursor = _cursor_of(before) if has_more and before is not None else None
    return schema.ListSessionsResponse(sessions=found, next_cursor=next_cursor)


def title_of(session: Session) -> str | None:
    return session.title or session.preview or None


def time_of(unix_seconds: float) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _with_folders(conn: Connection, listing: Listing) -> Sequence[tuple[Session, str | None]]:
    """Each with the folder that its newest run worked in."""
    told = []
    for session in session_list.list_sessions(conn, OWNER, listing):
        runs = run_store.list_runs(conn, OWNER, session_id=session.id, limit=1)
        folder = runs[0].request.get("workdir") if runs else None
        told.append((session, folder if isinstance(folder, str) else None))
    return told


def _info(session: Session, folder: str) -> schema.SessionInfo:
    return schema.SessionInfo(
        session_id=session.id, cwd=folder, title=title_of(session), updated_at=time_of(session.last_active)
    )


def _cursor_of(place: tuple[float, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def _place_of(cursor: str) -> tuple[float, str]:
    try:
        match json.loads(base64.urlsafe_b64decode(cursor)):
            case [float(when), str(session_id)] if session_id.isascii():
                return when, session_id
    except (binascii.Error, ValueError):
        pass
    raise InvalidInput(f"no such cursor: {cursor!r}; begin without one", param="cursor")
