"""The other profiles of this machine behind the default gateway's listener: their doors, and their homes when open.

The process's environment belongs to the default profile. Of it a profile gets what every command gets (PATH, LANG, …),
and nothing that opens, reaches or pays for anything.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from hermes.api.access_log import AccessFile
from hermes.api.keyring import ClosedKeys, HomeKeys, StoredKeys
from hermes.api.profiles import AtWork, Door, Patient, ProfileHosts
from hermes.api.services import ApiSettings, Services
from hermes.app import Engine, build_api, open_engine, owner_key
from hermes.core.errors import ConfigError, Conflict, Draining, NotFound, ProfileElsewhere
from hermes.core.redact import Redactor, is_secret_name
from hermes.home.live import restart_command
from hermes.home.locks import GatewayLock, GatewayProcess, lock_gateway, running_gateway
from hermes.home.logs import hide_in_logs
from hermes.home.names import PROVIDER_NAMES, env_names
from hermes.home.paths import DEFAULT_PROFILE, PROFILE_NAME, Home, profile_home
from hermes.home.settings import Settings, load_settings, secret_values
from hermes.home.wanted import is_wanted
from hermes.runs.node import Identity

log = logging.getLogger(__name__)

Chores = Callable[[Engine], list[Coroutine[Any, Any, None]]]
LOOK_SECONDS = 0.2
"""How often it is looked whether somebody wants an open profile for himself."""
OWN_PREFIXES = ("API_SERVER_", "HERMES_")


@dataclass(slots=True)
class _Known:
    """What was found at `stamp`. `door` None: closed, as it stands."""

    home: Home
    stamp: object
    settings: Settings | None = None
    door: Door | None = None
    keys: HomeKeys | None = None
    is_open: bool = False


class ProfileHomes:
    """`api.profiles.Profiles` over the homes below `root`. `listener` serves the default profile at `address`;
    `chores` are what a gateway does beside answering.
    """

    def __init__(
        self, root: Home, environ: Mapping[str, str], listener: Services, address: str, chores: Chores
    ) -> None:
        self._root = root
        self._environ = shared_environment(environ)
        self._listener = listener
        self._address = address
        self._chores = chores
        self._known: dict[str, _Known] = {}

    def door(self, name: str) -> Door | None:
        """Read anew when its .env or config.yaml changed; while its home is open, its engine takes up what it can, and
        what the door was made with holds, as in any gateway, but for its keys.
        """
        if PROFILE_NAME.fullmatch(name) is None or name == DEFAULT_PROFILE:
            return None
        known = self._known.get(name)
        if known is not None and known.is_open:
            return known.door
        home = profile_home(self._root.path, name)
        stamp = _stamp(home)
        if known is not None and known.stamp != stamp:
            _forget(self._known.pop(name))
            known = None
        if stamp is None:
            return None
        if known is None:
            known = self._known[name] = self._look(home, stamp)
        return known.door

    def open(self, name: str) -> AbstractAsyncContextManager[AtWork]:
        return self._at_work(name)

    def _look(self, home: Home, stamp: object) -> _Known:
        known = _Known(home, stamp)
        try:
            settings = load_settings(home, {})
        except ConfigError as error:
            log.error("profile %s is closed until its settings are right: %s", home.name, error.message)
            return known
        api = settings.api_server
        if not api.key or api.enabled is False:
            return known
        listener = self._listener
        hide_in_logs(secret_values(settings, settings.environ))
        known.settings = settings
        known.keys = HomeKeys(owner_key(settings, home, {}), _closed(settings, home), listener.clock)
        services = Services(
            runner=listener.runner,  # none of it is reached before the profile's own is there
            keys=Patient(known.keys, listener.clock),
            hosts=ProfileHosts(listener.hosts, listener.settings.host, api.allowed_hosts),
            clock=listener.clock,
            version=listener.version,
            settings=ApiSettings(
                host=listener.settings.host,
                cors_origins=tuple(api.cors_origins),
                trusted_proxies=listener.settings.trusted_proxies,
            ),
            access=AccessFile(home.logs_dir / "access.log", Redactor(secret_values(settings, settings.environ))),
            tunnel=listener.tunnel,
        )
        known.door = Door(home.name, services)
        return known

    @asynccontextmanager
    async def _at_work(self, name: str) -> AsyncIterator[AtWork]:
        known = self._known.get(name)
        if known is None or known.settings is None or known.keys is None or known.door is None:
            raise NotFound(f"the profile {name!r} is closed")
        home, settings, keys = known.home, known.settings, known.keys
        if is_wanted(home):
            raise Draining(f"the profile {name!r} is closed for a moment; try again", retry_after_seconds=1)
        lock = self._lock(home)
        known.is_open = True
        try:
            url = f"{self._address}/p/{name}"
            identity = Identity("gateway", str(home.path), url, home.run_dir / "node.id")
            async with open_engine(
                settings, home=home, environ=self._environ, identity=identity, is_live=True
            ) as engine:
                engine.live.restart = restart_command(home, is_guest=True)
                services, api = build_api(engine, bound_host=self._listener.settings.host)
                keys.named = StoredKeys(engine.database)
                services.http = known.door.services.http  # what is counted at the door is shown in its /metrics
                await engine.files.sweep()
                await engine.runner.recover()
                async with asyncio.TaskGroup() as group:
                    chores = [group.create_task(chore) for chore in self._chores(engine)]
                    process = GatewayProcess(os.getpid(), engine.clock.now(), url, is_ready=True)
                    lock.announce(process)
                    log.info("profile %s is open", name)
                    until_wanted = partial(_until_wanted, home, engine, lock, process)
                    yield AtWork(services, api.router, engine.runner.drain, until_wanted)
                    log.info("profile %s is closed", name)
                    for chore in chores:
                        chore.cancel()
        finally:
            keys.named = _closed(settings, home)
            known.is_open = False
            _forget(known)
            lock.release()

    def _lock(self, home: Home) -> GatewayLock:
        try:
            return lock_gateway(home.pid_file, now=self._listener.clock.now(), name=home.name)
        except FileNotFoundError as error:
            raise NotFound(f"the profile {home.name!r} is not there any more") from error
        except Conflict as error:
            other = running_gateway(home.pid_file)
            where = f" at {other.url}" if other is not None and other.url else ""
            raise ProfileElsewhere(
                f"profile {home.name} has a gateway of its own that runs{where}: ask there"
            ) from error


async def _until_wanted(
    home: Home, engine: Engine, lock: GatewayLock, process: GatewayProcess, leave: Callable[[], bool]
) -> None:
    """Whoever wants the home is told in the pid file that something goes on in it."""
    while True:
        await engine.clock.sleep(LOOK_SECONDS)
        is_asked = is_wanted(home)
        if is_asked and not engine.runner.active and leave():
            return
        if is_asked != process.is_busy:
            process = replace(process, is_busy=is_asked)
            with suppress(OSError):  # a full disk: it asks until its patience ends
                lock.announce(process)


def _forget(known: _Known) -> None:
    """Its access log is opened again by the next line."""
    if known.door is not None and isinstance(known.door.services.access, AccessFile):
        known.door.services.access.close()


def _closed(settings: Settings, home: Home) -> ClosedKeys:
    return ClosedKeys(settings.database.url or f"sqlite:///{home.state_db}")


def shared_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What of the process's environment is nobody's own: no setting of the default profile, and no secret."""
    own = {*PROVIDER_NAMES, *env_names()}
    return {
        name: value
        for name, value in environ.items()
        if name not in own and not name.startswith(OWN_PREFIXES) and not is_secret_name(name)
    }


def _stamp(home: Home) -> object:
    """Changes when its settings may have. None where there is no such profile; a link is none."""
    try:
        if home.path.is_symlink() or not home.path.is_dir():
            return None
    except OSError:
        return None
    return _of_file(home.env_file), _of_file(home.config_file)


def _of_file(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
