"""The process, where a test of the whole of it cannot reach: tests/acceptance has the rest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CRASHES = """
import sys
import hermes.app
from hermes.gateway.serve import run
from hermes.home.paths import Home
from pathlib import Path

def open_engine(*args, **kwargs):
    raise ZeroDivisionError("a bug with sk-very-secret-0123456789 in it")

hermes.app.open_engine = open_engine
run(Home(Path(sys.argv[1])))
"""


def test_a_crash_is_in_the_log_and_shows_no_secret_anywhere(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CRASHES, str(tmp_path / "home")],
        env={"PATH": os.environ["PATH"], "API_SERVER_PORT": "0", "OPENAI_API_KEY": "sk-very-secret-0123456789"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    log = (tmp_path / "home" / "logs" / "gateway.log").read_text()
    assert done.returncode == 1
    for text in (done.stderr, log):
        assert "the gateway crashed" in text and "ZeroDivisionError: a bug with" in text
        assert "sk-very-secret" not in text
