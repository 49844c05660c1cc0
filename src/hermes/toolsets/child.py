"""A script in a process of its own, asked one question: for parsers of hostile input, and for libraries that block and
cannot be stopped otherwise.

The process is killed with its group when the call is cancelled, takes too long or says too much.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from hermes.core.reap import reap

PIECE_BYTES = 64 * 1024


class ChildFailed(Exception):
    """The message is a sentence's end: `it took longer than 20 s`."""


async def ask(
    script: Path,
    *arguments: str,
    stdin: bytes = b"",
    environment: Mapping[str, str],
    timeout_seconds: float,
    most_bytes: int,
) -> bytes:
    """What the script printed. It imports nothing of hermes: it starts from its path. Raises ChildFailed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-B", str(script), *arguments),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        env=dict(environment),
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(timeout_seconds), asyncio.TaskGroup() as tasks:
            tasks.create_task(_give(process, stdin))
            said = await _take(process, most_bytes)
            code = await process.wait()
    except TimeoutError:
        raise ChildFailed(f"it took longer than {timeout_seconds:g} s") from None
    finally:
        with suppress(ProcessLookupError):  # the group too: nothing of it is left behind
            os.killpg(process.pid, signal.SIGKILL)
        await reap(process)
    if said is None:
        raise ChildFailed("it gave more than can be taken")
    if code:
        raise ChildFailed("it takes too much memory or time" if code < 0 else "its reader failed")
    return said


async def _give(process: asyncio.subprocess.Process, data: bytes) -> None:
    assert process.stdin is not None
    with suppress(OSError):  # it ended without reading all
        process.stdin.write(data)
        await process.stdin.drain()
        process.stdin.close()


async def _take(process: asyncio.subprocess.Process, most: int) -> bytes | None:
    """None: more than `most`; it is killed, and what it left is read to its end."""
    assert process.stdout is not None
    pieces: list[bytes] = []
    while piece := await process.stdout.read(PIECE_BYTES):
        if most >= 0:
            pieces.append(piece)
            most -= len(piece)
            if most < 0 and process.returncode is None:
                process.kill()
    return b"".join(pieces) if most >= 0 else None
