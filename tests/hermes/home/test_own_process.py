"""What another process reads of this one's environment."""

from __future__ import annotations

import subprocess
import sys

import pytest

READS = """
import ctypes, os, subprocess, sys
from hermes.home.own_process import hide_secrets
from hermes.home.settings import Settings
hide_secrets(Settings(), dict(os.environ))
shown = subprocess.run(["cat", f"/proc/{os.getpid()}/environ"], capture_output=True, env={}).stdout
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
print(b"canary" in shown, b"PLAIN=plain-value" in shown, b"HOME_OF_KEYS=" in shown)
print(os.environ["SOME_API_KEY"], libc.getenv(b"SOME_API_KEY").decode(), os.environ["PLAIN"])
print(subprocess.run(["printenv", "SOME_API_KEY"], capture_output=True, text=True).stdout)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows it in /proc")
def test_others_read_no_secret_and_the_process_itself_keeps_it() -> None:
    environ = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": ":".join(sys.path),
        "SOME_API_KEY": "canary-1234567890",
        "DATABASE_URL": "postgres://me:canary-1234567890@host/db",
        "PLAIN": "plain-value",
        "HOME_OF_KEYS": "x",
    }
    told = subprocess.run([sys.executable, "-c", READS], env=environ, capture_output=True, text=True, check=True).stdout
    assert told.split() == [
        *("False", "True", "True"),
        *("canary-1234567890", "canary-1234567890", "plain-value"),
        "canary-1234567890",
    ]
