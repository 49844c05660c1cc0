"""An API server that is away: for how long by now, and when to try again."""

from __future__ import annotations

from hermes.core.clock import Clock

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0
ALIVE_SECONDS = 90.0
"""A stream that lasted longer was one: one that is silent is given up before."""


class Outage:
    """How long an API server is away, from the first try that failed since the last that did not."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tried_at = clock.monotonic()
        self._since: float | None = None
        self._pause = FIRST_PAUSE

    def try_again(self) -> None:
        self._tried_at = self._clock.monotonic()

    def failed(self, *, has_moved: bool) -> float:
        """Returns for how long it is away. `has_moved`: something came of this try."""
        now = self._clock.monotonic()
        if has_moved or now - self._tried_at > ALIVE_SECONDS:
            self.is_over()
        self._since = now if self._since is None else self._since
        return now - self._since

    def is_over(self) -> None:
        self._since = None
        self._pause = FIRST_PAUSE

    def pause_seconds(self) -> float:
        seconds, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE)
        return seconds
