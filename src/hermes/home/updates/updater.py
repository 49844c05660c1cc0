"""The process that updates: `python -m hermes.home.updates.updater JOB VERSION newest|exactly`, with HERMES_HOME set.

install → look which version there is → stop what runs → copy the databases → start it again → look whether it is well.
When that fails, the version of before comes back by the same installer, and so does what it needs to run
(docs/adr/0140). Everything it imports it imports at its start: the files of this program change under it.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hermes.core.errors import ConfigError, Conflict, HermesError
from hermes.core.redact import Redactor, is_secret_name
from hermes.home.env import read_env
from hermes.home.files import make_private_directory, open_private
from hermes.home.locks import NodeLock, running_gateway
from hermes.home.own_process import blank
from hermes.home.paths import Home
from hermes.home.profiles import list_profiles
from hermes.home.settings import load_settings
from hermes.home.updates.installation import Command, Installation, UpdateRefused, checked, this_installation
from hermes.home.updates.installer import end_group, installer_environment, printable, version_in_place
from hermes.home.updates.updating import (
    MAX_LINE_CHARS,
    MAX_LINES,
    UpdateFiles,
    UpdateState,
    UpdateStatus,
    keep_status,
    kept_status,
)

INSTALL_SECONDS = 1800.0
"""Of a large package over a slow line."""
COMMAND_SECONDS = 900.0
"""A gateway lets its open runs end before it stops."""
SETTLE_SECONDS = 2.0
"""Who came up and fell over at once was not well."""
SPARE_BYTES = 64 << 20
"""What stays free beside the copies of the databases."""


class Failed(HermesError):
    """A step did not work; the message goes on after "0.2.0: "."""


@dataclass(frozen=True, slots=True)
class Service:
    """Something of ours that ran: `command` and `start`, `stop` or `status --json` behind it are how it is asked."""

    name: str
    command: tuple[str, ...]
    pid: int
    environ: Mapping[str, str] = field(default_factory=dict)
    is_link: bool = False


class Journal:
    """What the file says. A full disk keeps it from being written, and nothing else."""

    def __init__(self, files: UpdateFiles, status: UpdateStatus, redactor: Redactor) -> None:
        self._files = files
        self._redactor = redactor
        self.status = status
        self._keep()

    def say(self, line: str) -> None:
        line = self._clean(line.rstrip())[:MAX_LINE_CHARS]
        if line:
            told = self.status
            self._change(line_count=told.line_count + 1, lines=(*told.lines, line)[-MAX_LINES:])

    def enter(self, stage: str) -> None:
        self._change(stage=stage)

    def exit_code(self, code: int) -> None:
        self._change(exit_code=code)

    def end(self, state: UpdateState, error: str | None = None, manual_command: str | None = None) -> None:
        if error:
            self.say(error)
        self._change(
            state=state,
            stage="",
            error=error and self._clean(error),
            finished_at=time.time(),
            manual_command=manual_command,
        )

    def _clean(self, text: str) -> str:
        return printable(self._redactor(text))

    def _change(self, **changes: Any) -> None:
        self.status = replace(self.status, number=self.status.number + 1, **changes)
        self._keep()

    def _keep(self) -> None:
        with suppress(OSError):
            keep_status(self._files, self.status)


class Updater:
    def __init__(
        self, root: Path, installation: Installation, journal: Journal, environ: Mapping[str, str], *, is_newest: bool
    ) -> None:
        self._root = root
        self._files = UpdateFiles.of(root)
        self._installation = installation
        self._journal = journal
        self._environ = dict(environ)
        self._is_newest = is_newest
        self._target = journal.status.target_version or ""
        self._before = journal.status.from_version or ""
        self._services: list[Service] = []
        self._databases: list[Path] = []
        self._copies: dict[Path, Path] = {}

    def run(self) -> None:
        """Never raises: the file says how it ended."""
        try:
            self._update()
        except Exception as error:  # noqa: BLE001 there is nobody else to tell
            self._end_failed(_told(error))

    def _update(self) -> None:
        journal = self._journal
        journal.enter("looking at what runs")
        self._services = [*_gateways(self._root, self._environ), *self._link()]
        if any(service.pid == 1 for service in self._services):
            raise Failed("this runs in a container: take a newer image, and make the container anew")
        self._databases = self._find_databases()
        self._check_room()
        names = ", ".join(service.name for service in self._services) or "nothing"
        journal.say(f"{self._before} -> {self._target}; running: {names}")
        try:
            self._install(self._new_command(), self._target)
            if self._services:
                self._change_over()
        except Exception as error:  # noqa: BLE001 whatever it was, the old version has to come back
            self._roll_back(error)
            return
        shutil.rmtree(self._files.copies, ignore_errors=True)
        journal.end(UpdateState.SUCCEEDED)

    def _new_command(self) -> Command:
        if self._is_newest:
            return self._installation.update(self._target)
        return self._installation.exactly(self._target)

    def _change_over(self) -> None:
        self._stop()
        self._copy_databases()
        self._start()
        self._check_health(self._target)

    def _roll_back(self, error: Exception) -> None:
        """Raises where that does not work either."""
        why = _told(error)
        self._journal.say(f"{self._target}: {why}")
        try:
            how = self._bring_back()
        except Exception as problem:
            raise Failed(f"{why}; and {self._before} could not be brought back: {_told(problem)}") from problem
        shutil.rmtree(self._files.copies, ignore_errors=True)
        self._end_failed(f"{why}; {how}")

    def _bring_back(self) -> str:
        if _version_there(self._installation, self._environ) == self._before:
            self._start()
            return f"{self._before} is still there"
        self._stop_what_can_be()
        code = self._journal.status.exit_code
        self._install(self._installation.exactly(self._before), self._before)
        if code is not None:
            self._journal.exit_code(code)
        self._stop_what_can_be()  # the commands of a broken version may be broken, too
        try:
            self._start()
            self._check_health(self._before)
            return f"rolled back to {self._before}"
        except HermesError as problem:
            if not self._copies:
                raise
            self._journal.say(problem.message)
        self._stop_what_can_be()
        self._put_databases_back()
        self._start()
        self._check_health(self._before)
        aside = f"what {self._target} made of them lies beside them (.of-{self._target})"
        return f"rolled back to {self._before}, with the databases of before; {aside}"

    def _end_failed(self, error: str) -> None:
        """The command is the one that brings the newer version, or, where the old one did not come back, that one."""
        there = _version_there(self._installation, self._environ)
        wanted = self._target if there == self._before else self._before
        self._journal.end(UpdateState.FAILED, error, self._installation.by_hand(wanted))

    # -- the installer -------------------------------------------------------------------------------------------------

    def _install(self, command: Command, version: str) -> None:
        self._journal.enter(f"installing {version}")
        code = self._run(command.arguments, installer_environment(self._environ), INSTALL_SECONDS, self._journal.say)
        self._journal.exit_code(code)
        if code:
            raise Failed(f"the installer ended with exit code {code}")
        self._journal.enter("looking which version there is")
        there = _version_there(self._installation, self._environ)
        if there != version:
            raise Failed(
                f"the installer succeeded, and {there or 'no version'} is there: it may be pinned; look at how it was "
                "installed"
            )

    def _run(
        self, arguments: Sequence[str], environ: Mapping[str, str], seconds: float, say: Callable[[str], None]
    ) -> int:
        """Its exit code. `say` gets each line that it prints."""
        try:
            process = subprocess.Popen(
                arguments,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise Failed(f"{Path(arguments[0]).name} does not start: {error.strerror}") from error
        clock = threading.Timer(seconds, end_group, (process.pid,))
        clock.daemon = True
        clock.start()
        try:
            assert process.stdout is not None
            with process.stdout:
                for line in process.stdout:
                    say(line)
            return process.wait()
        finally:
            clock.cancel()

    # -- what runs -----------------------------------------------------------------------------------------------------

    def _link(self) -> list[Service]:
        """Of this environment's HERMESLINK_HOME, as its own command tells it."""
        service = Service("Link", ("hermeslink",), 0, is_link=True)
        told = self._ask(service)
        if not told.get("running"):
            return []
        if isinstance(told.get("database"), str):
            self._databases.append(Path(told["database"]))
        return [replace(service, pid=int(told["pid"] or 0))]

    def _ask(self, service: Service) -> dict[str, Any]:
        """What `status --json` says. {} when it says nothing."""
        try:
            done = subprocess.run(
                self._command(service, "status", "--json"),
                env={**self._environ, **service.environ},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=COMMAND_SECONDS,
                check=False,
            )
            told = json.loads(done.stdout)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            return {}
        return told if isinstance(told, dict) else {}

    def _stop(self) -> None:
        """Link last: whoever watches sees the rest."""
        for service in self._services:
            self._journal.enter(f"stopping {service.name}")
            self._tell(service, "stop")

    def _stop_what_can_be(self) -> None:
        for service in self._services:
            with suppress(HermesError):
                self._tell(service, "stop")

    def _start(self) -> None:
        for service in self._services:
            self._journal.enter(f"starting {service.name}")
            self._tell(service, "start")

    def _tell(self, service: Service, word: str) -> None:
        """What it prints is of interest where it fails: it is for somebody at a terminal."""
        lines: list[str] = []
        code = self._run(
            self._command(service, word), {**self._environ, **service.environ}, COMMAND_SECONDS, lines.append
        )
        if code:
            for line in lines:
                self._journal.say(line)
            raise Failed(f"{service.name} did not {word}")
        self._journal.say(f"{word}: {service.name}")

    def _check_health(self, version: str) -> None:
        """Twice, some seconds apart."""
        self._journal.enter(f"looking whether {version} is well")
        self._check_all(version)
        time.sleep(SETTLE_SECONDS)
        self._check_all(version)

    def _check_all(self, version: str) -> None:
        for service in self._services:
            told = self._ask(service)
            url = told.get("url")
            if not told.get("running") or (url and not told.get("answers")):
                raise Failed(f"{service.name} was started and does not answer")
            if told.get("pid") == service.pid and version == self._target:
                raise Failed(f"{service.name} is still the process of before")
            if service.is_link and _version_of_link(str(url)) != version:
                raise Failed(f"{service.name} answers, and is not {version}")

    def _command(self, service: Service, *words: str) -> tuple[str, ...]:
        return (self._installation.python, "-P", "-m", *service.command, *words)

    # -- databases -----------------------------------------------------------------------------------------------------

    def _find_databases(self) -> list[Path]:
        """Those that what runs has open. A gateway has its guests', too."""
        found = list(self._databases)
        if any(not service.is_link for service in self._services):
            for home in list_profiles(self._root):
                url = load_settings(home, self._environ, is_lenient=True).database.url
                if url and not url.startswith("sqlite:///"):
                    self._journal.say(f"{home.name}: its data is in PostgreSQL, and no copy is made of it")
                else:
                    found.append(Path(urllib.parse.unquote(url.removeprefix("sqlite:///"))) if url else home.state_db)
        return [path for path in found if path.is_file()]

    def _check_room(self) -> None:
        needed = SPARE_BYTES + sum(path.stat().st_size for path in self._databases)
        free = shutil.disk_usage(self._root).free
        if free < needed:
            raise Failed(f"an update needs {needed >> 20} MiB of room for copies, and {free >> 20} are free")

    def _copy_databases(self) -> None:
        self._journal.enter("copying the databases")
        shutil.rmtree(self._files.copies, ignore_errors=True)
        make_private_directory(self._files.copies)
        for number, path in enumerate(self._databases):
            copy = self._files.copies / f"{number}-{path.name}"
            os.close(open_private(copy, os.O_CREAT | os.O_WRONLY))
            try:
                with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
                    source.backup(target)
            except sqlite3.Error as error:
                raise Failed(f"{path.name} cannot be copied: {error}") from error
            self._copies[path] = copy

    def _put_databases_back(self) -> None:
        self._journal.enter("putting the databases back")
        for path, copy in self._copies.items():
            for end in ("-wal", "-shm", ""):
                there = path.with_name(path.name + end)
                if there.exists():
                    there.replace(path.with_name(f"{path.name}.of-{self._target}{end}"))
            part = path.with_name(f".{path.name}.back")
            with copy.open("rb") as source, open(part, "wb", opener=open_private) as target:
                shutil.copyfileobj(source, target, 1 << 20)
                target.flush()
                os.fsync(target.fileno())
            part.replace(path)


