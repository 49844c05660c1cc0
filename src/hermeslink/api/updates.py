"""Newer versions: whether there is one, and bringing it. Hermes and Link are one package, so both rows say the same
(spec: link-api, Updates, system).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from hermes import __version__
from hermes.home.installation import PACKAGE, Installation
from hermeslink.api.bodies import Answer, Body
from hermeslink.api.dependencies import TheCaller, TheLink
from hermeslink.updates.updates import OLD_SECONDS, Check

if TYPE_CHECKING:
    from hermeslink.app import Link

router = APIRouter(prefix="/api/v1", tags=["updates"])


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


class Dismissal(Body):
    version: str | None = Field(None, max_length=200, description="The newest one that is known, where it is left out.")


class DismissedAnswer(Answer):
    dismissed_version: str


@router.get("/hermes/update-check")
@router.get("/link/update-check")
async def check_for_update(link: TheLink) -> CheckAnswer:
    """Asks the package index, as the installer that installed this is configured to ask it; at most once a minute."""
    return CheckAnswer(**dict(await _looked(link, await link.updates.check())))


@router.get("/system/updates")
async def show_updates(link: TheLink) -> UpdatesAnswer:
    """Both products in one. The index is asked again after some hours."""
    view = await _looked(link, await link.updates.check(max_age_seconds=OLD_SECONDS))
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


async def _looked(link: Link, check: Check) -> CheckView:
    return CheckView.of(check, await link.updates.how())
