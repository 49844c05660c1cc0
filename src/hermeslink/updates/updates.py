"""What newer version there is, and bringing it (spec: link-api, Updates).

The package index is asked as the installer that installed this asks it; nothing is made up. Hermes and Link are one
package: what is said of one holds for both.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from hermes import __version__
from hermes.core.clock import Clock
from hermes.core.errors import Conflict, HermesError, InvalidInput
from hermes.home.files import write_private
from hermes.home.locks import file_lock
from hermes.home.updates import installer
from hermes.home.updates.installation import (
    PACKAGE,
    Installation,
    Kind,
    Release,
    UpdateRefused,
    checked,
    is_newer,
    this_installation,
)
from hermes.home.updates.updating import UpdateState, UpdateStatus, read_status, start_update
from hermes.store.database import Connection, Database
from hermeslink.core.caller import Caller
from hermeslink.home import LinkHome
from hermeslink.store import audit

log = logging.getLogger(__name__)

ASK_SECONDS = 25.0
"""What a client waits for the index; it hangs up at about 30."""
FRESH_SECONDS = 60.0
"""So long an answer of the index is given again, whoever asks and however often."""
LOOK_SECONDS = 0.3
"""How often a stream looks how far an update is."""
OLD_SECONDS = 6 * 3600.0
"""After that the next who wants to know has the index asked anew, behind his back."""

UNKNOWN = "update_version_unknown"
NOT_ASKED = (
    "the package index was not asked: the setting update-check is false; ask it with GET /api/v1/link/update-check"
)


@dataclass(frozen=True, slots=True)
class Check:
    """`at`: unix seconds. `issue` says why the index did not answer; then `release` is None."""

    at: float
    release: Release | None = None
    issue: str | None = None

    @property
    def is_available(self) -> bool:
        return self.release is not None and is_newer(self.release.version, __version__)


@dataclass(frozen=True, slots=True)
class Known:
    """`update_available` is None as long as the index never answered; `target_version` is the newest there is.
    `is_dismissed`: somebody said that he knows of that version."""

    update_available: bool | None = None
    target_version: str | None = None
    is_dismissed: bool = False


class Updates:
    """`installation` is how this program was installed; None finds it out when it is needed. `asks_unasked`: the index
    may be asked for somebody who did not ask for that, too (setting update-check)."""

    def __init__(
        self,
        home: LinkHome,
        hermes_root: Path,
        database: Database,
        clock: Clock,
        environ: Mapping[str, str],
        *,
        asks_unasked: bool = True,
    ) -> None:
        self.hermes_root = hermes_root
        self.environ = {**environ, "HERMESLINK_HOME": str(home.path)}
        self.installation: Installation | None = None
        self._file = home.updates_file
        self._lock_file = home.run_dir / "updates.lock"
        self.database = database
        self.clock = clock
        self._asks_unasked = asks_unasked
        self._asking = asyncio.Lock()
        self._group: asyncio.TaskGroup | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._last: Check | None = None
        self._answered: Check | None = None
        """The last that has no issue."""
        self._dismissed: str | None = None
        self._read()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Owns the question that nobody waits for."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                yield
            finally:
                self._group = None
                if self._refreshing is not None:
                    self._refreshing.cancel()

    def known(self) -> Known:
        """What the index said last, at once. One that is hours old is asked again, for the next who wants to know."""
        if self._asks_unasked and self._group and self._refreshing is None and self._is_older_than(OLD_SECONDS):
            self._refreshing = self._group.create_task(self._refresh())
        if self._answered is None:
            return Known()
        version = self._answered.release.version if self._answered.release else None
        return Known(self._answered.is_available, version, version is not None and version == self._dismissed)

    async def latest(self) -> Check:
        """What the index said last; one that is hours old is asked again first, and waited for, where that may be."""
        if self._asks_unasked:
            return await self.check(max_age_seconds=OLD_SECONDS)
        installation = await self.how()
        return self._answered or Check(self.clock.now(), issue=installation.why_not or NOT_ASKED)

    async def check(self, *, max_age_seconds: float = FRESH_SECONDS) -> Check:
        """Never raises: an index that does not answer is an answer, too."""
        async with self._asking:
            if self._last is None or self._is_older_than(max_age_seconds):
                await self._ask()
            assert self._last is not None
            return self._last

    async def how(self) -> Installation:
        """How this program was installed."""
        if self.installation is None:
            self.installation = await asyncio.to_thread(this_installation)
        return self.installation

    async def dismiss(self, caller: Caller, version: str | None) -> str:
        """Remembers that somebody knows of this version, the newest where none is said. Raises InvalidInput."""
        if version is None:
            newest = (await self.latest()).release
            if newest is None:
                raise InvalidInput("no newer version is known; say which one: version", code=UNKNOWN, param="version")
            version = newest.version
        self._dismissed = wanted = known_form(version)
        now = self.clock.now()
        await self.database.write(lambda conn: _audit(conn, caller, "update.dismissed", wanted, now))
        await asyncio.to_thread(self._keep)
        return wanted

    async def start(self, caller: Caller, version: str | None) -> UpdateStatus:
        """Of the newest version, or of one that the index has.

        Raises InvalidInput `update_version_unknown`, Conflict `update_by_hand`, `update_not_needed`, `update_running`,
        `update_not_started`, or HermesError `update_check_unavailable`.
        """
        wanted = None if version is None else known_form(version)
        installation = await self.how()
        if installation.why_not is not None:
            raise Conflict(installation.why_not, code="update_by_hand")
        check = await self.check()
        if check.issue is not None:
            raise HermesError(check.issue, code="update_check_unavailable")
        newest = check.release.version if check.release else None
        target = wanted or newest
        if target is None or target == __version__ or (wanted is None and not check.is_available):
            raise Conflict(f"{__version__} is there, and is what you ask for", code="update_not_needed")
        if target != newest and not await installer.has_version(installation, target, self.environ, ASK_SECONDS):
            raise InvalidInput(f"the package index has no version {target}", code=UNKNOWN, param="version")
        try:
            begun = await asyncio.to_thread(
                start_update, self.hermes_root, target, self.environ, is_newest=target == newest
            )
        except HermesError as error:
            if isinstance(error, Conflict):
                raise
            log.error("%s", error.message)
            told = "the updater did not start; the log says why. At the machine: hermes update"
            raise Conflict(told, code="update_not_started") from error
        now = self.clock.now()
        await self.database.write(lambda conn: _audit(conn, caller, "update.started", target, now))
        return begun

    async def status(self) -> UpdateStatus:
        """Of the last update; RESTART_REQUIRED where another version was installed than the one that runs."""
        return await self._with_restart(await asyncio.to_thread(read_status, self.hermes_root))

    async def follow(self, after: int) -> AsyncGenerator[UpdateStatus]:
        """Each change of it, for ever. `after` is the number of the last one that was seen, 0 of none."""
        seen = after or -1
        while True:
            told = await asyncio.to_thread(read_status, self.hermes_root)
            if told.number != seen:
                seen = told.number
                yield await self._with_restart(told)
            await self.clock.sleep(LOOK_SECONDS)

    async def _with_restart(self, told: UpdateStatus) -> UpdateStatus:
        installation = await self.how()
        told = told if told.manual_command else replace(told, manual_command=installation.by_hand())
        if told.state not in (UpdateState.IDLE, UpdateState.SUCCEEDED) or installation.kind is Kind.CHECKOUT:
            return told
        there = await asyncio.to_thread(_version_on_disk)
        if there in (None, __version__):
            return told
        command = "hermes gateway restart; hermeslink restart"
        return replace(told, state=UpdateState.RESTART_REQUIRED, target_version=there, manual_command=command)

    @property
    def is_asking(self) -> bool:
        """The index, and for nobody who waits."""
        return self._refreshing is not None

    @property
    def dismissed(self) -> str | None:
        return self._dismissed

    async def _refresh(self) -> None:
        """Never raises: nobody would hear of it."""
        try:
            await self.check(max_age_seconds=OLD_SECONDS)
        except Exception:
            log.exception("the package index could not be asked")
        finally:
            self._refreshing = None

    async def _ask(self) -> None:
        installation, now = await self.how(), self.clock.now()
        if installation.why_not is not None:
            self._last = Check(now, issue=installation.why_not)
            return
        try:
            self._last = self._answered = Check(now, await installer.newest(installation, self.environ, ASK_SECONDS))
        except HermesError as error:
            self._last = Check(now, issue=error.message)
        else:
            await asyncio.to_thread(self._keep)

    def _is_older_than(self, seconds: float) -> bool:
        return self._last is None or not 0 <= self.clock.now() - self._last.at < seconds

    def _read(self) -> None:
        """What cannot be read was never asked."""
        try:
            kept = json.loads(self._file.read_text("utf-8"))
            self._dismissed = None if kept["dismissed"] is None else checked(kept["dismissed"])
            if kept["asked_at"] is not None:
                release = None if kept["version"] is None else Release(checked(kept["version"]), kept["notes_url"])
                self._last = self._answered = Check(float(kept["asked_at"]), release)
        except (OSError, ValueError, KeyError, TypeError, UpdateRefused):
            return

    def _keep(self) -> None:
        release = self._answered.release if self._answered else None
        kept = {
            "asked_at": self._answered.at if self._answered else None,
            "version": release.version if release else None,
            "notes_url": release.notes_url if release else None,
            "dismissed": self._dismissed,
        }
        with file_lock(self._lock_file):
            write_private(self._file, json.dumps(kept) + "\n")


def _version_on_disk() -> str | None:
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        return None


def _audit(conn: Connection, caller: Caller, action: str, version: str, now: float) -> None:
    audit.write(conn, action, now, device_id=caller.device_id, subject=version, address=caller.address)


def known_form(version: str) -> str:
    """Raises InvalidInput `update_version_unknown` for what cannot be a version: it becomes an argument."""
    try:
        return checked(version)
    except UpdateRefused:
        raise InvalidInput("this is no version of hermes-server", code=UNKNOWN, param="version") from None
