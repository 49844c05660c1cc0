"""OpenAI's package for JavaScript, installed from npm, and a script that uses it against a gateway."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Gateway

Run = Callable[[str], Any]


def install(folder: Path, script: Path) -> Path:
    """Puts the package and the script into the folder. Skips with a word where that cannot be; CI must not."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        assert os.environ.get("CI") != "true", "CI needs node and npm"
        pytest.skip("node and npm are not installed: the JavaScript client is not tested")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder), "openai@6"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    if done.returncode != 0:
        assert os.environ.get("CI") != "true", done.stderr
        pytest.skip(f"npm cannot install openai: the JavaScript client is not tested ({done.stderr.strip()[-200:]})")
    shutil.copy(script, folder / script.name)
    return folder


def runner(package: Path, script: Path, gateway: Gateway) -> Run:
    """Plays a scenario of the script and gives what it printed."""

    def run(scenario: str) -> Any:
        command = ["node", script.name, gateway.base_url, gateway.key, scenario]
        done = subprocess.run(command, cwd=package, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run
