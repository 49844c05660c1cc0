"""What starts with the machine, and what every way of having that done has in common: a file of the user's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from hermes.core.errors import Conflict
from hermes.home.files import write_private

Kind = Literal["systemd", "xdg", "launchd", "windows-startup"]


@dataclass(frozen=True, slots=True)
class Program:
    """`foreground` and `background` are argument lists: for who looks after a process, and for who only starts one.

    `homes` are the variables that say whose data it works on: an entry with others is somebody else's. `path` is where
    the shell found programs; a login may know fewer. `by_hand` and `written_by` are what a person types. `log`: where
    what it prints goes, where nobody else keeps it.
    """

    name: str
    label: str
    description: str
    by_hand: str
    written_by: str
    foreground: tuple[str, ...]
    background: tuple[str, ...]
    homes: Mapping[str, str]
    path: str
    log: Path
    stop_seconds: int


class Method(ABC):
    """One way of it. Blocks on the disk, and on the system's own command where there is one."""

    kind: ClassVar[Kind]

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ

    @abstractmethod
    def file(self, program: Program) -> Path: ...

    @abstractmethod
    def text(self, program: Program) -> str: ...

    @abstractmethod
    def belongs(self, text: str, program: Program) -> bool:
        """Whether a file with this text is of this program and these homes."""

    def is_written(self, program: Program) -> bool:
        text = self.read(program)
        return text is not None and self.belongs(text, program)

    def is_enabled(self, program: Program) -> bool:
        """Whether it will be started, as far as the files tell."""
        return self.is_written(program)

    def enable(self, program: Program) -> str | None:
        """From the next start of the machine on; now, nothing is started. What the system refused, None when nothing.

        Raises Conflict as `refuse_another_homes` does, and OSError.
        """
        self.refuse_another_homes(program)
        file = self.file(program)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_private(file, self.text(program))
        return None

    def refuse_another_homes(self, program: Program) -> None:
        """Raises Conflict `entry_of_another_home` where there is an entry of that name and other homes."""
        if self.read(program) is not None and not self.is_written(program):
            raise Conflict(
                f"{self.file(program)} belongs to another home; remove it first, or give this home another name",
                code="entry_of_another_home",
            )

    def disable(self, program: Program) -> Path | None:
        """What runs goes on. The file that was removed, None where there was none of this program."""
        if not self.is_written(program):
            return None
        file = self.file(program)
        file.unlink(missing_ok=True)
        return file

    def read(self, program: Program) -> str | None:
        try:
            return self.file(program).read_text("utf-8", "replace")
        except OSError:
            return None

    def user_home(self) -> Path:
        return Path(self.environ.get("HOME") or Path.home())

    def config_home(self) -> Path:
        named = self.environ.get("XDG_CONFIG_HOME", "")
        return Path(named) if named.startswith("/") else self.user_home() / ".config"
