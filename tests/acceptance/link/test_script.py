"""The shell scripts of docs/link, word for word but for the port: a daemon that they start, and curl."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway
from tests.acceptance.link.process import LinkProcess, make_link
from tests.support.examples import ROOT

pytestmark = [pytest.mark.sqlite("Link keeps its data in SQLite"), pytest.mark.slow]

PUBLISHED = """CONNECT=$(hermeslink pair 2>&1 | grep "Connect token:" | awk '{print $NF}')"""
SHELL = re.compile(r"^```sh\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def sleeping(known_gateway: Gateway, tmp_path: Path) -> Iterator[LinkProcess]:
    """A Link that nobody started yet, and `hermeslink` on the PATH."""
    link = make_link(tmp_path, known_gateway.home)
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "hermeslink"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hermeslink "$@"\n')
    program.chmod(0o755)
    link.environ["PATH"] = f"{programs}:{link.environ['PATH']}"
    yield link
    link.run("stop", check=False)


def shell(link: LinkProcess, script: str, folder: Path) -> str:
    script = script.replace("18642", str(link.port))
    # into files: a pipe would be waited for as long as a curl that nobody reads any more holds it
    with (folder / "printed").open("w+") as printed, (folder / "complaints").open("w+") as complaints:
        done = subprocess.run(
            ["bash", "-eu", "-c", script],
            env=link.environ,
            cwd=folder,
            stdout=printed,
            stderr=complaints,
            timeout=100,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, (folder / "printed").read_text() + (folder / "complaints").read_text()
    return (folder / "printed").read_text()


def test_the_published_script_works_as_it_stands(
    sleeping: LinkProcess, tmp_path: Path, model: ScriptedModelServer
) -> None:
    model.add(Step("You said: {{user}}", times=0))
    page = (ROOT / "docs" / "link" / "start.md").read_text(encoding="utf-8")
    scripts = [found["text"] for found in SHELL.finditer(page)]
    assert PUBLISHED in "".join(scripts)
    printed = shell(sleeping, "\n".join(one for one in scripts if "curl" in one), tmp_path)
    assert "You said: " in printed
    status = json.loads(sleeping.run("status", "--json").stdout)
    assert str(sleeping.port) in json.dumps(status)


def test_pair_prints_a_code_that_a_camera_and_a_script_can_read(sleeping: LinkProcess) -> None:
    sleeping.run("start")
    printed = sleeping.run("pair").stdout
    [token] = re.findall(r"^Connect token: (\S+)$", printed, re.MULTILINE)
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", token)
    assert re.search(r"^Pairing page: http://\S+$", printed, re.MULTILINE)
    assert any(mark in printed for mark in "█▀▄"), "a QR code"
    assert sleeping.run("config", "set", "colour", "blue", check=False).returncode == 2
    assert sleeping.run("config", "set", "port", "many", check=False).returncode == 2
    assert "Traceback" not in printed
