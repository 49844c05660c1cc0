"""What a place for commands has to say, whatever it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

Kind = Literal["near", "wrapped", "far"]
"""How a command is held and ended: `hermes.toolsets.supervisor` says it."""

SNAPSHOT_BYTES = 1 << 20


@dataclass(slots=True)
class Shell:
    """What a session's next command starts from. `state` is a directory of ours on this machine.

    `directory` is a path as commands see it; None: where a first command starts. `backend` is the one it is of.
    """

    session_id: str
    state: Path
    directory: Path | None = None
    has_environment: bool = False
    is_open: bool = False
    backend: object = None

    @property
    def environment_file(self) -> Path:
        return self.state / "environment"

    @property
    def directory_file(self) -> Path:
        return self.state / "directory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where a command starts. `enters`: the shell goes there itself, since only it sees what is there."""

    directory: Path | None
    note: str | None = None
    enters: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """`environment` is what a child of this machine gets."""

    id: str
    shell: Shell
    start: Start
    workspace: Path
    environment: Mapping[str, str]
    has_input: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What the supervisor is to start on this machine, and in which directory. `opening` goes into its input first."""

    argv: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    kind: Kind = "near"
    opening: bytes = b""


class Backend(Protocol):
    """A place where commands run.

    `shares_workspace`: the working directory is there under the same path, so that file tools see what commands see.
    `notice` is what a model has to know of it. `state` is how a script calls the directory for its snapshots, quoted.
    """

    @property
    def name(self) -> str: ...

    @property
    def shares_workspace(self) -> bool: ...

    @property
    def binds(self) -> tuple[Path, ...]:
        """Further directories that are shared."""

    @property
    def notice(self) -> str: ...

    @property
    def state(self) -> str | None:
        """None: `Shell.state`, as it is."""

    def problem(self) -> str:
        """Why it cannot work here, as far as that is seen without delay; empty when nothing is known against it."""

    async def start(self, shell: Shell, asked: str | None, workspace: Path) -> Start:
        """Make ready for a command. Raises ToolFailed with what is missing."""

    async def launch(self, command: Command, script: Path) -> Launch:
        """`script` is the file of this machine that will hold the command's script."""

    async def remember(self, shell: Shell) -> None:
        """Take the snapshot that the last command left."""

    async def end_session(self, session_id: str) -> None: ...

    async def close(self) -> None: ...
