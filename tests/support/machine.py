"""A machine where only Hermes is installed, and typing at it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway

SECONDS = 60


class Machine:
    """A machine where only Hermes is installed: an empty user directory, and `hermes` on the PATH."""

    def __init__(self, directory: Path, model: ScriptedModelServer) -> None:
        self.user = directory / "user"
        self.user.mkdir()
        self.home = self.user / ".hermes"
        programs = directory / "bin"
        programs.mkdir()
        self.command = programs / "hermes"
        self.command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hermes "$@"\n')
        self.command.chmod(0o755)
        self.environ = {
            **{name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ},
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.user),
            # a provider's key in the environment, and its address that of the scripted model
            "OPENAI_API_KEY": "sk-scripted",
            "OPENAI_BASE_URL": model.base_url,
        }
        self.gateways: list[Gateway] = []

    def type(self, commands: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """What a person types into a shell."""
        return subprocess.run(
            ["sh", "-c", commands],
            env={**self.environ, **environ},
            cwd=self.user,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def start(self, *arguments: str, key: str = "", **environ: str) -> Gateway:
        """`hermes gateway` in another window; returns when it says that it listens."""
        window = self.user.parent / f"window{len(self.gateways)}"
        window.mkdir()
        gateway = Gateway(window, self.user, {**self.environ, **environ}, key, arguments=(*arguments, "gateway"))
        self.gateways.append(gateway)
        return gateway.start()

    @contextmanager
    def window(self, **environ: str) -> Iterator[IO[str]]:
        """`hermes gateway`, and what it prints, warnings included."""
        process = subprocess.Popen(
            [str(self.command), "gateway"],
            env={**self.environ, **environ},
            cwd=self.user,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert process.stdout is not None
            yield process.stdout
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=SECONDS)
