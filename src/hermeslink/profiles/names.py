"""Which profile has which name: what Link keeps under a name follows the profile when it gets another.

Profiles are renamed and deleted at the machine, too, also while Link is away. Each has a uid (`hermes.home.about`);
Link remembers under which name it saw it last.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from hermes.core.clock import Clock
from hermes.core.errors import HermesError
from hermes.home.about import read_about, renew_uid, with_uid
from hermes.home.files import write_private
from hermes.home.paths import Home
from hermes.home.profiles import list_profiles
from hermes.home.trash import trash_of
from hermes.store.database import Connection
from hermeslink.conversations.conversations import updated
from hermeslink.conversations.log import EventLog
from hermeslink.core.caller import Caller
from hermeslink.core.conversation import ConversationStatus, LinkEvent
from hermeslink.store import audit
from hermeslink.store import conversations as conversation_store
from hermeslink.store import profiles as store

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""How often it is looked whether somebody else renamed or deleted one: one `stat`."""


@dataclass(frozen=True, slots=True)
class Changed:
    """Since the last look: old → new names, and the names of those that are in the trash."""

    moves: Mapping[str, str]
    trashed: Collection[str]


class Names:
    """`file` is in Link's home."""

    def __init__(self, hermes_root: Path, file: Path, log: EventLog, clock: Clock) -> None:
        self._root = hermes_root
        self._file = file
        self._log = log
        self._clock = clock
        self._looking = asyncio.Lock()

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        await self.look_if_possible()
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait((watching,))

    async def look(self) -> Changed:
        """Brings what Link keeps to the names of now."""
        async with self._looking:
            return await self._look(None)

    async def change(self, caller: Caller, work: Callable[[], object]) -> Changed:
        """`work` renames or deletes, in a thread. Nobody else looks before it is done: the audit says whose doing it
        was."""
        async with self._looking:
            await asyncio.to_thread(work)
            return await self._look(caller)

    async def _look(self, caller: Caller | None) -> Changed:
        known = await asyncio.to_thread(_read, self._file)
        found = await asyncio.to_thread(_uids, self._root, known)
        now_at = {uid: name for name, uid in found.items()}
        moves = {name: now_at[uid] for name, uid in known.items() if uid in now_at and now_at[uid] != name}
        gone = {uid: name for name, uid in known.items() if uid not in now_at}
        trashed = await asyncio.to_thread(_trashed, self._root, gone) if gone else set()
        changed = Changed(moves, {gone[uid] for uid in trashed})
        if moves or trashed:
            await self._log.write(_follow, changed, caller, self._clock.now(), durable=True)
        if found != known:
            await asyncio.to_thread(write_private, self._file, json.dumps(found, indent=2) + "\n")
        return changed

    async def _watch(self) -> None:
        seen: object = None
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            stamp = _stamp(self._root)
            if stamp != seen and await self.look_if_possible():
                seen = stamp

    async def look_if_possible(self) -> bool:
        try:
            await self.look()
        except (HermesError, OSError) as error:
            log.warning("the names of the profiles cannot be looked at: %s", error)
            return False
        return True


def _follow(conn: Connection, changed: Changed, caller: Caller | None, now: float) -> tuple[None, list[LinkEvent]]:
    """Conversations of a profile that is gone are put into the archive: they can be read, and given to another."""
    told: list[LinkEvent] = []
    for name in changed.trashed:
        store.forget(conn, name)
        for conversation_id in store.conversation_ids(conn, name):
            conversation_store.set_status(conn, conversation_id, ConversationStatus.ARCHIVED, now)
            told += updated(conn, conversation_id, now)
        _note(conn, "profile.deleted", name, caller, now)
    store.rename(conn, changed.moves)
    for old, new in changed.moves.items():
        for conversation_id in store.conversation_ids(conn, new):
            told += updated(conn, conversation_id, now)
        _note(conn, "profile.renamed", new, caller, now, {"from": old})
    return None, told


def _note(
    conn: Connection,
    action: str,
    subject: str,
    caller: Caller | None,
    now: float,
    details: Mapping[str, object] | None = None,
) -> None:
    device_id, address = (caller.device_id, caller.address or None) if caller else (None, None)
    audit.write(conn, action, now, device_id=device_id, subject=subject, address=address, details=details)


def _uids(root: Path, known: Mapping[str, str]) -> dict[str, str]:
    """Name → uid. A copy of a profile, made with its uid, gets its own."""
    found: dict[str, str] = {}
    homes = [home for home in list_profiles(root) if home.is_profile]
    for home in sorted(homes, key=lambda home: known.get(home.name) != read_about(home).uid):  # the known ones first
        uid = with_uid(home).uid
        if uid in found.values():
            uid = renew_uid(home).uid
        if uid is not None:
            found[home.name] = uid
    return found


def _trashed(root: Path, uids: Collection[str]) -> set[str]:
    """Those of them that were deleted; what is only away (a disk that is not mounted) is not."""
    try:
        places = list(trash_of(root).iterdir())
    except OSError:
        return set()
    return {uid for place in places if (uid := read_about(Home(place)).uid) in uids and uid is not None}


def _read(file: Path) -> dict[str, str]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: uid for name, uid in found.items() if isinstance(uid, str)} if isinstance(found, dict) else {}


def _stamp(root: Path) -> object:
    try:
        return (root / "profiles").stat().st_mtime_ns
    except OSError:
        return None
