"""Link, and the gateway of the agent's home beside it, as programs that start with the machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hermes.core.errors import Conflict
from hermes.home.autostart import autostart
from hermes.home.autostart.autostart import Enabled, State
from hermes.home.autostart.entry import Program
from hermes.home.autostart.gateway import gateway_program
from hermes.home.paths import Home
from hermeslink.home import LinkHome

Service = Literal["link", "gateway"]
SERVICES: tuple[Service, ...] = ("link", "gateway")
STOP_SECONDS = 25


def link_program(home: LinkHome, hermes_root: Path, environ: Mapping[str, str]) -> Program:
    """A change of HERMESLINK_HOME or HERMES_HOME makes it another program's entry."""
    command = (sys.executable, "-P", "-m", "hermeslink", "start")
    return Program(
        name="hermes-link",
        label="com.hermes.link",
        description="Hermes Link",
        by_hand="hermeslink start",
        written_by="hermeslink autostart on",
        foreground=(*command, "--foreground"),
        background=command,
        homes={"HERMESLINK_HOME": str(home.path), "HERMES_HOME": str(hermes_root)},
        path=environ.get("PATH", ""),
        log=home.logs_dir / "link.out",
        stop_seconds=STOP_SECONDS,
    )


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        raise Conflict(
            f"what starts with the machine cannot be written ({error.strerror}){where}", code="autostart_not_written"
        ) from error


@dataclass(frozen=True, slots=True)
class Autostart:
    """Blocks on the disk, and on the system's own commands: not for the event loop.

    The gateway is left out where there is no home of an agent: Link stands in front of another server then.
    """

    home: LinkHome
    hermes_root: Path
    environ: Mapping[str, str]

    def state(self) -> dict[Service, State]:
        return {name: autostart.state(program, self.environ) for name, program in self._programs().items()}

    def enable(self, services: Sequence[Service] = SERVICES) -> dict[Service, Enabled]:
        """Starts nothing now. Raises Conflict as `autostart.enable` does, of any before the first is written, and
        `autostart_not_written`."""
        chosen = self._programs(services)
        for program in chosen.values():
            autostart.refuse(program, self.environ)
        with _named():
            return {name: autostart.enable(program, self.environ) for name, program in chosen.items()}

    def disable(self, services: Sequence[Service] = SERVICES) -> dict[Service, list[Path]]:
        """Stops nothing now. What was removed. Raises Conflict `autostart_not_written`."""
        chosen = self._programs(services)
        with _named():
            return {name: autostart.disable(program, self.environ) for name, program in chosen.items()}

    def _programs(self, services: Sequence[Service] = SERVICES) -> dict[Service, Program]:
        programs: dict[Service, Program] = {}
        if "link" in services:
            programs["link"] = link_program(self.home, self.hermes_root, self.environ)
        agent = Home(self.hermes_root)
        if "gateway" in services and agent.env_file.exists():
            programs["gateway"] = gateway_program(agent, self.environ)
        return programs
