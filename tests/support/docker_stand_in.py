#!/usr/bin/env python3
"""Stands in for the `docker` program: what would run in a container runs here, and every call is written down.

Shows which words we say and in which order, and that what they start is ended. It shows nothing of what a real daemon
makes of them. $DOCKER_CONFIG is a directory: `calls.jsonl`, and for each container `NAME/` (its home) and `NAME.json`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

place = Path(os.environ["DOCKER_CONFIG"])
words = sys.argv[1:]
with (place / "calls.jsonl").open("a") as calls:
    calls.write(json.dumps(words) + "\n")


def after(flag: str) -> str:
    return words[words.index(flag) + 1]


def run() -> None:
    """The container's own program as a child, so that the container is gone from the list when it ends."""
    name = after("--name")
    (place / name).mkdir()
    if "missing" in words:
        sys.exit("docker: Error response from daemon: pull access denied for missing")
    if "--workdir" in words:
        os.chdir(after("--workdir"))
    program = [after("--entrypoint"), *words[words.index("-I") :]]
    child = os.fork()
    if child == 0:
        record = place / f"{name}.json"
        record.with_suffix(".new").write_text(json.dumps({"label": after("--label"), "pid": os.getpid()}))
        record.with_suffix(".new").rename(record)
        os.execvp(program[0], program)
    os.waitpid(child, 0)


def execute() -> None:
    name = words[2]
    if name not in living():
        sys.exit(f"Error response from daemon: No such container: {name}")
    environ = {"HOME": str(place / name), "PATH": os.environ["PATH"]}
    inside = subprocess.Popen(words[3:], stdin=subprocess.PIPE, env=environ)
    threading.Thread(target=pump, args=(inside,), daemon=True).start()
    code = inside.wait()
    os._exit(code if code >= 0 else 128 - code)


def pump(inside: subprocess.Popen[bytes]) -> None:
    """What runs inside is no exec of the client: it sees the end of its input when the client dies."""
    assert inside.stdin is not None
    with suppress(BrokenPipeError):
        while data := os.read(0, 1 << 16):
            inside.stdin.write(data)
            inside.stdin.flush()
        inside.stdin.close()


def ps() -> None:
    for name, made in living().items():
        print(name, made["label"].partition("=")[2])


def rm() -> None:
    there = living()
    for name in words[2:]:
        if name not in there:
            sys.exit(f"Error: No such container: {name}")
        os.kill(there[name]["pid"], signal.SIGKILL)


def living() -> dict[str, dict[str, Any]]:
    """A container lasts as long as its own program."""
    made = {file.stem: json.loads(file.read_text()) for file in place.glob("hermes-*.json")}
    return {name: it for name, it in made.items() if Path(f"/proc/{it['pid']}/exe").exists()}


{"run": run, "exec": execute, "ps": ps, "rm": rm}[words[0]]()
