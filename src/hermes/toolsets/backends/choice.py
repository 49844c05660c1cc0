"""Which backend the settings name."""

from __future__ import annotations

from collections.abc import Mapping

from hermes.toolsets.backends.backend import Backend
from hermes.toolsets.backends.bubblewrap import Bubblewrap, BubblewrapSettings
from hermes.toolsets.backends.docker import Docker, DockerSettings
from hermes.toolsets.backends.local import Local
from hermes.toolsets.backends.ssh import Ssh, SshSettings
from hermes.toolsets.processes import Processes

Place = BubblewrapSettings | DockerSettings | SshSettings | None
"""None: this machine, as it is."""


def build_backend(place: Place, processes: Processes, environ: Mapping[str, str], shell: str | None = None) -> Backend:
    match place:
        case BubblewrapSettings():
            return Bubblewrap(place, shell)
        case DockerSettings():
            return Docker(place, processes, environ, shell)
        case SshSettings():
            return Ssh(place, processes, environ, shell)
        case None:
            return Local(shell)
