"""Many profiles behind one listener: `/p/alice/v1/…` is answered by alice's own home, for alice's own keys.

Somebody without a key of hers is told the same, byte for byte, whether there is an alice, whether she is closed, or
whether his key was wrong (docs/adr/0076). Her home is opened by the first request that has a key.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from hermes.api.app import Api, is_public
from hermes.api.auth import KeyRing, Principal
from hermes.api.services import Services
from hermes.core.clock import Clock
from hermes.core.errors import Draining, HermesError, HostNotAllowed
from hermes.core.hosts import AllowedHosts

log = logging.getLogger(__name__)

PREFIX = "/p/"
DEFAULT = "default"
REFUSE_SECONDS = 0.02
"""A wrong key hears no sooner, whatever was looked up: how long it took would tell which profiles there are."""
QUIET_SECONDS = 2.0
"""How long streams have to end before the home that they listen to is closed."""

_PATH = re.compile(r"/p/(?P<name>[^/]*)(?P<rest>/.*)?\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class AtWork:
    """A profile whose home is open. `drain` is its runner's. `until_wanted` returns when the home is to be closed: not
    before `leave`, which it is given, said yes, and nothing is asked there any more.
    """

    services: Services
    router: ASGIApp
    drain: Callable[[float], object]
    until_wanted: Callable[[Callable[[], bool]], Awaitable[None]] | None = None


class Profiles(Protocol):
    """Where homes are. `door`: what stands before one that may be asked; None for one that is closed or not there.
    It is the same object for as long as nothing about it changed. `open` raises what an authorised client is told.
    """

    def door(self, name: str) -> Door | None: ...

    def open(self, name: str) -> AbstractAsyncContextManager[AtWork]: ...


@dataclass(frozen=True, eq=False, slots=True)
class Door:
    """What a profile's requests pass before its home is open. Of `services`, only that part is there."""

    name: str
    services: Services


class ProfileListener:
    """The ASGI app of a default gateway that serves the other profiles too. `group` owns what it opens."""

    def __init__(self, default: Api, profiles: Profiles, group: asyncio.TaskGroup) -> None:
        self.default = default
        self._profiles = profiles
        self._group = group
        self._open: dict[str, _Profile] = {}
        self._fronts: dict[str, tuple[Door, Api]] = {}
        self._is_draining = False
        self._context = contextvars.copy_context()
        services = default.services
        nobody = Services(
            runner=services.runner,
            keys=Patient(NoKeys(), services.clock),
            hosts=services.hosts,
            clock=services.clock,
            version=services.version,
            settings=services.settings,
            access=services.access,
            tunnel=services.tunnel,
        )
        self._closed = self._api(nobody, _unreachable)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = _PATH.match(scope["path"]) if scope["type"] in ("http", "websocket") else None
        if found is None:
            await self.default(scope, receive, send)
            return
        inner = {**scope, "path": found["rest"] or "/"}  # raw_path stays: it is for the access log
        await self._front(found["name"], inner)(inner, receive, send)

    async def drain(self, seconds: float) -> None:
        """Nothing more is opened; what is open gives its runs so long."""
        self._is_draining = True
        await asyncio.gather(*(profile.drain(seconds) for profile in self._open.values()))

    async def close(self) -> None:
        """Ends the streams and closes the homes."""
        self._is_draining = True
        await asyncio.gather(*(profile.close() for profile in self._open.values()))

    def _front(self, name: str, scope: Scope) -> Api:
        """Public pages are the process's own and the same for every name."""
        if name == DEFAULT or is_public(scope.get("method", ""), scope["path"]):
            return self.default
        door = self._profiles.door(name)
        if door is None:
            self._fronts.pop(name, None)
            return self._closed
        known = self._fronts.get(name)
        if known is None or known[0] is not door:
            known = self._fronts[name] = (door, self._api(door.services, self._router_of(name)))
        return known[1]

    def _api(self, services: Services, router: ASGIApp) -> Api:
        api = Api(services, router)
        api.gatekeeper.guesses = self.default.gatekeeper.guesses  # or an empty budget of one would tell it from others
        return api

    def _router_of(self, name: str) -> ASGIApp:
        async def route(scope: Scope, receive: Receive, send: Send) -> None:
            profile = self._asked(name)
            at_work = await asyncio.shield(profile.ready)
            with profile.serving():
                await at_work.services.look()
                await at_work.router(scope, receive, send)

        return route

    def _asked(self, name: str) -> _Profile:
        """Open, or about to be."""
        profile = self._open.get(name)
        if profile is None or profile.has_failed:
            if self._is_draining:
                raise Draining("the gateway is stopping; try again in a moment", retry_after_seconds=5)
            profile = self._open[name] = _Profile(name)
            # of its own: what the request that came first bound to the log is not the profile's
            self._group.create_task(profile.live(self._profiles.open(name)), context=self._context.copy())
        return profile


