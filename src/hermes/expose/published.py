"""What a server's door asks: by which names it is published now, and whether a tunnel stands in front of it.

Every request may ask: it costs one `stat`. A Funnel that somebody set up by hand is learned when somebody calls by its
name; Tailscale is asked in a thread, and not again within some seconds.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hermes.core.errors import HermesError
from hermes.core.peers import Tunnel
from hermes.expose.exposure import Exposure, ExposureFile
from hermes.expose.tailscale import Mount, Tailscale

LOOK_SECONDS = 5.0
"""How long a process that keeps a tunnel may be dead before its tunnel is taken for gone."""
ASK_AGAIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class PublicUrl:
    """`is_public`: for everybody; else for the tailnet alone."""

    url: str
    is_public: bool


class Published:
    """`run_dir`: of the home whose server this is. `now` in unix seconds."""

    def __init__(
        self,
        run_dir: Path,
        environ: Mapping[str, str] | None = None,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = ExposureFile(run_dir)
        self._path = os.fspath(self._file.path)
        self._environ = os.environ if environ is None else environ
        self._now = now
        self._monotonic = monotonic
        self._stamp: tuple[int, int] | None = None
        self._looked_at = 0.0
        self._standing: Exposure | None = None
        self._own_name: str | None = None
        self._by_hand: tuple[Mount, ...] = ()
        self._asked_at: float | None = None
        self._asking = asyncio.Lock()

    def exposure(self) -> Exposure | None:
        """What this home's own command published, while it is."""
        found = self._look()
        return found if found is not None and found.is_open(self._now()) else None

    def _look(self) -> Exposure | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 a Path's own takes thrice as long
        except OSError:
            self._stamp = self._standing = None
            return None
        stamp, now = (found.st_mtime_ns, found.st_ino), self._monotonic()
        if stamp != self._stamp or now - self._looked_at >= LOOK_SECONDS:
            self._standing = self._file.standing()
            self._stamp, self._looked_at = stamp, now
        return self._standing

    def tunnel(self) -> Tunnel:
        """From before its program starts until that has ended."""
        found = self._look()
        if found is None:
            return "none"
        return "named" if found.via.names_clients else "nameless"

    def names(self) -> frozenset[str]:
        """By which it may be called, in lower case."""
        exposure = self.exposure()
        learned = {mount.host for mount in self._by_hand} | {self._own_name or ""}
        return frozenset(learned | ({exposure.host} if exposure else set())) - {""}

    def urls(self) -> tuple[PublicUrl, ...]:
        """What this home's command published first, then what was set up by hand, as far as it was learned."""
        exposure = self.exposure()
        own = [PublicUrl(exposure.url, exposure.via.is_public)] if exposure is not None else []
        return tuple(dict.fromkeys([*own, *(PublicUrl(mount.url, mount.is_public) for mount in self._by_hand)]))

    async def learn(self, name: str, port: int) -> bool:
        """Whether Tailscale knows this machine by `name`, or has something set up at it that leads to `port`."""
        if not name.endswith(".ts.net"):
            return False
        async with self._asking:
            if self._asked_at is None or self._monotonic() - self._asked_at >= ASK_AGAIN_SECONDS:
                self._asked_at = self._monotonic()
                await asyncio.to_thread(self._ask, port)
        return name in self.names()

    def _ask(self, port: int) -> None:
        tailscale = Tailscale(self._environ)
        if tailscale.program() is None:
            return
        try:
            self._own_name = tailscale.own_name()
            self._by_hand = tuple(mount for mount in tailscale.serving().of(port) if not mount.is_raw)
        except HermesError:
            pass  # it has no name now, and whoever called by one is told that it is not known
