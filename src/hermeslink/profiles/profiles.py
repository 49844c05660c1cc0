"""Profiles as a person sees them, renames them and deletes them. What is made of them is in the other files here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from hermes.core.clock import Clock
from hermes.core.errors import ConfigError, Conflict, InvalidInput
from hermes.home.about import IMAGE, INITIALS, About, change_about, read_about, with_uid
from hermes.home.env import read_env
from hermes.home.paths import DEFAULT_PROFILE, Home, active_profile
from hermes.home.profiles import delete_profile, rename_profile
from hermes.home.settings import load_settings
from hermes.store.database import Database
from hermeslink.core.caller import Caller
from hermeslink.hermes.servers import ApiServers
from hermeslink.profiles.about import checked_avatar, checked_description, checked_display_name
from hermeslink.profiles.creation import check_new_name
from hermeslink.profiles.files import ProfileFiles, readable_settings, telling
from hermeslink.profiles.names import Names
from hermeslink.store import profiles as store

KEY_NAME = "API_SERVER_KEY"


@dataclass(frozen=True, slots=True)
class Profile:
    """`is_active`: what commands without -p mean. `exists`: its home was set up."""

    home: Home
    about: About
    is_active: bool
    exists: bool
    has_api_key: bool


class Profiles:
    """Errors are those of `ProfileFiles`, and those that are named. `environ` speaks for the default profile."""

    def __init__(
        self,
        files: ProfileFiles,
        names: Names,
        servers: ApiServers,
        database: Database,
        clock: Clock,
        environ: Mapping[str, str],
    ) -> None:
        self._files = files
        self._names = names
        self._servers = servers
        self._database = database
        self._clock = clock
        self._environ = environ

    async def show(self, name: str) -> Profile:
        return await self._files.read(name, self.shown)

    async def change(self, caller: Caller, name: str, changes: Mapping[str, str | None]) -> Profile:
        """By the names of `About`, and `name`. Raises InvalidInput `profile_update_empty`,
        `default_profile_not_mutable`, `invalid_profile_…`; Conflict as `rename`."""
        if not changes:
            raise InvalidInput(
                "say what to change: name, display_name, description, avatar_type or avatar_url",
                code="profile_update_empty",
            )
        home = self._servers.home(name)
        said = _checked(changes, await asyncio.to_thread(read_about, home))
        new_name = changes.get("name", name)
        if new_name != name:
            await self.rename(caller, name, new_name)
            name = str(new_name)
        if said:
            details = {"changed": sorted(said)}
            await self._files.change(caller, name, "profile.changed", partial(_say, said), details)
        return await self.show(name)

    async def rename(self, caller: Caller, name: str, new_name: object) -> None:
        """With its sessions, conversations and usage. Raises InvalidInput `default_profile_not_mutable`,
        `invalid_profile_name`; Conflict `profile_exists`, `profile_busy`, `gateway_running`."""
        home = self._mutable(name)
        new = check_new_name(self._servers.hermes_root, new_name)
        await self._check_idle(name)
        await self._names.change(caller, partial(_rename, home, new, self._clock.now()))

    async def delete(self, caller: Caller, name: str) -> None:
        """Into the trash; its conversations go to the archive. Raises as `rename`."""
        home = self._mutable(name)
        await self._check_idle(name)
        await self._names.change(caller, partial(_delete, home, self._clock.now()))

    def _mutable(self, name: str) -> Home:
        if name == DEFAULT_PROFILE:
            raise InvalidInput(
                "the default profile is the home itself: it cannot be renamed or deleted",
                code="default_profile_not_mutable",
                param="name",
            )
        return self._servers.home(name)

    async def _check_idle(self, name: str) -> None:
        await self._names.look()  # it may be new
        if await self._database.read(store.open_runs, name):
            raise Conflict(
                f"a message waits for the answer of {name}; let it end or cancel it first", code="profile_busy"
            )

    def shown(self, home: Home) -> Profile:
        """For who has a home at hand already; not on the event loop."""
        is_active = active_profile(home.root) == home.name
        environ = {} if home.is_profile else self._environ
        return Profile(home, with_uid(home), is_active, home.exists(), _has_key(home, environ))


def _checked(changes: Mapping[str, str | None], before: About) -> dict[str, str | None]:
    said: dict[str, str | None] = {}
    if "display_name" in changes:
        said["display_name"] = checked_display_name(changes["display_name"])
    if "description" in changes:
        said["description"] = checked_description(changes["description"])
    if "avatar_type" in changes or "avatar_url" in changes:
        url = changes.get("avatar_url", before.avatar_url)
        meant = IMAGE if url else INITIALS  # where only the picture is sent
        kind = changes.get("avatar_type", meant)
        said["avatar_type"], said["avatar_url"] = checked_avatar(kind, url)
    return said


def _say(said: Mapping[str, str | None], home: Home) -> None:
    change_about(home, **said)


def _rename(home: Home, new: str, now: float) -> None:
    with telling(home):
        url = readable_settings(home, {}).database.url or ""
        if url.startswith("postgres"):
            raise Conflict(
                f"the data of {home.name} is in a database that others may use, too; rename it at the machine: "
                f"hermes profile rename {home.name} {new}",
                code="profile_database_shared",
            )
        rename_profile(home, new, now=now)


def _delete(home: Home, now: float) -> None:
    with telling(home):
        delete_profile(home, now=now)


def _has_key(home: Home, environ: Mapping[str, str]) -> bool:
    """A config.yaml that cannot be read hides no key of .env."""
    try:
        return bool(load_settings(home, environ, is_lenient=True).api_server.key)
    except ConfigError:
        pass
    try:
        return bool(read_env(home.env_file).get(KEY_NAME))
    except ConfigError:
        return False
