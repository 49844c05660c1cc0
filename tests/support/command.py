"""A command that goes on, and what it says."""

from __future__ import annotations

import queue
import signal
import subprocess
import threading
from contextlib import closing
from dataclasses import dataclass, field

SECONDS = 30


@dataclass
class Command:
    """Started with its standard output as text in a pipe."""

    process: subprocess.Popen[str]
    lines: queue.Queue[str | None] = field(default_factory=queue.Queue)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()

    def says(self, text: str) -> str:
        """The line with it."""
        while True:
            line = self.lines.get(timeout=SECONDS)
            assert line is not None, self.said
            if text in line:
                return line

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        return self.process.wait(SECONDS)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with closing(self.process.stdout) as output:
            for line in output:
                self.said.append(line.rstrip("\n"))
                self.lines.put(line.rstrip("\n"))
        self.lines.put(None)