def _gateways(root: Path, environ: Mapping[str, str]) -> list[Service]:
    """Each profile's own, and not the guests of another's."""
    found = []
    for home in list_profiles(root):
        process = running_gateway(home.pid_file)
        if process is not None and not process.is_guest:
            profile = ("-p", home.name)
            name = f"the gateway of {home.name}" if home.is_profile else "the gateway"
            found.append(Service(name, ("hermes", *profile, "gateway"), process.pid, _port(home, environ, process.url)))
    return found


def _port(home: Home, environ: Mapping[str, str], url: str | None) -> dict[str, str]:
    """Where no setting names one it was any free one: clients know it by now."""
    settings = load_settings(home, environ, is_lenient=True)
    if url is None or ("api_server.port" in settings.sources and settings.api_server.port != 0):
        return {}
    port = urllib.parse.urlsplit(url).port
    return {} if port is None else {"API_SERVER_PORT": str(port)}


def _version_there(installation: Installation, environ: Mapping[str, str]) -> str:
    try:
        return asyncio.run(version_in_place(installation, environ))
    except HermesError:
        return ""


def _secrets(root: Path, environ: Mapping[str, str]) -> set[str]:
    """What no line may show."""
    found = {value for name, value in environ.items() if is_secret_name(name)}
    for home in list_profiles(root):
        with suppress(ConfigError, OSError):
            found |= {value for name, value in read_env(home.env_file).items() if is_secret_name(name)}
    return found


def _told(error: Exception) -> str:
    return error.message if isinstance(error, HermesError) else f"{type(error).__name__}: {error}"


def _version_of_link(url: str) -> str | None:
    where = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "127.0.0.1", where.port, timeout=10)
    try:
        connection.request("GET", "/api/v1/bootstrap")
        told = json.loads(connection.getresponse().read(1 << 20))
        return str(told["version"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    job_id, version, how = arguments
    root = Path(environ["HERMES_HOME"])
    files = UpdateFiles.of(root)
    blank({name for name in environ if is_secret_name(name)})
    try:
        lock = NodeLock(files.lock)
    except Conflict:
        return 1
    try:
        installation = this_installation()
        last = kept_status(files)
        status = UpdateStatus(
            number=last.number + 2,  # one more than who reads of an update that was killed was told
            state=UpdateState.RUNNING,
            stage="starting",
            job_id=job_id,
            from_version=_version_there(installation, environ),
            target_version=checked(version),
            started_at=time.time(),
            manual_command=installation.by_hand(version),
        )
        journal = Journal(files, status, Redactor(_secrets(root, environ)))
        Updater(root, installation, journal, environ, is_newest=how == "newest").run()
    except UpdateRefused as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    finally:
        lock.release()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], dict(os.environ)))
