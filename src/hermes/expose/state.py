"""What leads to a server from elsewhere, as commands, rows and doctors tell it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermes.core.errors import HermesError
from hermes.expose.exposure import Exposure
from hermes.expose.keeping import current
from hermes.expose.probe import Probe
from hermes.expose.tailscale import Mount, Tailscale


@dataclass(frozen=True, slots=True)
class State:
    """`by_hand`: what others set up at Tailscale that leads to the same server."""

    exposure: Exposure | None
    by_hand: tuple[Mount, ...] = ()

    @property
    def url(self) -> str | None:
        """The best there is."""
        if self.exposure is not None:
            return self.exposure.url
        ranked = sorted((mount for mount in self.by_hand if not mount.is_raw), key=lambda mount: not mount.is_public)
        return ranked[0].url if ranked else None

    @property
    def is_public(self) -> bool:
        is_ours = self.exposure is not None and self.exposure.via.is_public
        return is_ours or any(mount.is_public for mount in self.by_hand)

    def facts(self, probe: Probe | None, path: str = "") -> dict[str, Any]:
        """What `status --json` tells. `path` leads to the profile that was meant."""
        exposure = self.exposure
        return {
            "published": exposure is not None or bool(self.by_hand),
            "url": f"{probe.url}{path}" if probe else None,
            "via": exposure.via if exposure else None,
            "until": exposure.until if exposure else None,
            "background": exposure.is_kept_by_tool if exposure else None,
            "by_hand": [{"url": mount.url, "public": mount.is_public, "raw": mount.is_raw} for mount in self.by_hand],
            "answers": probe.has_answered if probe else None,
            "problem": (probe.problem or None) if probe else None,
            "addresses": list(probe.addresses) if probe else [],
        }


def state_of(run_dir: Path, port: int | None, environ: Mapping[str, str]) -> State:
    """`port`: of the server, None while it does not run. Asks Tailscale, where there is one: it blocks."""
    exposure, tailscale = current(run_dir, environ), Tailscale(environ)
    port = port or (exposure.port if exposure is not None else None)
    if port is None or tailscale.program() is None:
        return State(exposure)
    try:
        found = tailscale.serving().of(port)
    except HermesError:
        return State(exposure)
    our_slot = exposure.slot if exposure is not None else None
    return State(exposure, tuple(mount for mount in found if mount.is_raw or mount.slot != our_slot))
