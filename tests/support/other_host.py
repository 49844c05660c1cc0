"""Another machine, as far as the network tells: a network namespace with one cable to this one. Linux, as root."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

OURS, THEIRS = "198.18.{number}.1", "198.18.{number}.2"
"""Of the network that is set aside for tests (RFC 2544)."""


@dataclass(frozen=True)
class OtherHost:
    """`address` is its own, `ours` this machine's as it sees it."""

    name: str
    address: str
    ours: str

    def command(self, *arguments: str) -> list[str]:
        """What runs `arguments` over there."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def wrapper(self, program: str, directory: Path) -> Path:
        """A file that runs `program` over there with whatever it is given."""
        file = directory / f"{Path(program).name}-elsewhere"
        file.write_text(f'#!/bin/sh\nexec ip netns exec {self.name} {program} "$@"\n')
        file.chmod(0o755)
        return file


def missing() -> str:
    """Why there can be none here; empty when there can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "network namespaces take root"
    if shutil.which("ip") is None:
        return "ip (iproute2) is not installed"
    name = f"try-{uuid.uuid4().hex[:8]}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"no network namespace can be made here: {tried.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", name], check=False)
    return ""


@contextmanager
def other_host() -> Iterator[OtherHost]:
    key = uuid.uuid4()
    tag, number = key.hex[:8], key.int % 250 + 1
    host = OtherHost(f"host-{tag}", THEIRS.format(number=number), OURS.format(number=number))
    here, there = f"va{tag}", f"vb{tag}"
    _ip("netns", "add", host.name)
    try:
        _ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", host.name)
        _ip("address", "add", f"{host.ours}/30", "dev", here)
        _ip("link", "set", here, "up")
        for words in (("address", "add", f"{host.address}/30", "dev", there), ("link", "set", there, "up")):
            _ip("-n", host.name, *words)
        _ip("-n", host.name, "link", "set", "lo", "up")
        yield host
    finally:
        _ip("netns", "delete", host.name)  # and with it both ends of the cable


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=30)
