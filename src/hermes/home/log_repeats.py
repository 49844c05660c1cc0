"""A log tells trouble that lasts once in a while: what is said again and again would turn the rest out of its files."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

SAME_SECONDS = 300.0
"""How long the very same words are not said again."""
MOST_OF_A_KIND = 30
KIND_SECONDS = 60.0
"""How many records of one line of code, with other words each time, may come within how long."""
MOST_KEPT = 1000


@dataclass(slots=True)
class _Said:
    since: float
    count: int = 1
    left_out: int = 0


class Repeats(logging.Filter):
    """For warnings and errors. What was left out is counted: the field `left_out` of the next one that passes."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._same: dict[tuple[str, int, str], _Said] = {}
        self._kinds: dict[tuple[str, int], _Said] = {}
        self._looking = threading.Lock()  # logging filters before it takes the handler's

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        try:
            words = record.getMessage()
        except Exception:  # noqa: BLE001 words that do not fit: the handler tells of that, and whoever logs goes on
            return True
        with self._looking:
            return self._passes(record, words)

    def _passes(self, record: logging.LogRecord, words: str) -> bool:
        now = self._monotonic()
        self._forget(now)
        same = self._same.setdefault((record.name, record.levelno, words), _Said(now, 0))
        kind = self._kinds.setdefault((record.pathname, record.lineno), _Said(now, 0))
        if now - kind.since >= KIND_SECONDS:
            kind.since, kind.count = now, 0
        if same.count and now - same.since < SAME_SECONDS:
            same.left_out += 1
            return False
        kind.count += 1
        if kind.count > MOST_OF_A_KIND:
            kind.left_out += 1
            return False
        if left_out := same.left_out + kind.left_out:
            record.left_out = left_out
        same.since, same.count, same.left_out, kind.left_out = now, 1, 0, 0
        return True

    def _forget(self, now: float) -> None:
        if len(self._same) > MOST_KEPT:
            self._same = {key: said for key, said in self._same.items() if now - said.since < SAME_SECONDS}
        if len(self._same) > 2 * MOST_KEPT:
            self._same.clear()
