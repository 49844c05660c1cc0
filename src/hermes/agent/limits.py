"""What a run may spend: steps, tokens, seconds, money. Spec: security.md, runaway work."""

from __future__ import annotations

from collections.abc import Callable

from hermes.core.clock import Clock
from hermes.core.errors import LimitReached
from hermes.core.run import Limits, Usage


class Meter:
    """Adds up what a run has used. `before_step` raises `LimitReached` when the next step would pass a limit.

    `beside` gives what others used for it, which counts towards its tokens and money.
    """

    def __init__(
        self, limits: Limits, clock: Clock, used: Usage | None = None, beside: Callable[[], Usage] = Usage
    ) -> None:
        self.limits = limits
        self.usage = used or Usage()
        self._clock = clock
        self._started = clock.monotonic()
        self._calls_beside = 0
        self._beside = beside

    def add(self, usage: Usage, *, is_step: bool = True) -> None:
        """A call that shortens the history or judges an action is no step: the turn would have none left for its
        answer."""
        self.usage += usage
        if not is_step:
            self._calls_beside += usage.api_calls

    @property
    def seconds_left(self) -> float | None:
        if self.limits.max_seconds is None:
            return None
        return max(0.0, self.limits.max_seconds - (self._clock.monotonic() - self._started))

    @property
    def tokens_left(self) -> int | None:
        if self.limits.max_tokens is None:
            return None
        return max(0, self.limits.max_tokens - self._spent.total_tokens)

    @property
    def _spent(self) -> Usage:
        return self.usage + self._beside()

    def before_step(self) -> None:
        steps, most = self.usage.api_calls - self._calls_beside, self.limits.max_steps
        if most is not None and steps >= most:
            raise _reached("max_steps", most, f"{steps} calls of the model were made")
        self.before_call()

    def before_call(self) -> None:
        """Like `before_step`, for a call that is no step."""
        limits, used = self.limits, self._spent
        if limits.max_tokens is not None and used.total_tokens >= limits.max_tokens:
            raise _reached("max_tokens", limits.max_tokens, f"{used.total_tokens} tokens were used")
        if limits.max_usd is not None and (used.cost_usd or 0.0) >= limits.max_usd:
            raise _reached("max_usd", limits.max_usd, f"{used.cost_usd or 0.0:.4f} USD were spent")
        if self.seconds_left == 0.0:
            raise self.out_of_time()

    def out_of_time(self) -> LimitReached:
        return _reached("max_seconds", self.limits.max_seconds, "the time is over")


def _reached(limit: str, value: float | None, seen: str) -> LimitReached:
    return LimitReached(f"The run stopped at its limit {limit}={value}: {seen}.", limit=limit)
