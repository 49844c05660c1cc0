"""What of this machine the built-in model may use. A container's limits count, not the host's size."""

from __future__ import annotations

import os
import sys
from pathlib import Path

MAX_THREADS = 8
"""Memory is the limit, not computing: more threads only wait for each other."""

_CGROUP = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    quota = _words(_CGROUP / "cpu.max")
    if len(quota) == 2 and quota[0].isdigit():
        cores = min(cores, max(1, int(quota[0]) // int(quota[1])))
    return min(cores, MAX_THREADS)


def available_memory() -> int | None:
    """Bytes that can be used without swapping; None where the system does not say."""
    if sys.platform != "linux":
        return None
    lines = (line.split() for line in _text(Path("/proc/meminfo")).splitlines())
    available = next((int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:"), None)
    limit = _words(_CGROUP / "memory.max")
    used = _words(_CGROUP / "memory.current")
    if limit and used and limit[0].isdigit():
        left = int(limit[0]) - int(used[0])
        return left if available is None else min(left, available)
    return available


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except OSError:
        return ""
