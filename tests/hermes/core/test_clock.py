"""A pause ends when somebody wakes it, or its time is over, and leaves nothing behind."""

from __future__ import annotations

import asyncio

import pytest

from hermes.core.clock import pause
from tests.support.clock import FakeClock


async def test_a_pause_lasts_its_time_on_the_clock_it_is_given():
    clock = FakeClock()
    pausing = asyncio.ensure_future(pause(clock, 5.0, asyncio.Event()))
    await clock.someone_sleeps()
    clock.advance(4.9)
    assert not (await asyncio.wait((pausing,), timeout=0.01))[0]
    clock.advance(0.1)
    await pausing


@pytest.mark.parametrize("seconds", [5.0, None])
async def test_a_pause_ends_when_somebody_wakes_it_and_nobody_sleeps_on(seconds: float | None):
    clock, wake = FakeClock(), asyncio.Event()
    before = asyncio.all_tasks()
    pausing = asyncio.ensure_future(pause(clock, seconds, wake))
    await asyncio.sleep(0)
    assert not pausing.done()
    wake.set()
    await pausing
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_no_time_at_all_still_lets_the_others_run():
    ran = asyncio.ensure_future(asyncio.sleep(0, "ran"))
    await pause(FakeClock(), 0.0, asyncio.Event())
    await pause(FakeClock(), -1.0, asyncio.Event())
    assert ran.done()