@dataclass(eq=False)
class _Profile:
    """One open home, which lives in a task of its own: what is entered there must be left there."""

    name: str
    ready: asyncio.Future[AtWork] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    is_leaving: bool = False
    _requests: int = 0
    _is_quiet: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def has_failed(self) -> bool:
        return self.closed.is_set() or (self.ready.done() and self.ready.exception() is not None)

    async def live(self, opening: AbstractAsyncContextManager[AtWork]) -> None:
        """Never raises: another profile must not end with this one."""
        try:
            async with opening as at_work:
                self.ready.set_result(at_work)
                await self._until_over(at_work)
        except Exception as error:  # noqa: BLE001 told below
            self._failed(error)
        finally:
            self.closed.set()
            if not self.ready.done():
                self.ready.cancel()

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Around a request. Raises Draining when the home is being closed."""
        if self.is_leaving:
            raise Draining(f"the profile {self.name!r} is closed for a moment; try again", retry_after_seconds=1)
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1
            if not self._requests:
                self._is_quiet.set()

    def leave(self) -> bool:
        """Nothing is asked any more from now on; False where something is at this moment, but for streams that only
        listen.
        """
        self.is_leaving = self.is_leaving or self._requests <= self.ready.result().services.http.streams
        return self.is_leaving

    async def _until_over(self, at_work: AtWork) -> None:
        if at_work.until_wanted is None:
            await self.closing.wait()
            return
        ends = [asyncio.ensure_future(self.closing.wait()), asyncio.ensure_future(at_work.until_wanted(self.leave))]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
        if self.is_leaving:
            at_work.services.stop.set()
            if self._requests:
                self._is_quiet.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._is_quiet.wait(), QUIET_SECONDS)

    async def drain(self, seconds: float) -> None:
        with suppress(HermesError, asyncio.CancelledError):
            await (await self.ready).drain(seconds)  # type: ignore[misc]

    async def close(self) -> None:
        if self.ready.done() and not self.ready.cancelled() and self.ready.exception() is None:
            self.ready.result().services.stop.set()
        self.closing.set()
        await self.closed.wait()

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, HermesError):
            log.error("profile %s broke", self.name, exc_info=error)
            error = HermesError(f"the profile {self.name!r} could not be opened; the gateway's log says why")
        elif self.ready.done():
            log.error("profile %s could not be closed in order: %s", self.name, error.message)
        if not self.ready.done():
            self.ready.set_exception(error)
            self.ready.exception()  # whoever asked may have left


class NoKeys:
    """The ring of a door that nobody has a key for."""

    async def find(self, digest: bytes) -> Principal | None:
        return None


class Patient:
    """A ring whose no takes the same time, whatever it looked into."""

    def __init__(self, keys: KeyRing, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock

    async def find(self, digest: bytes) -> Principal | None:
        began = self._clock.monotonic()
        found = await self._keys.find(digest)
        if found is None:
            await self._clock.sleep(max(0.0, began + REFUSE_SECONDS - self._clock.monotonic()))
        return found


class ProfileHosts(AllowedHosts):
    """The names of a profile's own settings, beside those of the listener it is reached through."""

    def __init__(self, listener: AllowedHosts, bound: str, allowed: list[str]) -> None:
        super().__init__(bound, allowed, learn=listener.learn)
        self._listener = listener

    def check(self, headers: list[tuple[bytes, bytes]], server: object) -> str:  # type: ignore[override]
        try:
            return self._listener.check(headers, server)  # type: ignore[arg-type]
        except HostNotAllowed:
            return super().check(headers, server)  # type: ignore[arg-type]


async def _unreachable(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("a request got past a door without keys")
