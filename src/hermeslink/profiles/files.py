"""The files of profiles, for whoever looks at them or changes them: off the event loop, and changes in the audit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import TypeVar

from hermes.core.clock import Clock
from hermes.core.errors import ConfigError, ConfigUnreadable, Conflict, HermesError, NotFound, StoreUnavailable
from hermes.home.config_file import read_config
from hermes.home.env import read_env
from hermes.home.logs import hide_in_logs
from hermes.home.paths import Home
from hermes.home.settings import Settings, load_settings
from hermes.store.database import Database
from hermeslink.core.caller import Caller
from hermeslink.store import audit
from hermeslink.system.logs import secrets_in

T = TypeVar("T")

log = logging.getLogger(__name__)


class ProfileFiles:
    """`home_of` finds a profile's home, or raises NotFound `profile_not_found`.

    Calls raise that, Conflict `profile_config_invalid` for a config.yaml or .env that cannot be read or changed (with
    the line), StoreUnavailable `profile_files_unavailable` for a disk that fails, and what `work` raises.
    """

    def __init__(self, home_of: Callable[[str], Home], database: Database, clock: Clock) -> None:
        self._home_of = home_of
        self._database = database
        self._clock = clock

    async def read(self, profile: str, work: Callable[[Home], T]) -> T:
        return await asyncio.to_thread(self._done, profile, work)

    async def write(self, profile: str, work: Callable[[Home], T]) -> T:
        """For who notes what it came to himself. A key that was just written is known to the log's sink."""
        return await asyncio.to_thread(self._changed, profile, work)

    async def change(
        self,
        caller: Caller,
        profile: str,
        action: str,
        work: Callable[[Home], T],
        details: Mapping[str, object] | None = None,
    ) -> T:
        """`action` and `details` as the audit has them: `memory.added`; no secret may be among them. What failed is
        not noted."""
        done = await self.write(profile, work)
        await self.note(caller, profile, action, details)
        return done

    async def note(
        self, caller: Caller, profile: str, action: str, details: Mapping[str, object] | None = None
    ) -> None:
        entry = partial(
            audit.write,
            action=action,
            now=self._clock.now(),
            device_id=caller.device_id,
            subject=profile,
            address=caller.address or None,
            details=details,
        )
        await self._database.write(entry, durable=True)

    def _done(self, profile: str, work: Callable[[Home], T]) -> T:
        home = self._home_of(profile)
        with telling(home):
            return work(home)

    def _changed(self, profile: str, work: Callable[[Home], T]) -> T:
        done = self._done(profile, work)
        with suppress(HermesError):  # a profile that was deleted
            hide_in_logs(secrets_in(self._home_of(profile)))
        return done


def readable_settings(home: Home, environ: Mapping[str, str]) -> Settings:
    """Wrong values are left out, and among its `errors`; `environ` speaks for the default profile. Raises
    ConfigUnreadable where a file cannot be read at all: what it may say is no default."""
    read_config(home.config_file)
    read_env(home.env_file)
    return load_settings(home, {} if home.is_profile else environ, is_lenient=True)


@contextmanager
def telling(home: Home) -> Iterator[None]:
    """What goes wrong with a home's files, said without the places of this machine."""
    try:
        yield
    except ConfigUnreadable as error:
        where = error.name if error.line is None else f"{error.name}, line {error.line}"
        told = f"{where} cannot be read; on the machine, {home.command} config check says why"
        raise Conflict(told, code="profile_config_invalid") from error
    except ConfigError as error:
        raise Conflict(without_paths(error.message, home), code="profile_config_invalid") from error
    except OSError as error:
        if home.is_profile and not home.path.is_dir():
            raise NotFound(f"no profile {home.name!r} any more", code="profile_not_found") from error
        log.warning("the files of the profile %s: %s", home.name, error)
        raise StoreUnavailable(str(error), code="profile_files_unavailable") from error


def without_paths(message: str, home: Home) -> str:
    """`/home/ada/.hermes/config.yaml, line 3: …` is `config.yaml, line 3: …`."""
    for place in dict.fromkeys((home.path, home.path.resolve(), home.root, home.root.resolve())):
        message = message.replace(f"{place}/", "").replace(str(place), "the home")
    return message
