"""What is counted while the gateway works, for whoever asks (/metrics): additions to plain numbers, made where things
happen. Nothing is formatted, locked or allocated for a number until somebody reads it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from hermes.core.run import RunStatus, Usage

MOMENTS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Bounds for what this server itself takes, in seconds."""
WAITS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Bounds for what somebody waits for: a model, a free place."""
MOST_NAMES = 32
"""Names that come from other parts of the program; more of them than this are counted together."""
OTHER = "other"


class Histogram:
    """Seconds, by size. `counts[i]` are those up to `bounds[i]`; the last one those above all bounds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds


class RunTally:
    """Runs that have ended here.

    `first_token` is from the request to the first text of the model, `overhead` from the request to the first call
    of the model without the wait in line, which is `queue_wait`.
    """

    def __init__(self) -> None:
        self.ended: Counter[tuple[str, str]] = Counter()
        self.usage = Usage()
        self.first_token = Histogram(WAITS)
        self.overhead = Histogram(MOMENTS)
        self.queue_wait = Histogram(WAITS)
        self._sources: set[str] = set()

    def end(
        self,
        source: str,
        status: RunStatus,
        usage: Usage,
        *,
        waited: float,
        overhead: float | None = None,
        first_token: float | None = None,
    ) -> None:
        """Seconds; None where the run did not come that far."""
        if source not in self._sources:
            if len(self._sources) >= MOST_NAMES:
                source = OTHER
            self._sources.add(source)
        self.ended[source, status.value] += 1
        self.usage += usage
        self.queue_wait.observe(waited)
        if overhead is not None:
            self.overhead.observe(overhead)
        if first_token is not None:
            self.first_token.observe(first_token)


class HttpTally:
    """`requests` by (route, method, status). A route is its path in the table, never the one that was asked for."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.streams = 0
        """Streams of server-sent events that are open now."""


class StoreTally:
    """`write` is from the moment a write is asked for to its commit."""

    def __init__(self) -> None:
        self.write = Histogram(MOMENTS)
