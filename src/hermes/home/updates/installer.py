"""Asking and running the installer that installed this. It gets no secrets: it runs what packages bring."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from hermes.core.errors import HermesError
from hermes.core.redact import is_secret_name
from hermes.home.updates.installation import Command, Installation, Release

ASK_SECONDS = 90.0
LOOK_SECONDS = 30.0
OWN = ("PIP_", "UV_", "PIPX_")
"""Of an installer: for a private index it keeps its password."""
NOT_ITS = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONWARNINGS")
"""They would show it packages, or make it say things, that are not those of the environment it works in."""

_LOGIN = re.compile(r"(?<=://)[^/\s@]{1,300}@")


@dataclass(frozen=True, slots=True)
class Finished:
    code: int
    stdout: str
    stderr: str


async def newest(
    installation: Installation, environ: Mapping[str, str], seconds: float = ASK_SECONDS
) -> Release | None:
    """None when the index has none. Raises UpdateRefused, or HermesError `index_unreachable`."""
    done = await _finished(installation.ask(), environ, seconds)
    if done.code:
        raise HermesError(
            "the package index could not be asked, or has no hermes-server; is there a network? "
            f"{_last_line(done.stderr) or f'exit code {done.code}'}",
            code="index_unreachable",
        )
    return installation.newest(done.stdout)


async def has_version(
    installation: Installation, version: str, environ: Mapping[str, str], seconds: float = ASK_SECONDS
) -> bool:
    """Of an index that answered just now: an installer says in the same way that there is no network."""
    done = await _finished(installation.ask(version=version), environ, seconds)
    if done.code:
        return False
    found = installation.newest(done.stdout)
    return found is not None and found.version == version


async def version_in_place(installation: Installation, environ: Mapping[str, str]) -> str:
    """What an interpreter that starts now would run; empty when there is none."""
    told = "import importlib.metadata; print(importlib.metadata.version('hermes-server'))"
    done = await _finished(Command((installation.python, "-I", "-c", told)), environ, LOOK_SECONDS)
    return printable(done.stdout.strip())[:100] if done.code == 0 else ""


def installer_environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environ.items()
        if name.startswith(OWN) or not (is_secret_name(name) or name in NOT_ITS)
    }


def printable(line: str) -> str:
    """A line of a stranger's for a person: nothing in it moves a cursor, and no address in it has a password."""
    return _LOGIN.sub("", "".join(sign if sign.isprintable() else "?" for sign in line.expandtabs(4)))


async def _finished(command: Command, environ: Mapping[str, str], seconds: float) -> Finished:
    """Cancelled, or out of time, it leaves no process behind."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command.arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=installer_environment(environ),
            start_new_session=True,
        )
    except OSError as error:
        raise HermesError(f"{command.arguments[0]} does not start: {error}", code="index_unreachable") from error
    try:
        async with asyncio.timeout(seconds):
            stdout, stderr = await process.communicate((command.stdin or "").encode())
    except TimeoutError:
        raise HermesError(
            f"the package index did not answer within {seconds:g} s; is there a network?", code="index_unreachable"
        ) from None
    finally:
        if process.returncode is None:
            end_group(process.pid)
            await process.wait()
    return Finished(process.returncode or 0, stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace"))


def end_group(pid: int) -> None:
    """A process that leads a session of its own, and all that it started."""
    with suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGTERM)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return printable(lines[-1])[:400] if lines else ""
