"""What others can read of this process: secrets are taken out of the environment that the kernel shows of it.

A process of the same account, a command of the agent for one, reads `/proc/PID/environ` of this one, whatever its own
environment holds. The kernel shows the memory in which the process was given its variables; so that is blanked.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from hermes.core.redact import is_secret_name
from hermes.home.settings import Settings, secret_values

ENV_START, ENV_END = 47, 48
"""Fields of /proc/self/stat behind the program's name: see proc(5), 50 and 51."""


def hide_secrets(settings: Settings, environ: Mapping[str, str]) -> None:
    """Blank the variables that hold secrets, for readers from outside. `os.environ` keeps them.

    To be called before there are threads. Linux only; elsewhere nothing shows them, or nothing can be done.
    """
    secrets = [value for value in secret_values(settings, {**environ, **settings.environ}) if len(value) >= 6]
    blank({name for name, value in environ.items() if is_secret_name(name) or any(one in value for one in secrets)})


def blank(names: Collection[str]) -> None:
    """Take the values of these variables out of the memory that /proc/self/environ shows."""
    if sys.platform != "linux" or not names:
        return
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[ENV_START]), int(fields[ENV_END])
    except (OSError, IndexError, ValueError):
        return
    if not 0 < start < end:
        return
    place = start
    for entry in ctypes.string_at(start, end - start).split(b"\0"):
        name, _, value = entry.partition(b"=")
        if value and os.fsdecode(name) in names:
            if name in os.environb:
                os.putenv(name, os.environb[name])  # C code finds it in new memory from now on
            ctypes.memset(place + len(name) + 1, 0, len(value))
        place += len(entry) + 1
