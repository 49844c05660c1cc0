"""Where commands can run: what this machine has for each backend, and whether the one that is configured works."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hermes.doctor.finding import Finding, Severity
from hermes.home.paths import Home
from hermes.home.settings import Settings

if TYPE_CHECKING:
    from hermes.toolsets.backends.ssh import SshSettings

SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Place:
    """`problem` is empty where commands can run."""

    name: str
    problem: str = ""


def places(home: Home, settings: Settings, environ: Mapping[str, str]) -> tuple[Place, ...]:
    """Every backend with what is in its way. The other machine is only reached when it is the one configured."""
    from hermes.toolsets.backends import bubblewrap
    from hermes.toolsets.backends.local import Local

    return (
        Place("local", Local().problem()),
        Place("bubblewrap", bubblewrap.find_problem()),
        Place("docker", _docker(environ)),
        Place("ssh", _ssh(home, settings, environ)),
    )


def backends(home: Home, settings: Settings, found: tuple[Place, ...]) -> Iterator[Finding]:
    chosen = next(place for place in found if place.name == settings.terminal.backend)
    if chosen.problem:
        text = f"commands are to run in {chosen.name}, and none can: {chosen.problem}"
        yield Finding("backend", Severity.ERROR, text, f"{home.command} config unset terminal.backend")


def _docker(environ: Mapping[str, str]) -> str:
    docker = shutil.which("docker", path=environ.get("PATH", os.defpath))
    if docker is None:
        return "there is no docker program"
    return _tried((docker, "version", "--format", "{{.Server.Version}}"), environ)


def _ssh(home: Home, settings: Settings, environ: Mapping[str, str]) -> str:
    from hermes.app.toolsets import place_of
    from hermes.toolsets.backends.ssh import SshSettings

    ssh = shutil.which("ssh", path=environ.get("PATH", os.defpath))
    if ssh is None:
        return "there is no ssh program"
    if not settings.terminal.ssh.host:
        return "terminal.ssh.host is not set"
    place = place_of(settings, home)
    return _connected(ssh, place, environ) if isinstance(place, SshSettings) else ""


def _connected(ssh: str, place: SshSettings, environ: Mapping[str, str]) -> str:
    from hermes.toolsets.backends.ssh import connecting

    wanted = shlex.join(("python3", "-c", "import os; os.waitstatus_to_exitcode"))
    said = _tried((ssh, *connecting(place), "--", place.host, wanted), environ)
    is_without_python = "python3" in said or "waitstatus" in said
    return f"{place.host} has no python3 of version 3.9 or newer: {said}" if is_without_python else said


def _tried(argv: tuple[str, ...], environ: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(
            argv,
            env=dict(environ),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{argv[0]} did not answer within {SECONDS:g} s"
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else " ".join(done.stderr.split())[-300:] or f"{argv[0]} failed"
