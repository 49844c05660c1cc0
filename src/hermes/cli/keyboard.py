"""Keys as they are pressed, while a turn runs: one that answers a question, or a line that is told to the run."""

from __future__ import annotations

import asyncio
import codecs
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

READ_BYTES = 1024


@contextmanager
def pressed_keys(hear: Callable[[str], None]) -> Iterator[bool]:
    """`hear` gets what was typed since the last call, without escape sequences (arrows and the like); Esc alone is
    `\\x1b`. False: this is no terminal that can tell (Windows, a pipe), and nothing is heard. Ctrl-C stays a signal."""
    try:
        import termios
        import tty
    except ImportError:
        yield False
        return
    handle = sys.stdin.fileno()
    if not os.isatty(handle):
        yield False
        return
    before = termios.tcgetattr(handle)
    decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")

    def read() -> None:
        with suppress(OSError):
            text = decoder.decode(os.read(handle, READ_BYTES))
            if text == "\x1b" or "\x1b" not in text:
                hear(text)

    loop = asyncio.get_running_loop()
    try:
        tty.setcbreak(handle, termios.TCSANOW)
        loop.add_reader(handle, read)
        yield True
    finally:
        loop.remove_reader(handle)
        termios.tcsetattr(handle, termios.TCSANOW, before)


@contextmanager
def interrupts(hear: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C as a call. Where the loop cannot (Windows) it stays a KeyboardInterrupt."""
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGINT)
    try:
        loop.add_signal_handler(signal.SIGINT, hear)
    except NotImplementedError:
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)
