"""One browser for all sessions, in a process of its own: started with the first page, killed with the server."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

import hermes
from hermes.core.errors import ToolFailed
from hermes.toolsets.browser import there
from hermes.toolsets.settings import BrowserSettings

WORKER = Path(__file__).with_name("worker.py")
PACKAGES = str(Path(hermes.__file__).parent.parent)
LINE_BYTES = 8 << 20
START_SECONDS = 40.0
SPARE_SECONDS = 10.0
"""What the worker may take beyond the time-out of an action, for settling and for the text of the page."""
END_SECONDS = 0.8
_LOGS = re.compile(r"(?:- )?<launch|Call log:|- ?\Z|- \[pid=")


class Worker:
    """A running worker: questions go out under numbers, and answers come back in any order."""

    def __init__(self, process: Process, directory: Path) -> None:
        self._process = process
        self._directory = directory
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, settings: BrowserSettings, environment: Mapping[str, str]) -> Worker:
        """Raises ToolFailed."""
        directory = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="hermes-browser-"))
        options = {
            "directory": str(directory),
            "executable": settings.executable or there.program(),
            "is_headless": settings.is_headless,
            "is_sandboxed": settings.is_sandboxed,
            "timeout_seconds": settings.timeout_seconds,
            "idle_seconds": settings.idle_seconds,
            "output_characters": settings.output_characters,
            "hosts": list(settings.allow_private_hosts),
        }
        path = os.pathsep.join(filter(None, (PACKAGES, environment.get("PYTHONPATH", ""))))
        worker = None
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-B", str(WORKER), orjson.dumps(options).decode()),
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                env={**environment, "PYTHONPATH": path, "TMPDIR": str(directory)},
                start_new_session=True,
                limit=LINE_BYTES,
            )
            worker = cls(process, directory)
            await worker._begin()
        except BaseException:
            if worker is not None:
                await worker.close()
            else:
                shutil.rmtree(directory, ignore_errors=True)
            raise
        return worker

    @property
    def is_alive(self) -> bool:
        return self._reading is not None and not self._reading.done() and self._process.returncode is None

    async def ask(self, do: str, session: str, given: Mapping[str, Any], timeout_seconds: float) -> str:
        """Raises ToolFailed; a call that is cancelled is dropped there, too."""
        number, answer = self._asked(do, session, given)
        try:
            async with asyncio.timeout(timeout_seconds):
                said = await answer
        except TimeoutError:
            raise ToolFailed(f"the browser did not answer within {timeout_seconds:g} s") from None
        finally:
            if not answer.done() or answer.cancelled():
                with suppress(OSError, ToolFailed):
                    self._send({"id": number, "do": "drop"})
            self._waiting.pop(number, None)
        if "cannot" in said:
            raise ToolFailed(said["cannot"])
        return str(said["shows"])

    async def forget(self, session: str, timeout_seconds: float) -> None:
        """Closes the session's page. What takes longer than that goes on without being waited for."""
        with suppress(ToolFailed, TimeoutError):
            number, answer = self._asked("close", session, {})
            try:
                await asyncio.wait_for(answer, timeout_seconds)
            finally:
                self._waiting.pop(number, None)

    async def close(self) -> None:
        """Asks it to end, then kills it; returns when it and its browser are gone, and their files."""
        process = self._process
        if process.stdin is not None:
            process.stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await asyncio.to_thread(end_chromium, self._directory)
        await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)

    async def _begin(self) -> None:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(START_SECONDS):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise ToolFailed(f"the browser did not start within {START_SECONDS:g} s") from None
        said = orjson.loads(line) if line else {"failed": "its process ended"}
        if "failed" in said:
            raise ToolFailed(why_not(said["failed"]))
        self._reading = asyncio.create_task(self._read())

    def _asked(self, do: str, session: str, given: Mapping[str, Any]) -> tuple[int, asyncio.Future[dict[str, Any]]]:
        self._number += 1
        self._send({"id": self._number, "do": do, "session": session, "given": dict(given)})
        answer = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        return self._number, answer

    def _send(self, said: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        if self._process.stdin.is_closing():
            raise ToolFailed("the browser is gone; browser_navigate starts it again")
        self._process.stdin.write(orjson.dumps(said) + b"\n")

    async def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            while line := await self._process.stdout.readline():
                said = orjson.loads(line)
                answer = self._waiting.get(said["id"])
                if answer is not None and not answer.done():
                    answer.set_result(said)
        finally:
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_result({"cannot": "the browser is gone; browser_navigate starts it again"})


class Browser:
    """A `toolsets.toolset.Lasting`."""

    def __init__(self, settings: BrowserSettings) -> None:
        self._settings = settings
        self._worker: Worker | None = None
        self._starting = asyncio.Lock()
        self._sessions: dict[str, str] = {}
        """The run that used a session's page last."""

    async def do(
        self, what: str, given: Mapping[str, Any], *, session_id: str, run_id: str, environment: Mapping[str, str]
    ) -> str:
        """What the page shows then. Raises ToolFailed."""
        worker = await self._started(environment, makes=what == "navigate")
        self._sessions[session_id] = run_id
        return await worker.ask(what, session_id, given, self._settings.timeout_seconds + SPARE_SECONDS)

    async def end_run(self, run_id: str) -> None:
        for session_id in [session for session, run in self._sessions.items() if run == run_id]:
            await self.end_session(session_id)

    async def end_session(self, session_id: str) -> None:
        if self._sessions.pop(session_id, None) is None or self._worker is None or not self._worker.is_alive:
            return
        await self._worker.forget(session_id, END_SECONDS)

    async def close(self) -> None:
        worker, self._worker = self._worker, None
        self._sessions.clear()
        if worker is not None:
            await worker.close()

    async def _started(self, environment: Mapping[str, str], *, makes: bool) -> Worker:
        async with self._starting:
            if self._worker is not None and not self._worker.is_alive:
                await self.close()
            if self._worker is None:
                if not makes:
                    raise ToolFailed("no page is open; browser_navigate opens one")
                problem = there.problem(self._settings.executable)
                if problem:
                    raise ToolFailed(problem)
                self._worker = await Worker.start(self._settings, environment)
            return self._worker


def end_chromium(directory: Path) -> None:
    """Kills one whose profile is in `directory`: it is a group of its own, and if it hangs it does not see that its
    driver is gone. Where there is no /proc it is left to itself."""
    profile = os.fsencode(f"--user-data-dir={directory}/")
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or is somebody else's
            if profile in (process / "cmdline").read_bytes():
                os.killpg(os.getpgid(int(process.name)), signal.SIGKILL)


def why_not(said: str) -> str:
    """What to do about a browser that does not start. `said` is what playwright says, its log included."""
    if "sandboxing failed" in said or "No usable sandbox" in said:
        return "the browser cannot make its sandbox here; its owner may set browser.sandbox to false"
    if "Executable doesn't exist" in said:
        return "the browser is of another version than playwright: playwright install chromium"
    head, _, log = said.partition("Browser logs:")
    lines = [line.strip() for line in (log or head).split("\n")]
    told = next((line for line in lines if line and not _LOGS.match(line)), "its program ended at once")
    return f"the browser cannot be started: {told.removeprefix('BrowserType.launch: ')[:300]}"
