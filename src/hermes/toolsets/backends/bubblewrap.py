"""Commands run in a sandbox of this machine: all of it is there to read, the working directory to write.

What is not there: the network (unless it is allowed), HERMES_HOME, the person's keys, and `/run` with the sockets by
which a command could ask a daemon to do what it may not do itself. No capability is left, so nothing can be unmounted.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hermes.core.errors import ToolFailed
from hermes.toolsets.backends.backend import Command, Launch, Shell, Start
from hermes.toolsets.backends.local import begin, find_shell, take_snapshot

SYSTEM = frozenset(
    Path(path)
    for path in (
        *("/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/opt", "/proc", "/run", "/sbin"),
        *("/sys", "/tmp", "/usr", "/usr/bin", "/usr/lib", "/usr/local", "/var", "/var/lib", "/var/tmp"),  # noqa: S108
    )
)
"""No workspace: with one of these writable there is no sandbox."""

KEYS = (
    *(".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".config/gcloud", ".config/gh", ".config/hub", ".netrc"),
    *(".local/share/keyrings", ".pgpass", ".git-credentials", ".pypirc", ".my.cnf", ".vault-token", ".npmrc"),
    *(".password-store", ".mozilla", ".config/google-chrome", ".config/chromium", ".config/BraveSoftware", ".hermes"),
)
"""What of the person's home is covered."""

PASSWORDS = tuple(
    Path("/etc") / name for name in ("shadow", "shadow-", "gshadow", "gshadow-", "sudoers", "krb5.keytab")
)
"""What a server that runs as root could read; beside the keys of the host, for ssh."""

OWN = "/run/hermes"
RESOLVERS = ("/run/systemd/resolve/stub-resolv.conf", "/run/NetworkManager/resolv.conf", "/run/resolvconf/resolv.conf")


@dataclass(frozen=True, slots=True, kw_only=True)
class BubblewrapSettings:
    """`binds`: further directories that commands may write. They see neither HERMES_HOME nor what is `hidden`."""

    network: bool = False
    binds: tuple[Path, ...] = ()
    home: Path | None = None
    hidden: tuple[Path, ...] = ()


class Bubblewrap:
    name = "bubblewrap"
    shares_workspace = True
    state: str | None = f"{OWN}/shell"

    def __init__(self, settings: BubblewrapSettings, shell: str | None = None) -> None:
        self._settings = settings
        self._shell = find_shell(shell)
        self._problem: str | None = None

    @property
    def binds(self) -> tuple[Path, ...]:
        return self._settings.binds

    @property
    def notice(self) -> str:
        network = "" if self._settings.network else "no network, "
        return (
            f"Commands run in a sandbox: {network}only the working directory and /tmp are writable. What a command "
            "leaves running ends with it, unless background=true."
        )

    def problem(self) -> str:
        if self._problem is None:
            said = find_problem()
            self._problem = f"terminal.backend is bubblewrap, and {said}" if said else ""
        return self._problem

    async def start(self, shell: Shell, asked: str | None, workspace: Path) -> Start:
        check_workspace(workspace, self._settings.home)
        await asyncio.to_thread(self._prepare, shell)
        last = shell.directory or workspace
        if asked is not None:
            return Start(directory=last / os.path.expanduser(asked), enters=True)  # noqa: ASYNC240, PTH111 - reads no disk
        return Start(directory=last, enters=True)

    async def launch(self, command: Command, script: Path) -> Launch:
        tmp = command.shell.state.parent / "tmp"
        argv = [*sandbox(self._settings, command.workspace, tmp)]
        argv += ("--bind", str(command.shell.state), f"{OWN}/shell", "--ro-bind", str(script), f"{OWN}/script")
        argv += ("--remount-ro", "/run", "--chdir", "/", "--", *self._shell, f"{OWN}/script")
        environment = dict(command.environment)
        return Launch(argv=tuple(argv), directory=command.shell.state.parent, environment=environment, kind="wrapped")

    async def remember(self, shell: Shell) -> None:
        await asyncio.to_thread(take_snapshot, shell)

    async def end_session(self, session_id: str) -> None:
        return

    async def close(self) -> None:
        return

    def _prepare(self, shell: Shell) -> None:
        begin(shell)
        (shell.state.parent / "tmp").mkdir(mode=0o700, exist_ok=True)


