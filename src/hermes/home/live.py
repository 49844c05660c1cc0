"""Settings that change under a running gateway: what it takes up by itself, and what only a restart brings.

The files are looked at where a run begins, before a dangerous action is judged, and with each request: two looks at
the disk, and nothing more for as long as nobody changed them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from hermes.core.clock import Clock
from hermes.core.errors import ConfigError
from hermes.home.names import canonical, env_names, known_settings
from hermes.home.paths import Home
from hermes.home.settings import FileStamp, Settings, Stamp, load_settings, stamp_of

log = logging.getLogger(__name__)

NEEDS_RESTART = frozenset(
    {
        "api_server.enabled",
        "api_server.host",
        "api_server.port",
        "api_server.key",
        "api_server.cors_origins",
        "api_server.allowed_hosts",
        "api_server.trusted_proxies",
        "api_server.model_name",
        "api_server.profiles",
        "api_server.callback_hosts",
        "database.url",
        "logging.level",
    }
)
"""What the listener, the database and the log are made with."""
LIVE_IN_ENV = frozenset({"API_SERVER_KEY"})
"""What the gateway looks at in .env, though not in config.yaml."""


def needs_restart(setting_name: str) -> bool:
    """Whether a running gateway goes on without a change of this setting. The name as `hermes config set` takes it:
    dotted (`api_server.port`, an alias of it, a section, an entry such as `mcp_servers.mine`), or of .env
    (`API_SERVER_PORT`). A name that is none, such as a provider's key, needs no restart: .env is read anew.
    """
    if setting_name in LIVE_IN_ENV:
        return False
    name = canonical(env_names().get(setting_name, setting_name))
    return any(name == one or name.startswith(f"{one}.") or one.startswith(f"{name}.") for one in NEEDS_RESTART)


def restart_command(home: Home, *, is_guest: bool = False) -> str:
    """`is_guest`: the default profile's gateway serves it."""
    return f"{'hermes -p default' if is_guest else home.command} gateway restart"


def waiting(started: Settings, now: Settings) -> tuple[str, ...]:
    """The settings that are others now than the gateway was started with, and that it goes on without."""
    return tuple(
        name
        for name in sorted(NEEDS_RESTART)
        if _value(started, name) != _value(now, name) and not _is_live_in_env(name, now)
    )


def _is_live_in_env(name: str, now: Settings) -> bool:
    return now.sources.get(name) == ".env" and any(env_names()[env] == name for env in LIVE_IN_ENV)


def _value(settings: Settings, name: str) -> Any:
    value: Any = settings
    for key in name.split("."):
        value = getattr(value, key)
    return value


SETTLE_SECONDS = 0.1
"""A file that an editor writes in place is not read before it has been left alone for so long."""
LOOKS = 20
"""At one that is written on and on; then it is read as it is."""

Change = Callable[[Settings, Settings], None]


class LiveSettings:
    """The settings of a process as they are now. `home` None: they never change.

    `now` are those that count. `problem`: why the files, as they are, do not; what was before goes on then. `waiting`:
    the names of those that only `restart` brings.
    """

    def __init__(self, started: Settings, *, home: Home | None, environ: Mapping[str, str], clock: Clock) -> None:
        self.now = started
        self.problem = ""
        self.waiting: tuple[str, ...] = ()
        self.restart = "" if home is None else restart_command(home)
        self._started = started
        self._home = home
        self._files = ("", "") if home is None else (str(home.env_file), str(home.config_file))
        self._environ = environ
        self._clock = clock
        self._seen = started.stamp
        self._taking_up = asyncio.Lock()
        self._is_behind = False
        self._checks: list[Callable[[Settings], object]] = []
        self._changes: list[Change] = []
        self._followers: list[Callable[[], Awaitable[None]]] = []

    def check(self, check: Callable[[Settings], object]) -> None:
        """Asked first: it raises ConfigError for settings that nothing could be made with."""
        self._checks.append(check)

    def on_change(self, change: Change) -> None:
        """Called with the settings before and now. All of them are done before anybody else goes on."""
        self._changes.append(change)

    def behind(self, follow: Callable[[], Awaitable[None]]) -> None:
        """What has to be waited for, behind the changes."""
        self._followers.append(follow)

    def _stamp(self) -> Stamp:
        return stamp_of(*self._files)

    async def look(self) -> None:
        """Take up what was changed. Never raises for what stands in a file: `problem` says it."""
        home = self._home
        if home is None or (self._stamp() == self._seen and not self._is_behind):
            return
        async with self._taking_up:
            if self._stamp() != self._seen:
                await self._take_up(home)
            if self._is_behind:  # since now, or since whoever waited for it left
                await self._catch_up()
                self._is_behind = False

    async def _take_up(self, home: Home) -> None:
        stamp = await self._settled()
        try:
            settings = await asyncio.to_thread(load_settings, home, self._environ)
            for check in self._checks:
                check(settings)
        except ConfigError as error:
            self._seen = stamp
            self._refused(home, error.message)
            return
        except Exception:  # a fault of ours: neither requests nor chores must end with it
            log.exception("settings could not be read")
            self._seen = stamp
            self._refused(home, "they could not be read; the log says why")
            return
        before, self.now = self.now, settings
        self._seen, self.problem = settings.stamp, ""
        self._is_behind = True
        try:
            for change in self._changes:
                change(before, settings)
        except Exception:  # a fault of ours, and half of them taken up: runs must not end with it
            log.exception("settings could not be taken up")
            self.problem = self._half_taken
        self._tell(before)

    async def _catch_up(self) -> None:
        for follow in self._followers:
            try:
                await follow()
            except Exception:  # nor with this one
                log.exception("settings could not be taken up")
                self.problem = self._half_taken

    @property
    def _half_taken(self) -> str:
        return f"they could not be taken up whole; the log says why: {self.restart}"

    async def _settled(self) -> Stamp:
        """A file that was put in place of another is whole; one that is written in place, or gone, may not be yet."""
        for _ in range(LOOKS):
            stamp = self._stamp()
            if not any(self._is_open(*both) for both in zip(self._seen or (None, None), stamp, strict=True)):
                break
            await self._clock.sleep(SETTLE_SECONDS / 2)
        return self._stamp()

    def _is_open(self, seen: FileStamp | None, found: FileStamp | None) -> bool:
        if seen is None or seen == found:
            return False
        if found is None:
            return True
        return seen[1] == found[1] and abs(self._clock.now() - found[0] / 1e9) < SETTLE_SECONDS

    def _refused(self, home: Home, message: str) -> None:
        self.problem = message.partition("\nsee also: ")[0].replace(f"{home.path}/", "").replace("\n", "; ")
        log.error(
            "the settings were changed and cannot be used, so those from before go on: %s. Check them with: "
            "%s config check",
            self.problem,
            home.command,
        )

    def _tell(self, before: Settings) -> None:
        names = [name for name in changed(before, self.now) if not needs_restart(name)]
        if names:
            log.info("settings taken up: %s", ", ".join(names))
        elif before.environ != self.now.environ:
            log.info(".env was read again")
        were, self.waiting = self.waiting, waiting(self._started, self.now)
        if new := [name for name in self.waiting if name not in were]:
            log.warning("restart needed for %s: %s", ", ".join(new), self.restart)


def changed(before: Settings, now: Settings) -> tuple[str, ...]:
    """The names of the settings that are others than before, no values."""
    names = dict.fromkeys(name.partition(".*")[0].partition("[]")[0] for name in known_settings())
    return tuple(name for name in names if _value(before, name) != _value(now, name))
