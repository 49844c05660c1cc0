"""The end of a process that asyncio started with pipes."""

from __future__ import annotations

from asyncio.subprocess import Process
from contextlib import suppress


async def reap(process: Process) -> int:
    """Its exit code, once it is gone; the caller has asked it to end, or killed it.

    `Process.wait` returns only when the pipes have ended too, and one of which much was left unread is read no further
    by itself: what is left is thrown away here. Where somebody else reads a pipe, that one is left to them.
    """
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            with suppress(RuntimeError):  # somebody else reads it
                while await stream.read(1 << 16):
                    pass
    return await process.wait()
