"""Slows down whoever tries codes and tokens (spec: security, brute force): ten wrong ones a minute from an address, or
for a session, and two hundred from everywhere, then 429 until the first of them is a minute old."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager

from hermes.core.clock import Clock
from hermes.core.errors import Busy, Conflict, NotFound, Unauthorized
from hermeslink.core.ids import is_id

LIMIT = 10
LIMIT_OVER_ALL = 200
WINDOW_SECONDS = 60.0
MAX_KEYS = 4096

_EVERYWHERE = "everywhere"


class Attempts:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()

    @contextmanager
    def counted(self, address: str, session_id: str | None = None, *, right_ones_wait: bool = True) -> Iterator[None]:
        """What fails within is an attempt that failed; `address` is that of a `Peer`. Raises Busy where there were too
        many, also in place of the error: of many at once no more than ten are told what was wrong.

        `right_ones_wait` False: who has what is right gets in all the same, however many others fail beside it.
        """
        keys = [f"address {address}"]
        if session_id is not None and is_id(session_id, "ps"):  # what is no id is of any length, and nobody's session
            keys.append(f"session {session_id}")
        if right_ones_wait:
            self._check(keys)
        try:
            yield
        except (Conflict, NotFound, Unauthorized) as error:
            self._check(keys, error)
            for key in (*keys, _EVERYWHERE):
                self._note(key)
            raise

    def _check(self, keys: list[str], error: Exception | None = None) -> None:
        wait = max(self._wait_seconds(_EVERYWHERE, LIMIT_OVER_ALL), *(self._wait_seconds(key, LIMIT) for key in keys))
        if wait > 0:
            raise Busy(
                "too many attempts failed; wait a little and try again",
                retry_after_seconds=wait,
                code="too_many_attempts",
            ) from error

    def _wait_seconds(self, key: str, limit: int) -> float:
        now = self._clock.monotonic()
        times = self._wrong.get(key)
        while times and times[0] <= now - WINDOW_SECONDS:
            times.popleft()
        if not times:
            self._wrong.pop(key, None)
            return 0.0
        return times[0] + WINDOW_SECONDS - now if len(times) >= limit else 0.0

    def _note(self, key: str) -> None:
        self._wrong.setdefault(key, deque()).append(self._clock.monotonic())
        self._wrong.move_to_end(key)
        if len(self._wrong) > MAX_KEYS:
            self._wrong.popitem(last=False)
