"""What the programs of docs/howto need: a machine with Hermes, the packages a page installs, and their processes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.link.process import free_port
from tests.support.examples import commands_of, file_of, howto
from tests.support.machine import Machine

FLASK = ("flask==3.1.3", "requests==2.34.2", "waitress==3.0.2")
SERVING = re.compile(r"Serving on (http://\S+)")
SECONDS = 60


@pytest.fixture
def machine(tmp_path: Path, model: ScriptedModelServer) -> Iterator[Machine]:
    """Its model is the scripted one, in the home too, so that a profile can be cloned from it."""
    machine = Machine(tmp_path, model)
    for name, value in (("default", "scripted"), ("provider", "custom"), ("base_url", model.base_url)):
        done = machine.type(f"hermes config set model.{name} {value}")
        assert done.returncode == 0, done.stderr
    yield machine
    for gateway in machine.gateways:
        gateway.close()


def set_up(machine: Machine, page: str, profile: str) -> dict[str, str]:
    """A profile as the page's own `hermes` lines make it, behind a running gateway: its address and its key."""
    said = ""
    for line in commands_of(howto(page)):
        if line.startswith("hermes "):
            done = machine.type(line)
            assert done.returncode == 0, (line, done.stderr)
            said = done.stdout
    gateway = machine.start(API_SERVER_ENABLED="true", API_SERVER_KEY="k" * 40, API_SERVER_PORT="0")
    [key] = re.findall(r"^\s*(\S{32,})\s*$", said, re.M)
    return {"HERMES_URL": f"{gateway.url}/p/{profile}", "HERMES_KEY": key}


def needs(program: str) -> str:
    """Where it is. Skips with a word where it is not; CI must not."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    if path is None:
        assert os.environ.get("CI") != "true", f"CI needs {program}"
        pytest.skip(f"{program} is not installed: what a page says of it is not tried")
    return path


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`installed("flask==3.1.3")`: a folder with it. Skips with a word where no index answers; CI must not."""
    made: dict[tuple[str, ...], Path] = {}

    def install(*packages: str) -> Path:
        if packages not in made:
            folder = tmp_path_factory.mktemp("packages")
            command = [sys.executable, "-m", "uv", "pip", "install", "-q", "--python", sys.executable]
            done = subprocess.run(
                [*command, "--target", str(folder), *packages], capture_output=True, text=True, timeout=100
            )
            if done.returncode != 0:
                assert os.environ.get("CI") != "true", done.stderr
                pytest.skip(f"{', '.join(packages)} could not be installed: {done.stderr.strip()[-200:]}")
            made[packages] = folder
        return made[packages]

    return install


@dataclass
class Site:
    """A folder with the files of pages, and servers that were started in it. `said` is what they wrote."""

    folder: Path
    environ: dict[str, str]
    port: int
    said: list[str] = field(default_factory=list)
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def take(self, page: str, *names: str) -> None:
        for name in names:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(file_of(howto(page), name))

    def serve(self, app: str, **environ: str) -> str:
        """`waitress-serve --listen=… APP`, as the pages start it. Returns its address when it answers."""
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "waitress", f"--listen=127.0.0.1:{self.port}", app],
            cwd=self.folder,
            env={**self.environ, **environ},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.stack.callback(_end, process)
        assert process.stderr is not None
        while not (self.said and SERVING.search(self.said[-1])):
            line = process.stderr.readline()
            assert line, "".join(self.said)
            self.said.append(line)
        threading.Thread(target=self._read, args=(process,), daemon=True).start()
        return self.url

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        self.said.extend(process.stderr)


@pytest.fixture
def site(tmp_path: Path, installed: Callable[..., Path]) -> Iterator[Site]:
    """Where a page's Flask program runs."""
    folder = tmp_path / "site"
    folder.mkdir()
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(installed(*FLASK))}
    site = Site(folder, environ, free_port())
    with site.stack:
        yield site


@pytest.fixture
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        assert os.environ.get("CI") != "true", "CI needs chromium"
        pytest.skip("chromium is not installed: the page is not tried in a browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(SECONDS)
    if process.stderr is not None:
        process.stderr.close()
