"""What is being answered, by the key that asked: it ends within a second when the key opens nothing any more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType

from starlette.types import Message, Receive

from hermes.api.auth import KeyRing, Principal
from hermes.core.errors import HermesError

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 0.5
CUT_SECONDS = 0.3
"""How long telling a client may take that reads nothing."""

Cut = Callable[[], Awaitable[None]]


class OpenRequests:
    """Looks at the keys of open requests twice a second, and only while there are some."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys
        self._held: dict[bytes, set[Held]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._look: asyncio.Task[None] | None = None

    def hold(self, principal: Principal, receive: Receive, gone: Mapping[str, object], cut: Cut) -> Held:
        """For one request: use it as a context manager and give its `receive` on. `cut` ends the answer for the
        client; `gone` is the message that tells the handler that its client has left.
        """
        return Held(self, principal.digest, receive, gone, cut)

    def add(self, held: Held) -> None:
        self._held.setdefault(held.digest, set()).add(held)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY_SECONDS, self._tick)

    def discard(self, held: Held) -> None:
        same = self._held.get(held.digest)
        if same is not None:
            same.discard(held)
            if not same:
                del self._held[held.digest]

    def _tick(self) -> None:
        self._timer = None
        if not self._held:
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LOOK_EVERY_SECONDS, self._tick)
        if self._look is None or self._look.done():
            self._look = loop.create_task(self._end_revoked())

    async def _end_revoked(self) -> None:
        for digest in tuple(self._held):
            try:
                is_good = await self._keys.find(digest) is not None
            except HermesError as error:
                log.error("the keys of open requests could not be looked up: %s", error.message)
                return
            if not is_good:
                await asyncio.gather(*(held.cut() for held in tuple(self._held.get(digest, ()))))


class Held:
    """One open request. `receive` stands in front of the server's own."""

    __slots__ = ("_cut", "_gone", "_open", "_receive", "_waiting", "digest", "is_cut")

    def __init__(
        self, open_requests: OpenRequests, digest: bytes, receive: Receive, gone: Mapping[str, object], cut: Cut
    ) -> None:
        self.digest = digest
        self.is_cut = False
        self._open = open_requests
        self._receive = receive
        self._gone = gone
        self._cut = cut
        self._waiting: asyncio.Task[object] | None = None

    def __enter__(self) -> Held:
        self._open.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.discard(self)

    async def receive(self) -> Message:
        """To the handler, a cut is its client leaving: whatever that ends (a plain chat, after its grace) ends."""
        if self.is_cut:
            return dict(self._gone)
        self._waiting = asyncio.current_task()
        try:
            return await self._receive()
        except asyncio.CancelledError:
            if not self._has_woken():
                raise
            return dict(self._gone)
        finally:
            self._waiting = None

    def _has_woken(self) -> bool:
        """Whether the cancellation was `cut`'s alone."""
        return self.is_cut and self._waiting is not None and self._waiting.uncancel() == 0

    async def cut(self) -> None:
        if self.is_cut:
            return
        self.is_cut = True
        try:
            await asyncio.wait_for(self._cut(), CUT_SECONDS)
        except TimeoutError:
            log.warning("a client whose key was revoked reads nothing; it gets no more")
        except Exception:
            log.exception("an answer could not be ended whose key was revoked")
        if self._waiting is not None:
            self._waiting.cancel()
