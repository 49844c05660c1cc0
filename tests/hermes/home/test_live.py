"""Settings that change under a process: which it takes up, when, and which wait for a restart."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from hermes.core.clock import Clock, SystemClock
from hermes.core.errors import ConfigError
from hermes.home.config_file import set_config
from hermes.home.env import set_env
from hermes.home.files import write_private
from hermes.home.live import NEEDS_RESTART, SETTLE_SECONDS, LiveSettings, needs_restart, waiting
from hermes.home.names import below, find_setting
from hermes.home.paths import Home, create_home
from hermes.home.settings import Settings, load_settings
from tests.support.clock import FakeClock


@pytest.mark.parametrize(
    "name",
    [
        "api_server.port",
        "gateway.api_server.port",
        "platforms.api_server.host",
        "API_SERVER_PORT",
        "HERMES_DATABASE_URL",
        "logging.level",
        "api_server.key",
        "api_server",
    ],
)
def test_what_the_process_is_made_with_needs_a_restart(name: str) -> None:
    assert needs_restart(name)


@pytest.mark.parametrize(
    "name",
    [
        "approvals.mode",
        "toolsets",
        "platform_toolsets.api_server",
        "terminal.backend",
        "model.default",
        "model",
        "memory.memory_enabled",
        "HASS_TOKEN",
        "OPENAI_API_KEY",
        "A_KEY_OF_MINE",
        "API_SERVER_KEY",
    ],
)
def test_the_rest_is_taken_up_as_it_is(name: str) -> None:
    assert not needs_restart(name)


def test_every_name_that_needs_one_is_a_setting() -> None:
    assert [name for name in NEEDS_RESTART if find_setting(name) is None and not below(name)] == []


def test_what_waits_is_named_and_not_shown(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    create_home(home)
    started = load_settings(home, {})
    home.config_file.write_text("approvals: {mode: 'off'}\napi_server: {port: 9999}\nlogging: {level: debug}\n")
    assert waiting(started, load_settings(home, {})) == ("api_server.port", "logging.level")
    home.env_file.write_text("API_SERVER_ENABLED=true\nAPI_SERVER_KEY=" + "k" * 40 + "\n")
    assert waiting(started, load_settings(home, {})) == ("api_server.port", "logging.level")
    assert waiting(started, started) == ()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    create_home(home)
    return home


def live_settings(home: Home, clock: Clock | None = None) -> LiveSettings:
    return LiveSettings(load_settings(home, {}), home=home, environ={}, clock=clock or SystemClock())


async def test_what_was_changed_is_told_once_with_what_was_before(home: Home) -> None:
    live = live_settings(home)
    seen: list[tuple[str, str]] = []
    live.on_change(lambda before, now: seen.append((before.approvals.mode, now.approvals.mode)))
    await live.look()
    assert seen == []
    set_config(home.config_file, ["approvals", "mode"], "off")
    await asyncio.gather(*(live.look() for _ in range(20)))
    assert seen == [("manual", "off")]
    set_env(home.env_file, "A_KEY", "of mine")
    await live.look()
    assert (live.now.environ["A_KEY"], len(seen)) == ("of mine", 2)


async def test_a_change_between_the_reading_and_the_first_look_is_not_missed(home: Home) -> None:
    settings = load_settings(home, {})
    set_config(home.config_file, ["approvals", "mode"], "off")
    live = LiveSettings(settings, home=home, environ={}, clock=SystemClock())
    await live.look()
    assert live.now.approvals.mode == "off"


async def test_a_file_that_is_written_in_place_is_read_when_it_was_left_alone(home: Home) -> None:
    clock = FakeClock()
    live = live_settings(home, clock)
    half, whole = "approvals: {mode: 'off'}\n", "approvals: {mode: 'off', deny: ['rm *']}\n"
    home.config_file.write_text(half)
    os.utime(home.config_file, (clock.now(), clock.now()))
    looking = asyncio.create_task(live.look())
    await clock.someone_sleeps()
    assert live.now.approvals.mode == "manual"
    home.config_file.write_text(whole)
    os.utime(home.config_file, (clock.now(), clock.now()))
    for _ in range(3):
        clock.advance(SETTLE_SECONDS / 2)
        await asyncio.sleep(0)
    await looking
    assert live.now.approvals.deny == ["rm *"]


async def test_a_file_that_an_editor_takes_away_for_a_moment_is_waited_for(home: Home) -> None:
    home.config_file.write_text("approvals: {deny: ['rm *']}\n")
    clock = FakeClock()
    live = live_settings(home, clock)
    there = home.config_file.rename(home.path / "backup")
    looking = asyncio.create_task(live.look())
    await clock.someone_sleeps()
    there.rename(home.config_file)
    clock.advance(SETTLE_SECONDS)
    await looking
    assert live.now.approvals.deny == ["rm *"]


async def test_what_cannot_be_used_leaves_all_as_it_was_and_is_said_once(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    live = live_settings(home)

    def check(settings: Settings) -> None:
        if settings.delegation.model == "nobody":
            raise ConfigError("delegation.model: there is no 'nobody'")

    live.check(check)
    for text, problem in (
        ("approvals: [\n", "config.yaml, line 2"),
        (f"approvals: {'[' * 3000}{']' * 3000}\n", "too deeply"),
        ("approvals: {mode: x}\nlimits: {max_steps: none}\n", "approvals.mode: expected one of"),
        ("approvals: {mode: 'off'}\ndelegation: {model: nobody}\n", "there is no 'nobody'"),
    ):
        write_private(home.config_file, text)
        for _ in range(2):
            await live.look()
        assert problem in live.problem
        assert str(home.path) not in live.problem
        assert "\n" not in live.problem
        assert live.now.approvals.mode == "manual"
    assert len([one for one in caplog.records if "cannot be used" in one.message]) == 4
    write_private(home.config_file, "approvals: {mode: 'off'}\n")
    await live.look()
    assert (live.problem, live.now.approvals.mode) == ("", "off")


async def test_what_has_to_be_waited_for_is_done_by_the_next_when_the_first_left(home: Home) -> None:
    live = live_settings(home)
    begun, done = asyncio.Event(), []

    async def follow() -> None:
        if not begun.is_set():
            begun.set()
            await asyncio.Event().wait()
        done.append(live.now.approvals.mode)

    live.behind(follow)
    set_config(home.config_file, ["approvals", "mode"], "off")
    first = asyncio.create_task(live.look())
    await begun.wait()
    first.cancel()
    await asyncio.wait([first])
    await live.look()
    await live.look()
    assert done == ["off"]


async def test_a_fault_of_whoever_takes_them_up_ends_no_request_and_is_said(home: Home) -> None:
    def fault(*_: object) -> None:
        raise RuntimeError("a fault")

    async def late() -> None:
        fault()

    for wire in (LiveSettings.check, LiveSettings.on_change):
        live = live_settings(home)
        wire(live, fault)
        set_config(home.config_file, ["approvals", "timeout"], 5 if wire is LiveSettings.check else 6)
        await live.look()
        assert "the log says why" in live.problem
    live = live_settings(home)
    live.behind(late)
    set_config(home.config_file, ["approvals", "timeout"], 7)
    await live.look()
    assert "hermes gateway restart" in live.problem
    assert live.now.approvals.timeout == 7


async def test_a_process_without_a_home_looks_at_nothing() -> None:
    await LiveSettings(Settings(), home=None, environ={}, clock=SystemClock()).look()


async def test_a_look_is_no_part_of_what_a_turn_costs(home: Home) -> None:
    """Two looks at the disk: no thread, no reading, nothing that another task could come between."""
    live = live_settings(home)
    coroutine = live.look()
    with pytest.raises(StopIteration):
        coroutine.send(None)
