"""What is published now, as `run/expose.json` of a home says. The lock beside it says whether its tunnel lives: the
process that keeps it holds the lock, and so does the tunnel's own program, which inherits it.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from hermes.core.errors import Conflict, InvalidInput
from hermes.home.files import make_private_directory, write_private
from hermes.home.locks import is_locked, take_lock

MAX_SECONDS = 30 * 86_400
_PART = re.compile(r"(\d{1,9})\s*([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Via(StrEnum):
    """How it gets out. `tailscale` is Funnel, for everybody; `tailscale-serve` is for one's own tailnet alone."""

    TAILSCALE = "tailscale"
    TAILSCALE_SERVE = "tailscale-serve"
    CLOUDFLARED = "cloudflared"
    COMMAND = "command"

    @property
    def is_tailscale(self) -> bool:
        return self in (Via.TAILSCALE, Via.TAILSCALE_SERVE)

    @property
    def is_public(self) -> bool:
        return self is not Via.TAILSCALE_SERVE

    @property
    def names_clients(self) -> bool:
        """It says in X-Forwarded-For who is behind it, whatever the client wrote there. Nobody knows that of a
        command."""
        return self is not Via.COMMAND


@dataclass(frozen=True, slots=True)
class Exposure:
    """`url` is empty while it is being opened. `port`: of the server on loopback. `slot`: the HTTPS port of Tailscale.
    `pid`: who keeps it; None where the tool does so by itself (Funnel's `--bg`). `pid_stamp` tells it from a later
    process of that number. `tool_pid`: the tunnel's program. Times in unix seconds."""

    url: str
    via: Via
    port: int
    started_at: float
    until: float | None = None
    slot: int | None = None
    pid: int | None = None
    pid_stamp: str | None = None
    tool_pid: int | None = None

    @property
    def host(self) -> str:
        return (urllib.parse.urlsplit(self.url).hostname or "").lower()

    @property
    def is_kept_by_tool(self) -> bool:
        return self.pid is None

    def is_open(self, now: float) -> bool:
        return bool(self.url) and (self.until is None or now < self.until)


class ExposureFile:
    """Of one home. A home publishes one thing at a time."""

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / "expose.json"
        self.lock_path = run_dir / "expose.lock"

    def current(self, now: float) -> Exposure | None:
        """None where nothing is published, its time is over, or its process was killed."""
        found = self.standing()
        return found if found is not None and found.is_open(now) else None

    def standing(self) -> Exposure | None:
        """What may let somebody in: also while it is being opened, and while its program takes its time to end."""
        found = self.read()
        if found is None:
            return None
        return found if found.is_kept_by_tool or is_locked(self.lock_path) else None

    def read(self) -> Exposure | None:
        """What it says, whether that is still so or not. A file that is none says nothing."""
        try:
            data = json.loads(self.path.read_text("utf-8"))
            return Exposure(**{**data, "via": Via(data["via"])})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, exposure: Exposure) -> None:
        make_private_directory(self.path.parent)
        write_private(self.path, json.dumps(asdict(exposure)) + "\n")

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def hold(self) -> int:
        """A file handle that keeps the lock. Raises Conflict `expose_running` where another process publishes."""
        make_private_directory(self.lock_path.parent)
        handle = take_lock(self.lock_path)
        if handle is None:
            raise Conflict("it is published already, or is just being published", code="expose_running")
        return handle

    @property
    def is_held(self) -> bool:
        return is_locked(self.lock_path)


def seconds_of(text: str) -> float:
    """Of `2h`, `90m` or `1h30m`. Raises InvalidInput."""
    parts = _PART.findall(text.strip().lower())
    seconds = sum(int(number) * _UNITS[unit] for number, unit in parts)
    if "".join(f"{number}{unit}" for number, unit in parts) != re.sub(r"\s", "", text.lower()) or seconds <= 0:
        raise InvalidInput(f"{text!r} is no time: write 30m, 2h or 1d", param="for")
    if seconds > MAX_SECONDS:
        raise InvalidInput("for how long: at most 30d; without an end: --background", param="for")
    return float(seconds)
