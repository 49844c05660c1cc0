"""What is open ends when its key opens nothing any more, whatever its handler does meanwhile."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from starlette.types import Message

from hermes.api import open_requests
from hermes.api.auth import OwnerKey, Principal
from hermes.api.open_requests import OpenRequests
from hermes.core import event as events
from hermes.core.errors import StoreUnavailable
from tests.support.api import KEY, FakeRunner, hello, make_services, serving, sse_events
from tests.support.clock import FakeClock

GONE = {"type": "http.disconnect"}
OTHER = "n" * 20 + "0123456789abcdef"


class Ring:
    """One key; `is_good` False: it was revoked. `breaks`: it cannot be looked up."""

    def __init__(self) -> None:
        self.principal = Principal("key_1", "bot", digest=b"d")
        self.is_good = True
        self.breaks = False
        self.asked = 0

    async def find(self, digest: bytes) -> Principal | None:
        self.asked += 1
        if self.breaks:
            raise StoreUnavailable("it is locked")
        return self.principal if self.is_good else None


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting of the module, not its code: tests need not wait half a second each."""
    monkeypatch.setattr(open_requests, "LOOK_EVERY_SECONDS", 0.02)
    monkeypatch.setattr(open_requests, "CUT_SECONDS", 0.1)


def running(*before: events.RunEvent) -> tuple[FakeRunner, asyncio.Event]:
    """A run that says something and then waits."""
    wait = asyncio.Event()
    started = events.RunStarted("sess_1", "scripted")
    return FakeRunner([started, *before, wait, *hello("too late")[1:]]), wait


async def test_a_stream_ends_with_an_error_event_within_a_second() -> None:
    runner, _ = running(events.MessageDelta("before"))
    ring = OwnerKey(KEY)
    async with serving(make_services(runner, keys=ring)) as server:
        run_id = (await runner.start(_request())).id
        async with server.client.stream("GET", f"/v1/runs/{run_id}/events") as stream:
            lines = stream.aiter_lines()
            seen = [await anext(lines) for _ in range(4)]
            ring.replace(OTHER)
            began = time.monotonic()
            seen += [line async for line in lines]
            assert time.monotonic() - began < 1
        last = sse_events("\n".join(seen) + "\n\n")[-1]
        assert last.event == "error"
        assert last.data["error"]["code"] == "invalid_api_key"
        assert "too late" not in "".join(seen)


async def test_a_chat_that_is_not_streamed_is_401_and_its_run_is_stopped() -> None:
    runner, _ = running()
    ring, clock = OwnerKey(KEY), FakeClock()
    async with serving(make_services(runner, keys=ring, clock=clock)) as server:
        asking = asyncio.create_task(server.chat())
        while not runner.requests:
            await asyncio.sleep(0.001)
        ring.replace(OTHER)
        answer = await asyncio.wait_for(asking, 5)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert answer.headers["x-content-type-options"] == "nosniff"
        await clock.someone_sleeps()
        clock.advance(server.services.settings.disconnect_grace_seconds)
        async with asyncio.timeout(5):
            while not runner.stopped:
                await asyncio.sleep(0.001)
        headers = {"Authorization": f"Bearer {OTHER}"}
        assert (await server.client.get("/v1/models", headers=headers)).status_code == 200


async def test_the_streams_of_other_keys_go_on() -> None:
    ring = Ring()
    other = OpenRequests(ring)
    cut: list[str] = []

    async def told() -> None:
        cut.append("told")

    with other.hold(ring.principal, _never, GONE, told) as held:
        await _looked(ring, 3)
        assert (cut, held.is_cut) == ([], False)


async def test_a_handler_that_waits_for_its_client_hears_that_it_left() -> None:
    ring, said = Ring(), asyncio.Event()

    async def told() -> None:
        said.set()

    with OpenRequests(ring).hold(ring.principal, _never, GONE, told) as held:
        waiting = asyncio.create_task(_coroutine(held.receive()))
        await asyncio.sleep(0)
        ring.is_good = False
        assert await asyncio.wait_for(waiting, 5) == GONE
        assert said.is_set()
        assert await held.receive() == GONE
        assert waiting.cancelling() == 0


async def test_a_cancelled_handler_stays_cancelled() -> None:
    ring = Ring()
    with OpenRequests(ring).hold(ring.principal, _never, GONE, _nothing) as held:
        waiting = asyncio.create_task(_coroutine(held.receive()))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_a_client_that_reads_nothing_holds_up_no_other() -> None:
    ring, heard = Ring(), asyncio.Event()
    requests = OpenRequests(ring)

    async def stuck() -> None:
        await asyncio.Event().wait()

    async def told() -> None:
        heard.set()

    with (
        requests.hold(ring.principal, _never, GONE, stuck) as first,
        requests.hold(ring.principal, _never, GONE, told),
    ):
        waiting = asyncio.create_task(_coroutine(first.receive()))
        ring.is_good = False
        await asyncio.wait_for(heard.wait(), 5)
        assert await asyncio.wait_for(waiting, 5) == GONE


async def test_a_store_that_cannot_be_asked_ends_nothing() -> None:
    ring = Ring()
    ring.breaks = True
    with OpenRequests(ring).hold(ring.principal, _never, GONE, _nothing) as held:
        await _looked(ring, 3)
        assert not held.is_cut
        ring.breaks, ring.is_good = False, False
        async with asyncio.timeout(5):
            while not held.is_cut:
                await asyncio.sleep(0.001)


async def test_nothing_is_looked_up_while_nothing_is_open() -> None:
    ring = Ring()
    requests = OpenRequests(ring)
    with requests.hold(ring.principal, _never, GONE, _nothing):
        await _looked(ring, 1)
    await asyncio.sleep(0.1)  # longer than several looks; there is nothing to wait for when nothing may happen
    asked = ring.asked
    await asyncio.sleep(0.1)
    assert ring.asked == asked


async def _looked(ring: Ring, times: int) -> None:
    async with asyncio.timeout(5):
        while ring.asked < times:
            await asyncio.sleep(0.001)


async def _never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def _nothing() -> None:
    pass


async def _coroutine(awaitable: Any) -> Any:
    return await awaitable


def _request() -> Any:
    from hermes.core.run import RunRequest

    return RunRequest(owner="owner", source="api", messages=())
