"""Where Link keeps what it has: HERMESLINK_HOME, `~/.hermeslink`. The home of the agent is another one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hermes.home.files import make_private_directory, too_open
from hermes.home.paths import resolve_home


@dataclass(frozen=True, slots=True)
class LinkHome:
    """Nothing here says that the files exist."""

    path: Path

    @property
    def config_file(self) -> Path:
        return self.path / "config.json"

    @property
    def identity_file(self) -> Path:
        return self.path / "identity.json"

    @property
    def install_id_file(self) -> Path:
        return self.path / "install-id"

    @property
    def database_file(self) -> Path:
        return self.path / "link.db"

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self.database_file}"

    @property
    def updates_file(self) -> Path:
        """What the package index said last."""
        return self.path / "updates.json"

    @property
    def profiles_file(self) -> Path:
        """Which profile had which name when it was looked last."""
        return self.path / "profiles.json"

    @property
    def creation_file(self) -> Path:
        """How the last creation of a profile went."""
        return self.path / "profile-creation.json"

    @property
    def blobs_dir(self) -> Path:
        return self.path / "blobs"

    @property
    def logs_dir(self) -> Path:
        return self.path / "logs"

    @property
    def log_file(self) -> Path:
        return self.logs_dir / "link.log"

    @property
    def run_dir(self) -> Path:
        """What lives as long as a process does."""
        return self.path / "run"

    @property
    def pid_file(self) -> Path:
        return self.run_dir / "link.pid"

    def make(self) -> None:
        """The folders, for their owner alone. A home that was there and is open to others is only told, by doctor."""
        for directory in (self.path, self.blobs_dir, self.logs_dir, self.run_dir):
            make_private_directory(directory)

    def too_open(self) -> list[str]:
        """What of it others on this machine can read, one sentence each."""
        files = (self.config_file, self.identity_file, self.database_file)
        return too_open((self.path, *files, self.blobs_dir, self.logs_dir, self.run_dir))


def link_home(environ: Mapping[str, str] | None = None) -> LinkHome:
    environ = os.environ if environ is None else environ
    user = Path(environ.get("HOME") or Path.home())
    named = environ.get("HERMESLINK_HOME", "").strip()
    if named == "~" or named.startswith("~/"):
        named = str(user) + named[1:]
    return LinkHome(Path(named).absolute() if named else user / ".hermeslink")


def hermes_root(environ: Mapping[str, str] | None = None) -> Path:
    """The home of the agent that holds its profiles. Raises ConfigError where the profile in use is gone."""
    return resolve_home(None, environ).root
