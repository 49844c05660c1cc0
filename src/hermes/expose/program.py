"""The program of a tunnel as a child: it inherits the lock of what is published, and ends with whoever started it."""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from hermes.core.errors import HermesError

END_SECONDS = 5.0
TAIL_LINES = 20
_PR_SET_PDEATHSIG = 1


class Program:
    """Raises HermesError `expose_failed` where it cannot be started."""

    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str], *, lock: int | None = None) -> None:
        handles = () if lock is None or sys.platform == "win32" else (lock,)
        try:
            self._process: subprocess.Popen[str] = subprocess.Popen(
                arguments,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
                pass_fds=handles,
                preexec_fn=_ending_with_parent() if handles else None,
            )
        except OSError as error:
            raise HermesError(
                f"{Path(arguments[0]).name} cannot be run: {error.strerror or error}", code="expose_failed"
            ) from error
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs. After it, all that it printed is there."""
        code = self._process.poll()
        if code is not None:
            self._reader.join(1.0)
        return code

    def said(self) -> str:
        """The last lines that it printed."""
        return "\n".join(self._tail)

    def line(self, seconds: float) -> str | None:
        """The next line that nobody asked for yet; None when there is none so soon."""
        with suppress(queue.Empty):
            return self._lines.get(timeout=seconds)
        return None

    def lines(self) -> list[str]:
        """Those that nobody asked for yet."""
        found = []
        with suppress(queue.Empty):
            while True:
                found.append(self._lines.get_nowait())
        return found

    def end(self) -> None:
        """With all that it started."""
        for number in (signal.SIGINT, getattr(signal, "SIGKILL", signal.SIGTERM)):
            if self._process.poll() is None:
                self._tell(number)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(END_SECONDS)
        if sys.platform != "win32":
            with suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._reader.join(1.0)
        if self._process.stdout is not None and not self._reader.is_alive():
            self._process.stdout.close()

    def _tell(self, number: signal.Signals) -> None:
        if sys.platform == "win32":
            self._process.terminate()
            return
        with suppress(OSError):
            os.killpg(self._process.pid, number)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with suppress(ValueError, OSError):
            for line in self._process.stdout:
                self._tail.append(line.rstrip())
                self._lines.put(line.rstrip())


def _ending_with_parent() -> Callable[[], None] | None:
    """On Linux the kernel ends it, when whoever started it is killed: what was to be open for two hours must not stay
    open. Elsewhere `off` ends it."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return ask
