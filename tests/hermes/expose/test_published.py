"""What a door knows of tunnels while it runs."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from hermes.expose.exposure import Exposure, ExposureFile, Via
from hermes.expose.published import ASK_AGAIN_SECONDS, LOOK_SECONDS, PublicUrl, Published
from tests.support.clock import FakeClock
from tests.support.tunnels import NAME, StandInTailscale, web, with_path

HERE = 8642


def exposure(**changes: object) -> Exposure:
    told = Exposure("https://box.tail1234.ts.net:8443", Via.TAILSCALE, HERE, 1.0, slot=8443)
    return replace(told, **changes)  # type: ignore[arg-type]


def published(run_dir: Path, clock: FakeClock, environ: dict[str, str] | None = None) -> Published:
    told = environ if environ is not None else with_path(run_dir)
    return Published(run_dir, told, now=clock.now, monotonic=clock.monotonic)


def test_a_door_learns_of_a_tunnel_as_it_comes_and_goes(tmp_path: Path, clock: FakeClock) -> None:
    file, door = ExposureFile(tmp_path), published(tmp_path, clock)
    assert (door.tunnel(), door.names(), door.urls()) == ("none", frozenset(), ())
    file.write(exposure())
    assert (door.tunnel(), door.names()) == ("named", frozenset({NAME}))
    assert door.urls() == (PublicUrl(f"https://{NAME}:8443", is_public=True),)
    file.write(exposure(via=Via.COMMAND, url="https://a.example"))
    assert (door.tunnel(), door.names()) == ("nameless", frozenset({"a.example"}))
    file.write(exposure(via=Via.TAILSCALE_SERVE))
    assert door.urls() == (PublicUrl(f"https://{NAME}:8443", is_public=False),)
    file.remove()
    assert (door.tunnel(), door.names(), door.urls()) == ("none", frozenset(), ())


def test_a_tunnel_whose_process_was_killed_or_whose_time_is_over_is_gone(tmp_path: Path, clock: FakeClock) -> None:
    file, door = ExposureFile(tmp_path), published(tmp_path, clock)
    handle = file.hold()
    file.write(exposure(pid=os.getpid(), until=clock.now() + 100))
    assert door.tunnel() == "named"
    clock.advance(100)
    assert (door.exposure(), door.names(), door.urls()) == (None, frozenset(), ())
    assert door.tunnel() == "named"  # its program may take a while to end
    file.write(exposure(pid=os.getpid()))
    assert door.tunnel() == "named"
    os.close(handle)  # as the kernel does when the process dies
    clock.advance(LOOK_SECONDS)
    assert (door.tunnel(), door.names()) == ("none", frozenset())


def test_a_tunnel_stands_before_its_address_is_known(tmp_path: Path, clock: FakeClock) -> None:
    file, door = ExposureFile(tmp_path), published(tmp_path, clock)
    handle = file.hold()
    file.write(exposure(via=Via.COMMAND, url="", pid=os.getpid()))
    assert (door.tunnel(), door.exposure(), door.names(), door.urls()) == ("nameless", None, frozenset(), ())
    assert file.current(clock.now()) is None
    os.close(handle)
    clock.advance(LOOK_SECONDS)
    assert door.tunnel() == "none"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": 1}', '{"via": "smoke"}', "null"])
def test_a_file_that_says_nothing_publishes_nothing(tmp_path: Path, clock: FakeClock, text: str) -> None:
    file, door = ExposureFile(tmp_path), published(tmp_path, clock)
    file.path.write_text(text)
    assert (door.tunnel(), door.names()) == ("none", frozenset())


async def test_a_funnel_set_up_by_hand_is_learned_when_somebody_calls_by_its_name(
    tmp_path: Path, clock: FakeClock
) -> None:
    tool = StandInTailscale(tmp_path, config=web(443, HERE))
    door = published(tmp_path, clock, tool.environ)
    assert not await door.learn("example.com", HERE)
    assert tool.calls == []  # no stranger's name costs a process
    assert await door.learn(NAME, HERE)
    assert door.names() == {NAME}
    assert door.urls() == (PublicUrl(f"https://{NAME}", is_public=True),)
    assert door.tunnel() == "none"  # its headers take privileges away, and are not believed


async def test_tailscale_is_not_asked_more_often_than_now_and_then(tmp_path: Path, clock: FakeClock) -> None:
    tool = StandInTailscale(tmp_path)
    door = published(tmp_path, clock, tool.environ)
    answers = await asyncio.gather(*(door.learn(f"x{number}.ts.net", HERE) for number in range(20)))
    assert not any(answers)
    assert len(tool.calls) == 2  # its own name, and what it serves
    clock.advance(ASK_AGAIN_SECONDS)
    assert not await door.learn("x.ts.net", HERE)
    assert len(tool.calls) == 4


async def test_a_name_of_another_machine_of_the_tailnet_is_not_learned(tmp_path: Path, clock: FakeClock) -> None:
    door = published(tmp_path, clock, StandInTailscale(tmp_path, config=web(443, 9999)).environ)
    assert not await door.learn("other.tail1234.ts.net", HERE)
    assert await door.learn(NAME, HERE)  # this machine's own, which nobody else can have
    assert door.urls() == ()


async def test_a_tailscale_that_is_not_there_or_fails_teaches_nothing(tmp_path: Path, clock: FakeClock) -> None:
    assert not await published(tmp_path, clock).learn(NAME, HERE)
    tool = StandInTailscale(tmp_path, runs=False)
    assert not await published(tmp_path, clock, tool.environ).learn(NAME, HERE)
