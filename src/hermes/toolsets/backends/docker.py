"""Commands run in a container: one a session, made for its first command and gone with it.

The container's own program waits for the end of its input, which ends with this process; so does the container then.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hermes.core.errors import ToolFailed
from hermes.toolsets.backends.backend import Shell
from hermes.toolsets.backends.bubblewrap import check_workspace, hidden
from hermes.toolsets.backends.far import READY, Far
from hermes.toolsets.processes import Process, Processes, is_same
from hermes.toolsets.supervisor import stat_of

LABEL = "hermes.owner"
"""Its value says which process made the container: pid, and when that started."""
START_SECONDS = 120.0
"""An image may have to be fetched first."""
MOST_IDLE = 8
"""Containers that stay although nothing runs in them, over all sessions; the one used longest ago goes first."""
WAITS = f"import sys; print('{READY}', flush=True); sys.stdin.read()"


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerSettings:
    """`shares_workspace`: the working directory is mounted under its own path. `home`: HERMES_HOME, never mounted."""

    image: str
    network: bool = False
    memory: str | None = None
    shares_workspace: bool = True
    home: Path | None = None


class Docker(Far):
    name = "docker"

    def __init__(
        self, settings: DockerSettings, processes: Processes, environ: Mapping[str, str], shell: str | None = None
    ) -> None:
        super().__init__(processes, environ, shell)
        self._settings = settings
        self._containers: dict[str, tuple[str, Process, Path]] = {}
        """Session → the container's name, its carrier, its workspace; in the order of their last use."""

    @property
    def shares_workspace(self) -> bool:  # type: ignore[override]
        return self._settings.shares_workspace

    @property
    def notice(self) -> str:  # type: ignore[override]
        network = "" if self._settings.network else " without network"
        return f"Commands run in a container ({self._settings.image}){network}, which lasts as long as the session."

    def problem(self) -> str:
        if shutil.which("docker", path=self._environment["PATH"]) is None:
            return "terminal.backend is docker, and there is no docker program"
        return ""

    def renewal(self) -> str:
        return "this is a new container: what was changed outside of the working directory of the last one is gone"

    async def open(self, shell: Shell, workspace: Path) -> bool:
        known = self._containers.pop(shell.session_id, None)
        if known is not None and known[1].is_running and known[2] == workspace:
            self._containers[shell.session_id] = known
            return False
        if known is not None:
            await self._remove(known)
        if self._settings.shares_workspace:
            check_workspace(workspace, self._settings.home)
        await self._drop_idle()
        name = f"hermes-{secrets.token_hex(6)}"
        process = await self.carry(name, tuple(self._run_words(name, workspace)), START_SECONDS)
        self._containers[shell.session_id] = (name, process, workspace)
        return True

    def client(self, session_id: str, words: Sequence[str]) -> tuple[str, ...]:
        return "docker", "exec", "-i", self._containers[session_id][0], *words

    def first_directory(self, workspace: Path) -> Path | None:
        return workspace if self._settings.shares_workspace else None

    async def end_session(self, session_id: str) -> None:
        known = self._containers.pop(session_id, None)
        if known is not None:
            await self._remove(known)

    async def close(self) -> None:
        known = list(self._containers.values())
        self._containers.clear()
        await self._remove(*known)

    async def _remove(self, *known: tuple[str, Process, Path]) -> None:
        """A client that is ended takes its container along. Should it not, or not at once, this does."""
        for _, process, _ in known:
            await self.drop(process)
        if known:
            with suppress(ToolFailed):
                await self.ask(("docker", "rm", "-f", *(name for name, _, _ in known)))

    def _run_words(self, name: str, workspace: Path) -> Iterator[str]:
        settings = self._settings
        yield from ("docker", "run", "--rm", "-i", "--init", "--name", name, "--label", f"{LABEL}={owner()}")
        yield from ("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", "1024")
        if not settings.network:
            yield from ("--network", "none")
        if settings.memory:
            yield from ("--memory", settings.memory)
        if settings.shares_workspace:  # what is written there belongs to who runs this
            real = os.path.realpath(workspace)
            yield from ("--user", f"{os.getuid()}:{os.getgid()}", "-e", "HOME=/tmp")
            yield from ("--mount", f"type=bind,source={real},target={workspace}", "--workdir", str(workspace))
            for path in hidden(settings.home):
                if Path(real) in path.parents:
                    there = workspace / path.relative_to(real)
                    what = "type=tmpfs" if path.is_dir() else "type=bind,source=/dev/null,readonly"
                    yield from ("--mount", f"{what},target={there}")
            skills = settings.home / "skills" if settings.home is not None else None
            if skills is not None and skills.is_dir():  # their scripts are there to be run
                yield from ("--mount", f"type=bind,source={skills},target={skills},readonly")
        yield from ("--entrypoint", "python3", settings.image, "-I", "-S", "-c", WAITS)

    async def _drop_idle(self) -> None:
        idle = [
            session_id
            for session_id in self._containers
            if not any(process.is_running for process in self._processes.of_session(session_id))
        ]
        for session_id in idle[: max(0, len(idle) - MOST_IDLE + 1)]:
            await self.end_session(session_id)


def owner() -> str:
    stat = stat_of(os.getpid())
    return f"{os.getpid()}-{stat[2] if stat else 0}"


def remove_leftovers(environ: Mapping[str, str], seconds: float = 20.0) -> int:
    """Remove containers of ours whose process is gone; how many. Blocks. Raises ToolFailed where docker is silent."""
    listed = _docker(
        environ,
        seconds,
        "ps",
        "-a",
        "--filter",
        f"label={LABEL}",
        "--format",
        f'{{{{.Names}}}} {{{{.Label "{LABEL}"}}}}',
    )
    left = []
    for line in listed.splitlines():
        name, _, made_by = line.partition(" ")
        pid, _, start = made_by.partition("-")
        if name and pid.isdigit() and start.isdigit() and not is_same(int(pid), int(start)):
            left.append(name)
    if left:
        _docker(environ, seconds, "rm", "-f", *left)
    return len(left)


def _docker(environ: Mapping[str, str], seconds: float, *words: str) -> str:
    try:
        done = subprocess.run(
            ("docker", *words),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            stdin=subprocess.DEVNULL,
            env=dict(environ),
        )
    except FileNotFoundError:
        raise ToolFailed("there is no docker program") from None
    except subprocess.TimeoutExpired:
        raise ToolFailed(f"docker did not answer within {seconds:g} s") from None
    if done.returncode != 0:
        raise ToolFailed(" ".join(done.stderr.split())[-600:] or f"docker {words[0]} ended with {done.returncode}")
    return done.stdout
