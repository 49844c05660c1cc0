"""Which way this machine has of starting programs, and whether a program is started so."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hermes.core.errors import Conflict
from hermes.home.autostart.entry import Kind, Method, Program
from hermes.home.autostart.launchd import Launchd
from hermes.home.autostart.startup import Startup
from hermes.home.autostart.systemd import Systemd
from hermes.home.autostart.xdg import Xdg


@dataclass(frozen=True, slots=True)
class State:
    """`kind`: how it is started, or would be; None where there is no way. `file` is the entry, there or not."""

    is_enabled: bool
    kind: Kind | None
    file: Path | None

    @property
    def is_supported(self) -> bool:
        return self.kind is not None


@dataclass(frozen=True, slots=True)
class Enabled:
    """`why`: what systemd said where it did not take the unit at once; it does at the user's next login."""

    kind: Kind
    file: Path
    why: str | None = None

    @property
    def needs_linger(self) -> bool:
        """A unit of a user runs while he is logged in, unless `loginctl enable-linger` says otherwise."""
        return self.kind == "systemd" and not Path("/var/lib/systemd/linger").joinpath(_user()).exists()


def state(program: Program, environ: Mapping[str, str], platform: str = sys.platform) -> State:
    """Blocks on the disk, and where nothing is written down on systemctl."""
    for method in _known(environ, platform):
        if method.is_enabled(program):
            return State(True, method.kind, method.file(program))
    method_here = _chosen(environ, platform)
    if method_here is None:
        return State(False, None, None)
    return State(False, method_here.kind, method_here.file(program))


def text(program: Program, environ: Mapping[str, str], platform: str = sys.platform) -> str:
    """What `enable` writes; as on a machine with systemd where this one has no way."""
    return (_chosen(environ, platform) or Systemd(environ)).text(program)


def enable(program: Program, environ: Mapping[str, str], platform: str = sys.platform) -> Enabled:
    """From the next login or start of the machine on. Raises Conflict: `autostart_unsupported` where this machine has
    no way, `entry_of_another_home`. And OSError."""
    method = _of_here(program, environ, platform)
    why = method.enable(program)
    for other in _known(environ, platform):  # a desktop's entry from before there was a systemd
        if other.kind != method.kind:
            other.disable(program)
    return Enabled(method.kind, method.file(program), why)


def refuse(program: Program, environ: Mapping[str, str], platform: str = sys.platform) -> None:
    """Raises the Conflict that `enable` would, and writes nothing."""
    _of_here(program, environ, platform).refuse_another_homes(program)


def disable(program: Program, environ: Mapping[str, str], platform: str = sys.platform) -> list[Path]:
    """What runs goes on. The entries that were removed."""
    removed = [method.disable(program) for method in _known(environ, platform)]
    return [file for file in removed if file is not None]


def _known(environ: Mapping[str, str], platform: str) -> list[Method]:
    if platform == "darwin":
        return [Launchd(environ)]
    if platform == "win32":
        return [Startup(environ)]
    return [Systemd(environ), Xdg(environ)]


def _of_here(program: Program, environ: Mapping[str, str], platform: str) -> Method:
    method = _chosen(environ, platform)
    if method is None:
        raise Conflict(
            "this machine has neither a systemd nor a desktop that starts programs; have your own service manager "
            f"run: {shlex.join(program.foreground)}, or start it by hand: {program.by_hand}",
            code="autostart_unsupported",
        )
    return method


def _chosen(environ: Mapping[str, str], platform: str) -> Method | None:
    """A systemd that answers, else the desktop, else a systemd that may answer at the next login."""
    if platform in ("darwin", "win32"):
        return _known(environ, platform)[0]
    systemd, desktop = Systemd(environ), Xdg(environ)
    if systemd.is_reachable():
        return systemd
    if desktop.is_there():
        return desktop
    return systemd if systemd.is_there() else None


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an id without a name, as in containers
        return "?"
