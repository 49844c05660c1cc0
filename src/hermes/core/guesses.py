"""Slows down whoever tries keys (spec: security, brute force).

Only new wrong keys count: a client that repeats its old key learns nothing and locks nobody out. Each address has a
budget that fills up again with time, and so have all addresses together; an empty budget is answered 429 with
Retry-After. After two minutes of peace a budget is full again.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from hermes.core.clock import Clock
from hermes.core.errors import Busy

PER_ADDRESS = 10
PER_ADDRESS_REFILL_SECONDS = 12.0
OVER_ALL = 200
OVER_ALL_REFILL_SECONDS = 0.6

MAX_ADDRESSES = 4096
MAX_DIGESTS = 64
MAX_RIGHT = 1024


@dataclass(slots=True)
class _Budget:
    size: int
    refill_seconds: float
    at: float
    left: float = field(init=False)

    def __post_init__(self) -> None:
        self.left = float(self.size)

    def refill(self, now: float) -> None:
        self.left = min(float(self.size), self.left + (now - self.at) / self.refill_seconds)
        self.at = now

    def wait_seconds(self, now: float) -> float:
        self.refill(now)
        return 0.0 if self.left >= 1 else (1 - self.left) * self.refill_seconds


@dataclass(slots=True)
class _Address:
    budget: _Budget
    tried: OrderedDict[bytes, None] = field(default_factory=OrderedDict)
    right: OrderedDict[bytes, None] = field(default_factory=OrderedDict)


class Guesses:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._addresses: OrderedDict[str, _Address] = OrderedDict()
        self._all = _Budget(OVER_ALL, OVER_ALL_REFILL_SECONDS, clock.monotonic())

    def check(self, address: str, digest: bytes | None) -> None:
        """Raises Busy while the address must wait. A key that was right from there before never waits."""
        known = self._addresses.get(address)
        if known is not None and digest in known.right:
            return
        now = self._clock.monotonic()
        wait = known.budget.wait_seconds(now) if known else 0.0
        if known is None or not known.right:
            wait = max(wait, self._all.wait_seconds(now))
        if wait > 0:
            raise _too_many(wait)

    def wrong(self, address: str, digest: bytes) -> None:
        """Raises Busy when this guess was one too many."""
        known = self._known(address)
        if digest in known.right:  # it was good once, and has expired since: nobody guessed it
            return
        if digest in known.tried:
            known.tried.move_to_end(digest)
            return
        now = self._clock.monotonic()
        wait = known.budget.wait_seconds(now)
        known.tried[digest] = None
        if len(known.tried) > MAX_DIGESTS:
            known.tried.popitem(last=False)
        self._all.refill(now)
        self._all.left = max(0.0, self._all.left - 1)
        if wait > 0:
            raise _too_many(wait)
        known.budget.left -= 1

    def right(self, address: str, digest: bytes) -> None:
        known = self._addresses.get(address)
        if known is None or digest not in known.right:
            known = known or self._known(address)
            known.right[digest] = None
            if len(known.right) > MAX_RIGHT:
                known.right.popitem(last=False)

    def _known(self, address: str) -> _Address:
        known = self._addresses.get(address)
        if known is None:
            known = _Address(_Budget(PER_ADDRESS, PER_ADDRESS_REFILL_SECONDS, self._clock.monotonic()))
            self._addresses[address] = known
            if len(self._addresses) > MAX_ADDRESSES:
                self._addresses.popitem(last=False)
        return known


def _too_many(wait_seconds: float) -> Busy:
    return Busy(
        "too many wrong keys came from here; wait and try again",
        retry_after_seconds=wait_seconds,
        code="too_many_attempts",
    )