def sandbox(settings: BubblewrapSettings, workspace: Path, tmp: Path) -> Iterator[str]:
    """The words of a `bwrap` command, in the order in which it mounts: what comes later lies over what came before."""
    yield from ("bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL")
    if settings.network:
        yield "--share-net"
    # what is set in /proc/sys is root's to write, without any capability: kernel.core_pattern would be a way out
    yield from ("--ro-bind", "/", "/", "--proc", "/proc", "--ro-bind-try", "/proc/sys", "/proc/sys")
    yield from ("--dev", "/dev", "--tmpfs", "/run")
    yield from ("--ro-bind-try", "/run/current-system", "/run/current-system")
    if settings.network:
        for file in RESOLVERS:
            yield from ("--ro-bind-try", file, file)
    yield from ("--bind", str(tmp), "/tmp", "--bind", str(tmp), "/var/tmp")  # noqa: S108
    writable = [Path(os.path.realpath(path)) for path in (workspace, *settings.binds)]
    passwords = (*PASSWORDS, *Path("/etc/ssh").glob("ssh_host_*_key"))
    files = (*settings.hidden, *(path for path in passwords if os.access(path, os.R_OK)))
    covered = {*hidden(settings.home), *(Path(os.path.realpath(path)) for path in files if path.exists())}
    # A parent before what is in it: so the home is covered in a workspace around it, and a workspace in it is there.
    for path in sorted({*writable, *covered}, key=lambda path: (len(path.parts), str(path))):
        if path not in covered:
            yield from ("--bind", str(path), str(path))
        elif path.is_dir():
            yield from ("--tmpfs", str(path))
        else:
            yield from ("--ro-bind", "/dev/null", str(path))
    if settings.home is not None:  # their scripts are there to be run
        skills = str(settings.home / "skills")
        yield from ("--ro-bind-try", skills, skills)


def hidden(home: Path | None) -> Iterator[Path]:
    """What there is of HERMES_HOME and of the person's keys, links resolved."""
    for place in (Path.home() / name for name in KEYS):
        if place.exists():
            yield Path(os.path.realpath(place))
    if home is not None:
        own = Path(os.path.realpath(home))
        root = own.parent.parent if own.parent.name == "profiles" else own
        if root.exists():
            yield root


def check_workspace(workspace: Path, home: Path | None) -> None:
    """Raises ToolFailed for a directory that cannot be given away."""
    real = Path(os.path.realpath(workspace))
    if not real.is_dir():
        raise ToolFailed(f"The working directory {workspace} is gone; the setting terminal.cwd names another.")
    covered = set(hidden(home))
    if real in SYSTEM or real in covered or covered.intersection(real.parents):
        raise ToolFailed(
            f"{workspace} cannot be the working directory of a sandbox, which may write all of it; "
            "the setting terminal.cwd names another."
        )


def find_problem() -> str:
    """Why there is no sandbox on this machine, found by making one; empty when it works. Blocks for some 10 ms."""
    if sys.platform != "linux":
        return "it needs Linux"
    if shutil.which("bwrap") is None:
        return "there is no bwrap program: apt install bubblewrap"
    said = _tried(("bwrap", "--unshare-all", "--cap-drop", "ALL", "--ro-bind", "/", "/", "--proc", "/proc", "true"))
    return "" if said is None else f"this system makes no sandbox: {said}"


def _tried(argv: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else done.stderr.strip() or f"bwrap ended with {done.returncode}"
