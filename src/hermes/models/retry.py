"""A model that is asked again when it fails before it said anything, and then the models that stand behind it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import cast

from hermes.core.clock import Clock, SystemClock
from hermes.core.errors import NoModel, UpstreamError, UpstreamRejected
from hermes.core.model import (
    Model,
    ModelDone,
    ModelItem,
    ModelRequest,
    ModelRetried,
    TextDelta,
    ToolSpec,
    Warms,
)
from hermes.core.run import Usage


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Before the second try up to `first_seconds`, doubled before each further one, never above `longest_seconds`;
    how much of it is random, so that clients that failed together do not come back together. What the server asks
    for (Retry-After) counts up to `longest_retry_after_seconds`; a longer wait is not made: the next model is asked."""

    tries: int = 3
    first_seconds: float = 0.5
    longest_seconds: float = 8.0
    longest_retry_after_seconds: float = 30.0

    def wait_seconds(self, failures: int, error: UpstreamError | NoModel, chance: float) -> float | None:
        """Seconds until the same model is asked again after so many failures; None when it is not."""
        if not isinstance(error, UpstreamError) or not error.is_retryable or failures >= self.tries:
            return None
        asked = error.retry_after_seconds or 0.0
        if asked > self.longest_retry_after_seconds:
            return None
        return max(asked, chance * min(self.first_seconds * 2.0 ** (failures - 1), self.longest_seconds))


class ResilientModel:
    """The first of `models` answers; the others, in order, when it cannot.

    Nothing is asked again once text was shown: the break is raised. Reasoning alone does not count as shown.
    Another model is asked after the last try, after a refused key, and where the model does not exist or the account
    is empty; not when the request itself was rejected, since it would be as wrong there.
    `cost` prices the answer, by provider and model, where the provider itself did not.
    When all fail, the first model's error is raised, and its message names the others'.
    """

    def __init__(
        self,
        models: Sequence[Model],
        *,
        clock: Clock | None = None,
        policy: RetryPolicy | None = None,
        chance: Callable[[], float] = random.random,
        cost: Callable[[str, str, Usage], float | None] | None = None,
    ) -> None:
        self.models = tuple(models)
        self._cost = cost
        self._clock: Clock = clock or SystemClock()
        self._policy = policy or RetryPolicy()
        self._chance = chance

    @property
    def name(self) -> str:
        return self.models[0].name

    @property
    def provider(self) -> str:
        return self.models[0].provider

    @property
    def context_length(self) -> int | None:
        return self.models[0].context_length

    @property
    def takes_images(self) -> bool:
        return self.models[0].takes_images

    @property
    def takes_audio(self) -> bool:
        return self.models[0].takes_audio

    async def warm(self, tools: Sequence[ToolSpec] = (), instructions: str = "") -> None:
        """The first model alone: the others are asked when something went wrong, and may then be slow."""
        if isinstance(self.models[0], Warms):
            await self.models[0].warm(tools, instructions)

    async def has_price(self) -> bool:
        """Of the first model. The tables may have to be imported, which takes a moment, in a thread."""
        if self._cost is None:
            return False
        usage = Usage(input_tokens=1, output_tokens=1, api_calls=1)
        return await asyncio.to_thread(self._cost, self.provider, self.name, usage) is not None

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelItem]:
        attempt = 0
        failed: list[tuple[Model, UpstreamError | NoModel]] = []
        for model, following in zip(self.models, (*self.models[1:], None), strict=True):
            failures = 0
            while True:
                attempt += 1
                has_text = False
                try:
                    stream = cast(AsyncGenerator[ModelItem, None], model.stream(request))
                    async with aclosing(stream) as items:
                        async for item in items:
                            if isinstance(item, TextDelta):
                                has_text = True
                            elif isinstance(item, ModelDone):
                                item = self._billed(item, model)
                            yield item
                    return
                except (UpstreamError, NoModel) as exc:
                    if has_text:
                        raise
                    error = exc
                failures += 1
                wait = self._policy.wait_seconds(failures, error, self._chance())
                if wait is None:
                    break
                yield ModelRetried(error.message, attempt + 1, wait, model.name)
                await self._clock.sleep(wait)
            failed.append((model, error))
            if following is None or not _may_another_answer(error):
                raise _of_all(failed)
            yield ModelRetried(error.message, attempt + 1, 0.0, following.name)

    def _billed(self, done: ModelDone, model: Model) -> ModelDone:
        """With the model that answered, and what it costs."""
        usage = done.usage
        if self._cost is not None and usage.cost_usd is None:
            usage = replace(usage, cost_usd=self._cost(model.provider, model.name, usage))
        return replace(done, model=done.model or model.name, usage=usage)

    async def close(self) -> None:
        for model in self.models:
            await model.close()


def _may_another_answer(error: UpstreamError | NoModel) -> bool:
    if isinstance(error, UpstreamRejected):
        return error.status in (402, 404)
    return error.code != "context_length_exceeded"


def _of_all(failed: list[tuple[Model, UpstreamError | NoModel]]) -> UpstreamError | NoModel:
    error = failed[0][1]
    if len(failed) > 1:
        others = "; ".join(f"then {model.name}: {other.message}" for model, other in failed[1:])
        error.message = f"{error.message}; {others}"
        error.args = (error.message,)
    return error
