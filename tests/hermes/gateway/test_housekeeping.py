"""What is removed for its age, and a clock that is not believed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from hermes.app import Engine
from hermes.core.doubt import AWAY_SECONDS, DAY_SECONDS, Doubt
from hermes.gateway.housekeeping import EVERY_SECONDS, keep_house
from hermes.home.live import LiveSettings
from hermes.home.paths import Home
from hermes.home.settings import load_settings
from hermes.home.trash import place_in_trash
from hermes.store import sessions
from hermes.store.database import Database
from tests.support.clock import FakeClock
from tests.support.database import new_url
from tests.support.store import keep_session

YEAR = 365 * DAY_SECONDS


def hours(doubt: Doubt, clock: FakeClock, count: int) -> list[bool]:
    """Whether the clock was believed in each of the next hours."""
    believed = []
    for _ in range(count):
        clock.advance(EVERY_SECONDS)
        believed.append(doubt.about(clock.now() - EVERY_SECONDS) is None)
    return believed


def test_a_clock_that_goes_its_way_is_believed() -> None:
    clock = FakeClock()
    doubt = Doubt(clock)
    assert doubt.about(None) is None
    assert hours(doubt, clock, 50) == [True] * 50


def test_a_clock_that_is_put_forward_is_believed_a_day_later() -> None:
    clock = FakeClock()
    doubt = Doubt(clock)
    assert doubt.about(clock.now()) is None
    clock.step = YEAR
    clock.advance(EVERY_SECONDS)
    assert doubt.about(clock.now()) == "the clock was put forward by 365.0 days"
    assert hours(doubt, clock, 25) == [False] * 23 + [True] * 2


def test_a_clock_that_is_put_right_again_has_done_no_harm() -> None:
    clock = FakeClock()
    doubt = Doubt(clock)
    clock.step = YEAR
    assert doubt.about(clock.now()) is not None
    clock.step = 0.0
    assert hours(doubt, clock, 25)[:22] == [False] * 22


@pytest.mark.parametrize("step", [3600.0, -3600.0, -YEAR])
def test_an_hour_of_summer_and_a_step_backwards_are_no_danger(step: float) -> None:
    clock = FakeClock()
    doubt = Doubt(clock)
    clock.step = step
    assert doubt.about(clock.now()) is None


def test_a_start_whose_clock_was_never_set_removes_nothing() -> None:
    clock = FakeClock()
    doubt = Doubt(clock)
    before = clock.now() - AWAY_SECONDS - DAY_SECONDS
    assert doubt.about(before) == "the clock says that 31 days have passed since the last time"
    said = []
    for _ in range(25):
        clock.advance(EVERY_SECONDS)
        said.append(doubt.about(before) is None)
    assert said == [False] * 23 + [True] * 2


def test_a_gateway_that_was_away_for_a_week_is_no_danger() -> None:
    clock = FakeClock()
    assert Doubt(clock).about(clock.now() - 7 * DAY_SECONDS) is None


class _Index:
    async def tidy(self) -> None:
        pass


async def test_nothing_is_removed_by_a_clock_that_was_put_forward_and_put_right_again(tmp_path: Path) -> None:
    clock = FakeClock()
    database = await Database.open(new_url())
    await database.write(lambda conn: keep_session(conn, is_stateless=True, last_active=clock.now()))
    home = Home(tmp_path / "home")
    place_in_trash(home.path, "alice", clock.now()).mkdir()
    live = LiveSettings(load_settings(home, {}), home=home, environ={}, clock=clock)
    parts = SimpleNamespace(clock=clock, database=database, sessions=_Index(), home=home, live=live, settings=live.now)
    keeping = asyncio.create_task(keep_house(cast(Engine, parts)))
    for step in (0.0, YEAR, 0.0):
        clock.step = step
        for _ in range(3):
            await clock.someone_sleeps()
            clock.advance(EVERY_SECONDS)
    await clock.someone_sleeps()
    assert await database.read(sessions.get, "s") is not None
    assert len(list((home.path / "trash").iterdir())) == 1
    for _ in range(24):
        clock.step = YEAR  # and this time it stays
        clock.advance(EVERY_SECONDS)
        await clock.someone_sleeps()
    clock.advance(EVERY_SECONDS)
    await clock.someone_sleeps()
    assert await database.read(sessions.get, "s") is None
    assert list((home.path / "trash").iterdir()) == []
    keeping.cancel()
    await database.close()
