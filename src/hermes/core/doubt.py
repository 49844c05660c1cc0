"""Whether a clock may be believed by whoever deletes things for their age."""

from __future__ import annotations

from hermes.core.clock import Clock

DAY_SECONDS = 86_400.0
STEP_SECONDS = DAY_SECONDS
"""A clock that is put forward by more, while the process runs, is not believed at once."""
AWAY_SECONDS = 30 * DAY_SECONDS
"""Nor one that says so much has passed since the last time: it may never have been set."""


class Doubt:
    """Whether the clock may be believed when things are deleted for their age. A wrong one would take everything.

    A clock that has jumped is believed once the gateway has run on for a day with it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = clock.now() - clock.monotonic()
        self._until: float | None = None

    def about(self, last: float | None) -> str | None:
        """What speaks against the clock now, in words. `last`: when old things were last removed, by any process."""
        now, passed = self._clock.now(), self._clock.monotonic()
        step = now - passed - self._ahead
        self._ahead += step
        if step > STEP_SECONDS:
            self._until = passed + DAY_SECONDS
            return f"the clock was put forward by {step / DAY_SECONDS:.1f} days"
        if self._until is None and last is not None and now - last > AWAY_SECONDS:
            self._until = passed + DAY_SECONDS
            return f"the clock says that {(now - last) / DAY_SECONDS:.0f} days have passed since the last time"
        if self._until is not None and passed < self._until:
            return "the clock has jumped"
        return None
