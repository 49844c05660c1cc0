"""The trash is emptied by Link, too, and not by a clock that jumped."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes.core.doubt import DAY_SECONDS
from hermes.home.config_file import set_config
from hermes.home.paths import Home
from hermes.home.trash import place_in_trash
from hermeslink.profiles.trash import EVERY_SECONDS, Trash
from tests.support.clock import FakeClock

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")


async def hours(clock: FakeClock, count: int) -> None:
    for _ in range(count):
        await clock.someone_sleeps()
        clock.advance(EVERY_SECONDS)
    await clock.someone_sleeps()


async def test_what_lay_there_longer_than_the_setting_says_goes(tmp_path: Path) -> None:
    clock = FakeClock()
    set_config(Home(tmp_path).config_file, ["retention", "trash_days"], 2)
    old, new = (place_in_trash(tmp_path, name, clock.now() - days * DAY_SECONDS) for name, days in (("a", 3), ("b", 1)))
    for place in (old, new):
        place.mkdir()
    async with Trash(tmp_path, clock, {}).emptied():
        await clock.someone_sleeps()
        assert old.exists()
        await hours(clock, 1)
    assert not old.exists()
    assert new.exists()


async def test_a_clock_that_jumped_empties_nothing(tmp_path: Path) -> None:
    clock = FakeClock()
    place = place_in_trash(tmp_path, "a", clock.now())
    place.mkdir()
    async with Trash(tmp_path, clock, {}).emptied():
        await hours(clock, 1)
        clock.step = 365 * DAY_SECONDS
        await hours(clock, 2)
        clock.step = 0.0
        await hours(clock, 1)
    assert place.exists()


async def test_a_file_that_cannot_be_read_ends_nothing(tmp_path: Path) -> None:
    clock = FakeClock()
    Home(tmp_path).config_file.write_text("a: [\n")
    place = place_in_trash(tmp_path, "a", clock.now() - 365 * DAY_SECONDS)
    place.mkdir()
    async with Trash(tmp_path, clock, {}).emptied():
        await hours(clock, 2)
        assert place.exists()
        Home(tmp_path).config_file.write_text("")
        await hours(clock, 1)
    assert not place.exists()
