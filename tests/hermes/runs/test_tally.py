"""What the runner counts, on a clock that only the tests move."""

from __future__ import annotations

import asyncio

from hermes.core import event as events
from hermes.core.model import TextDelta
from hermes.core.run import Run
from hermes.runs.runner import Runner, RunnerSettings
from tests.support.clock import FakeClock
from tests.support.engine import ask, open_runner
from tests.support.models import ScriptedModel, says


async def end_of(runner: Runner, run: Run) -> events.RunEvent:
    return [kept.event async for kept in runner.follow(run.id)][-1]


async def test_a_run_is_counted_before_anybody_hears_of_its_end() -> None:
    async with open_runner(ScriptedModel([says("Hi.")])) as runner:
        run = await runner.start(ask(source="api"))
        async for kept in runner.follow(run.id):
            counted = dict(runner.tally.ended)
            assert counted == ({("api", "completed"): 1} if isinstance(kept.event, events.RunCompleted) else {})
        assert (runner.tally.usage.input_tokens, runner.tally.usage.output_tokens) == (10, 5)


async def test_the_first_text_is_measured_from_the_request_and_our_own_part_without_the_line() -> None:
    clock = FakeClock()
    hold, slow = asyncio.Event(), asyncio.Event()
    model = ScriptedModel([[hold, *says("1")], [slow, TextDelta("2"), *says("!")]])
    async with open_runner(model, clock=clock, settings=RunnerSettings(max_running=1)) as runner:
        first = await runner.start(ask(source="api"))
        second = await runner.start(ask(source="api", may_wait_forever=True))
        while not model.requests:
            await asyncio.sleep(0)
        clock.advance(4)
        hold.set()
        await end_of(runner, first)
        while len(model.requests) < 2:
            await asyncio.sleep(0)
        clock.advance(3)
        slow.set()
        await end_of(runner, second)
        tally = runner.tally
        assert (tally.queue_wait.total, tally.overhead.total) == (4.0, 0.0)
        assert tally.first_token.total == 4.0 + 7.0


async def test_a_run_that_never_came_to_its_model_counts_only_as_one_that_waited() -> None:
    hold = asyncio.Event()
    async with open_runner(ScriptedModel([[hold, *says("1")]]), settings=RunnerSettings(max_running=1)) as runner:
        running = await runner.start(ask())
        waiting = await runner.start(ask(may_wait_forever=True))
        await runner.stop(waiting.id, "owner")
        assert isinstance(await end_of(runner, waiting), events.RunCancelled)
        assert dict(runner.tally.ended) == {("test", "cancelled"): 1}
        assert sum(runner.tally.overhead.counts) == sum(runner.tally.first_token.counts) == 0
        hold.set()
        await end_of(runner, running)
