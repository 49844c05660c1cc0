"""The gateway's process, its database, and the machine under them."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hermes.doctor.finding import Finding, Severity
from hermes.gateway import service
from hermes.gateway.background import answers
from hermes.gateway.port import other_address
from hermes.home.disk import is_read_only, mount_point, remount
from hermes.home.locks import last_gateway, running_gateway
from hermes.home.paths import Home
from hermes.home.settings import Settings
from hermes.store import nodes as node_store
from hermes.store.integrity import examine
from hermes.store.schema import HEAD

FULL_BYTES = 64 << 20
TIGHT_BYTES = 1 << 30
AHEAD_SECONDS = 300.0
"""The store may know of times so far in the future: two machines on one disk never agree exactly."""
BUILT_AT = 1_767_225_600.0
"""2026-01-01: a clock before that was never set."""


def writable(home: Home) -> Iterator[Finding]:
    """Also of a home that is not there yet: whether it can be made."""
    place = home.path
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        yield Finding("no_writing", Severity.ERROR, f"{place} is no directory, so there can be no home in {home.path}")
    elif is_read_only(place):
        mounted = mount_point(place)
        text = f"{place} cannot be written: its file system ({mounted}) is read-only; the system's log says why (dmesg)"
        yield Finding("no_writing", Severity.ERROR, text, remount(mounted))
    elif not os.access(place, os.W_OK | os.X_OK):
        text = f"this user cannot write in {place}" + ("" if place == home.path else f", so {home.path} cannot be made")
        is_ours = place.stat().st_uid == os.geteuid()
        yield Finding("no_writing", Severity.ERROR, text, f"chmod u+rwx {shlex.quote(str(place))}" if is_ours else None)


def gateway(home: Home, settings: Settings) -> Iterator[Finding]:
    process = running_gateway(home.pid_file)
    if process is None:
        left = last_gateway(home.pid_file)
        if left is not None:
            yield Finding(
                "stale_lock",
                Severity.WARNING,
                f"the last gateway (pid {left.pid}) was killed: the runs it had open are told as interrupted at the "
                "next start",
                f"{home.command} gateway start",
            )
        yield from _port(home, settings)
    elif process.url is not None and not answers(process.url):
        yield Finding(
            "silent_gateway",
            Severity.ERROR,
            f"the gateway (pid {process.pid}) does not answer at {process.url}",
            f"{home.command} gateway restart",
        )


def _port(home: Home, settings: Settings) -> Iterator[Finding]:
    api = settings.api_server
    if not api.enabled or api.port == 0:
        return
    try:
        family, kind, _, _, address = socket.getaddrinfo(api.host, api.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        yield Finding(
            "port_taken",
            Severity.ERROR,
            f"the API cannot listen on {api.host}:{api.port}: {error.strerror or error}",
            f"{home.command} config set {other_address(error, api.host, api.port)}",
        )


def unit(home: Home, environ: Mapping[str, str]) -> Iterator[Finding]:
    if service.is_installed(home, environ) and service.is_old(home, environ):
        file = service.unit_file(home, environ)
        text = f"{file} is not what this version writes: it was changed, or an older version wrote it"
        yield Finding("old_unit", Severity.WARNING, text, f"{home.command} gateway install")


def database(home: Home, settings: Settings, now: float) -> Iterator[Finding]:
    """Of the file that it is; a server's is examined by `nodes`."""
    file = node_store.file_of(settings.database.url) if settings.database.url else home.state_db
    if file is None or not file.exists():
        return
    if not file.is_file():
        text = f"{file} is no file: the database can be neither read nor made"
        yield Finding("broken_database", Severity.ERROR, text, _put_away(file))
        return
    found = examine(file)
    if found.refused is not None:
        text = f"{file} could not be examined: {found.refused}"
        yield Finding("unread_database", Severity.ERROR, text)
    elif found.problems:
        yield Finding(
            "broken_database",
            Severity.ERROR,
            f"{file} is damaged: {'; '.join(found.problems)}; restore a backup ({home.command} db restore), "
            f"or begin with an empty one; {home.command} db check tells how bad it is",
            f"{home.command} gateway stop && {_put_away(file)}",
        )
    elif found.revision is None and file.stat().st_size:
        text = f"{file} is the database of another program: no gateway starts with it"
        yield Finding("foreign_database", Severity.ERROR, text, _put_away(file))
    elif found.revision is not None and found.revision > HEAD:
        text = (
            f"{file} is of a newer version (schema {found.revision}; this one knows it up to {HEAD}): "
            "no gateway of this version starts with it"
        )
        yield Finding("newer_database", Severity.ERROR, text, "pip install --upgrade hermes-server")
    elif found.newest is not None and found.newest > now + AHEAD_SECONDS:
        hours = (found.newest - now) / 3600
        yield Finding(
            "clock",
            Severity.ERROR,
            f"the clock is {hours:.1f} h behind the last thing that happened here: jobs would wait as long",
            "timedatectl set-ntp true",
        )


def _put_away(file: Path) -> str:
    quoted = shlex.quote(str(file))
    return f"mv {quoted} {quoted}.damaged"


def disk(home: Home, *, full_bytes: int = FULL_BYTES, tight_bytes: int = TIGHT_BYTES) -> Iterator[Finding]:
    free = shutil.disk_usage(home.path).free
    if free > tight_bytes:
        return
    severity = Severity.ERROR if free <= full_bytes else Severity.WARNING
    yield Finding("disk", severity, f"{free >> 20} MB are free under {home.path}", f"du -sh {home.path}/*")


def clock(environ: Mapping[str, str], now: float) -> Iterator[Finding]:
    if now < BUILT_AT:
        yield Finding("clock", Severity.ERROR, "the clock of this machine was never set", "timedatectl set-ntp true")
    named = environ.get("TZ", "").removeprefix(":")
    if named and "/" in named and not named.startswith("/") and not _is_zone(named):
        text = f"TZ is {named}, which no time zone is called: this machine reckons in UTC"
        yield Finding("timezone", Severity.WARNING, text, "unset TZ")


def programs(home: Home, settings: Settings) -> Iterator[Finding]:
    """What tools need beside this package."""
    from hermes.toolsets.search_files import find_ripgrep

    if find_ripgrep() is None:
        text = "ripgrep (rg) is missing: the agent cannot search files"
        yield Finding("missing_program", Severity.WARNING, text, "pip install 'ripgrep>=14.1,<15'")
    shell = settings.terminal.shell
    if shell is not None and shutil.which(shell) is None:
        text = f"terminal.shell is {shell}, and there is no such program: no command can run"
        yield Finding("missing_program", Severity.ERROR, text, f"{home.command} config unset terminal.shell")
    cwd = settings.terminal.cwd
    if cwd is not None and not Path(cwd).expanduser().is_dir():
        text = f"terminal.cwd is {cwd}, and there is no such directory: no command can run"
        place = shlex.quote(str(Path(cwd).expanduser()))
        yield Finding("missing_directory", Severity.ERROR, text, f"mkdir -p {place}")


def _is_zone(name: str) -> bool:
    with suppress(ZoneInfoNotFoundError, ValueError, OSError):
        ZoneInfo(name)
        return True
    return False
