"""New profiles: one at a time, made whole or not at all, with lines that tell how far it is."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from hermes.core.clock import Clock
from hermes.core.errors import ConfigError, Conflict, HermesError, InvalidInput, NotFound, StoreUnavailable
from hermes.core.ids import new_id
from hermes.home.about import About, read_about
from hermes.home.files import write_private
from hermes.home.paths import DEFAULT_PROFILE, PROFILE_NAME, Home
from hermes.home.profiles import create_profile, get_profile, remove_drafts
from hermeslink.core.caller import Caller
from hermeslink.core.device import Scope
from hermeslink.core.times import iso
from hermeslink.hermes.servers import ApiServers
from hermeslink.profiles.about import checked_display_name
from hermeslink.profiles.files import ProfileFiles, telling
from hermeslink.profiles.names import Names

log = logging.getLogger(__name__)

WAIT_SECONDS = 30.0
"""How long it waits for another command that makes or renames a profile."""
AGAIN_SECONDS = 0.1


class CreationState(StrEnum):
    IDLE = "idle"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Creation:
    """`version` grows with each change. Times are unix seconds. `uid` is what the new profile gets. `device_id`,
    `address`, `clone_of`: what the audit says of it, and `is_noted` that it does."""

    state: CreationState = CreationState.IDLE
    profile_name: str | None = None
    job_id: str | None = None
    started_at: float | None = None
    finished_at: float | None = None
    lines: tuple[str, ...] = ()
    error: str | None = None
    version: int = 1
    uid: str | None = None
    device_id: str | None = None
    address: str = ""
    clone_of: str | None = None
    is_noted: bool = False


@dataclass(frozen=True, slots=True)
class NewProfile:
    name: str
    clone_from: str | None = None
    display_name: str | None = None


class Creations:
    """`file` is in Link's home: how the last one went is known after a restart, too."""

    def __init__(self, file: Path, servers: ApiServers, files: ProfileFiles, names: Names, clock: Clock) -> None:
        self._file = file
        self._servers = servers
        self._files = files
        self._names = names
        self._clock = clock
        self._now = Creation()
        self._changed = asyncio.Event()
        self._job: asyncio.Task[None] | None = None
        self._group: asyncio.TaskGroup | None = None

    @property
    def status(self) -> Creation:
        return self._now

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """What a Link that was killed had begun is brought to its end first."""
        self._now = await asyncio.to_thread(_read, self._file)
        if self._now.state is CreationState.RUNNING:
            await self._settle()
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                yield
            finally:
                self._group = None
                if self._job is not None:
                    self._job.cancel()

    async def start(self, caller: Caller, wanted: NewProfile) -> Creation:
        """Raises InvalidInput `invalid_profile_name`; NotFound where there is none to clone; Conflict `profile_exists`,
        `profile_creation_running`."""
        wanted = replace(wanted, display_name=checked_display_name(wanted.display_name))
        if self._group is None or self._now.state is CreationState.RUNNING:
            raise Conflict(
                f"the profile {self._now.profile_name} is being made; wait until that is done",
                code="profile_creation_running",
            )
        check_new_name(self._servers.hermes_root, wanted.name)
        clone = None if wanted.clone_from is None else self._servers.home(wanted.clone_from)
        started = Creation(
            CreationState.RUNNING,
            wanted.name,
            new_id("job"),
            self._clock.now(),
            lines=(f"Making the profile {wanted.name}.",),
            version=self._now.version + 1,
            uid=new_id("prof"),
            device_id=caller.device_id,
            address=caller.address,
            clone_of=wanted.clone_from,
        )
        self._now = started  # before anything is awaited: of two at once, one wins
        self._wake()
        self._job = self._group.create_task(self._make(wanted, clone))
        return started

    async def follow(self, after: int) -> AsyncIterator[Creation]:
        """How it is, and each time that changes: from version `after` on nothing is told twice."""
        while True:
            changed = self._changed
            if self._now.version != after:
                after = self._now.version
                yield self._now
            else:
                await changed.wait()

    # --- one of them ---

    async def _make(self, wanted: NewProfile, clone: Home | None) -> None:
        """Never raises: Link must not end with it."""
        try:
            await self._keep()
            await self._made(wanted, clone)
        except HermesError as error:
            if not isinstance(error, StoreUnavailable):  # which names places of this machine
                await self._end(CreationState.FAILED, error.message)
                return
            log.error("the profile %s could not be made: %s", wanted.name, error.message)
            await self._end(CreationState.FAILED, "It failed inside the service; its log says why.")
        except Exception:
            log.exception("the profile %s could not be made", wanted.name)
            await self._end(CreationState.FAILED, "It failed inside the service; its log says why.")
        else:
            await self._end(CreationState.SUCCEEDED)

    async def _made(self, wanted: NewProfile, clone: Home | None) -> None:
        about = About(self._now.uid, wanted.display_name)
        await self._create(wanted.name, clone, about)
        await self._note()
        if clone is not None:
            await self._say(f"Copied the settings, SOUL.md and provider keys of {clone.name}.")
        await self._say("It has an API key of its own.")
        with suppress(NotFound):  # it is there, and may have another name already, or be deleted
            await self._names.look()
            state = await self._servers.of(wanted.name).state()
            if state.state == "online":
                await self._say("The gateway answers for it.")
            else:
                await self._say(f"No gateway answers for it yet: {state.issue}")

    async def _note(self) -> None:
        made = self._now
        if made.device_id is None or made.profile_name is None or made.is_noted:
            return
        caller = Caller(made.device_id, Scope.ADMIN, made.address)
        details = {"clone_of": made.clone_of} if made.clone_of else None
        await self._files.note(caller, made.profile_name, "profile.created", details)
        await self._set(replace(made, is_noted=True))

    async def _create(self, name: str, clone: Home | None, about: About) -> None:
        root = self._servers.hermes_root
        ends_at, is_waiting = self._clock.monotonic() + WAIT_SECONDS, False
        while True:
            try:
                await asyncio.to_thread(_create, root, name, clone, about)
                return
            except Conflict as error:
                if error.code != "busy" or self._clock.monotonic() >= ends_at:
                    raise
            if not is_waiting:
                is_waiting = True
                await self._say("Waiting for another command that changes profiles.")
            await self._clock.sleep(AGAIN_SECONDS)

    async def _settle(self) -> None:
        """Of one that a kill broke off: its profile is there whole, or nothing of it is."""
        left = self._now
        root = self._servers.hermes_root
        with suppress(HermesError, OSError):
            await asyncio.to_thread(remove_drafts, root)
        if await asyncio.to_thread(_is_there, root, left):
            try:
                await self._note()
            except HermesError as error:  # Link starts all the same
                log.error("who made the profile %s cannot be written into the audit: %s", left.profile_name, error)
            await self._say("Link was stopped meanwhile; the profile was made.")
            await self._end(CreationState.SUCCEEDED)
        else:
            await self._end(CreationState.FAILED, "Link was stopped while it was made, and nothing of it is left.")

    async def _say(self, line: str) -> None:
        await self._set(replace(self._now, lines=(*self._now.lines, line)))

    async def _end(self, state: CreationState, error: str | None = None) -> None:
        line = f"Made the profile {self._now.profile_name}." if error is None else error
        now = self._clock.now()
        await self._set(replace(self._now, state=state, finished_at=now, error=error, lines=(*self._now.lines, line)))

    async def _set(self, now: Creation) -> None:
        self._now = replace(now, version=self._now.version + 1)
        await self._keep()
        self._wake()

    async def _keep(self) -> None:
        try:
            await asyncio.to_thread(write_private, self._file, json.dumps(asdict(self._now)) + "\n")
        except OSError as error:
            log.warning("how the creation of a profile goes cannot be kept: %s", error)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def check_new_name(root: Path, name: object) -> str:
    """Raises InvalidInput `invalid_profile_name`, Conflict `profile_exists`."""
    if not isinstance(name, str) or PROFILE_NAME.fullmatch(name) is None:
        raise InvalidInput(
            "a profile's name has a-z, 0-9, - and _, at most 64, a letter or digit first",
            code="invalid_profile_name",
            param="name",
        )
    if name == DEFAULT_PROFILE or (root / "profiles" / name).exists():
        raise Conflict(f"there is a profile {name!r} already", code="profile_exists")
    return name


def _create(root: Path, name: str, clone: Home | None, about: About) -> None:
    with telling(clone or Home(root)):
        create_profile(root, name, clone=clone, about=about, patience_seconds=0.2)


def _is_there(root: Path, left: Creation) -> bool:
    try:
        return left.uid is not None and read_about(get_profile(root, left.profile_name or "")).uid == left.uid
    except (ConfigError, NotFound):
        return False


def _read(file: Path) -> Creation:
    """One that cannot be read says nothing."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return Creation(**{**found, "state": CreationState(found["state"]), "lines": tuple(found["lines"])})
    except (OSError, ValueError, TypeError, KeyError):
        return Creation()


def shown(creation: Creation) -> dict[str, object]:
    """As clients see it."""
    return {
        "state": creation.state.value,
        "profile_name": creation.profile_name,
        "job_id": creation.job_id,
        "started_at": iso(creation.started_at),
        "finished_at": iso(creation.finished_at),
        "lines": list(creation.lines),
        "error": creation.error,
    }
