"""Newer versions: whether there is one, and bringing it. Hermes and Link are one package, so both rows say the same
(spec: link-api, Updates, system).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from hermes import __version__
from hermes.home.updates.installation import PACKAGE, Installation
from hermes.home.updates.updating import UpdateState, UpdateStatus
from hermeslink.api.bodies import Answer, Body
from hermeslink.api.dependencies import After, TheCaller, TheLink
from hermeslink.api.errors import ErrorAnswer
from hermeslink.api.sse import Event, events_response
from hermeslink.core.times import iso
from hermeslink.updates.updates import Check

if TYPE_CHECKING:
    from hermeslink.app import Link

router = APIRouter(prefix="/api/v1", tags=["updates"])

FORM = "`id: <number>`, `event: update.status` and as data what the status answers"
EVENTS: dict[int | str, dict[str, Any]] = {200: {"description": FORM, "content": {"text/event-stream": {}}}}


class LocalVersion(BaseModel):
    version: str


class RemoteVersion(BaseModel):
    """The newest one of the index. What the index does not say is null; installers do not pass on when it was
    published."""

    target_version: str
    published_at: str | None
    release_url: str | None


class Manual(BaseModel):
    """How a person at the machine does it."""

    command: str
    package: str


class CheckView(BaseModel):
    """`issue`: why the index did not answer."""

    local: LocalVersion
    remote: RemoteVersion | None
    update_available: bool
    check_state: Literal["ok", "unavailable"]
    issue: str | None
    manual: Manual

    @classmethod
    def of(cls, check: Check, installation: Installation) -> CheckView:
        release = check.release
        return cls(
            local=LocalVersion(version=__version__),
            remote=release
            and RemoteVersion(target_version=release.version, published_at=None, release_url=release.notes_url),
            update_available=check.is_available,
            check_state="ok" if check.issue is None else "unavailable",
            issue=check.issue,
            manual=Manual(command=installation.by_hand(), package=PACKAGE),
        )


class CheckAnswer(Answer, CheckView):
    pass


class UpdatesAnswer(Answer):
    """`dismissed`: somebody said that he knows of the newest version, which is `dismissed_version`."""

    update_available: bool
    target_version: str | None
    dismissed: bool
    dismissed_version: str | None
    hermes: CheckView
    link: CheckView


class StatusView(BaseModel):
    """Of the last update. `stage` is what it does now; `lines` are the last of what it and the installer said, and
    `exit_code` is the installer's. `error` says whether the version of before is back, `manual_command` what a person
    can do. `restart_required`: another version was installed than the one that runs."""

    state: UpdateState
    stage: str
    job_id: str | None
    from_version: str | None
    target_version: str | None
    started_at: str | None
    finished_at: str | None
    exit_code: int | None
    lines: list[str]
    error: str | None
    manual_command: str | None

    @classmethod
    def of(cls, status: UpdateStatus) -> StatusView:
        return cls(
            state=status.state,
            stage=status.stage,
            job_id=status.job_id,
            from_version=status.from_version,
            target_version=status.target_version,
            started_at=iso(status.started_at),
            finished_at=iso(status.finished_at),
            exit_code=status.exit_code,
            lines=list(status.lines),
            error=status.error,
            manual_command=status.manual_command,
        )


class StatusAnswer(Answer, StatusView):
    pass


class UpdateStart(Body):
    version: str | None = Field(None, max_length=200, description="One that the index has. The newest, if left out.")


class Dismissal(Body):
    version: str | None = Field(None, max_length=200, description="The newest one that is known, where it is left out.")


class DismissedAnswer(Answer):
    dismissed_version: str


@router.get("/hermes/update-check")
@router.get("/link/update-check")
async def check_for_update(link: TheLink) -> CheckAnswer:
    """Asks the package index, as the installer that installed this is configured to ask it; at most once a minute."""
    return CheckAnswer(**dict(await _looked(link, await link.updates.check())))


@router.get("/hermes/update/status")
@router.get("/link/update/status")
async def show_update_status(link: TheLink) -> StatusAnswer:
    """How far the update is, or how the last one ended."""
    return _answered(await link.updates.status())


@router.post("/hermes/update", status_code=202, responses={409: {"model": ErrorAnswer}})
@router.post("/link/update", status_code=202, responses={409: {"model": ErrorAnswer}})
async def start_update(link: TheLink, caller: TheCaller, start: UpdateStart | None = None) -> StatusAnswer:
    """Brings another version with the installer that installed this one, restarts the gateway and Link, and goes back
    to the version of before where the new one does not come up. It goes on without this connection.

    400 `update_version_unknown`; 409 `update_by_hand` in a checkout, `update_not_needed`, `update_running`,
    `update_not_started`; 503 `update_check_unavailable`.
    """
    return _answered(await link.updates.start(caller, start.version if start else None))


@router.get("/hermes/update/events", response_class=Response, responses=EVENTS)
@router.get("/link/update/events", response_class=Response, responses=EVENTS)
async def follow_update(request: Request, link: TheLink, caller: TheCaller, after: After) -> Response:
    """`update.status` with each change, whose data is what the status answers. An update ends the stream, for it
    restarts Link: come again with Last-Event-ID."""
    return events_response(request, _events(link, after), link.devices.revoked(caller.device_id))


@router.get("/system/updates")
async def show_updates(link: TheLink) -> UpdatesAnswer:
    """Both products in one. The index is asked again after some hours, unless the setting `update-check` is false."""
    view = await _looked(link, await link.updates.latest())
    version = view.remote.target_version if view.remote else None
    dismissed = link.updates.dismissed
    return UpdatesAnswer(
        update_available=view.update_available,
        target_version=version,
        dismissed=version is not None and version == dismissed,
        dismissed_version=dismissed,
        hermes=view,
        link=view,
    )


@router.post("/system/updates/dismiss")
async def dismiss_update(link: TheLink, caller: TheCaller, dismissal: Dismissal | None = None) -> DismissedAnswer:
    """Remembers that its owner knows of a version, so that apps need not tell of it again."""
    version = dismissal.version if dismissal else None
    return DismissedAnswer(dismissed_version=await link.updates.dismiss(caller, version))


async def _events(link: Link, after: int) -> AsyncIterator[Event]:
    async with aclosing(link.updates.follow(after)) as changes:
        async for status in changes:
            yield status.number, "update.status", StatusView.of(status).model_dump(mode="json")


def _answered(status: UpdateStatus) -> StatusAnswer:
    return StatusAnswer(**dict(StatusView.of(status)))


async def _looked(link: Link, check: Check) -> CheckView:
    return CheckView.of(check, await link.updates.how())
