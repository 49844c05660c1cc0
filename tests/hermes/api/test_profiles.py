"""The dispatcher before the doors; homes are only counted. With real ones: tests/acceptance/test_profiles.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from hermes.api.app import build_api
from hermes.api.auth import OwnerKey
from hermes.api.profiles import AtWork, Door, Patient, ProfileHosts, ProfileListener
from hermes.api.routes import build_router
from hermes.api.services import ApiSettings, Services
from hermes.core.clock import SystemClock
from hermes.core.errors import HostNotAllowed, ProfileElsewhere
from hermes.core.hosts import AllowedHosts
from tests.support.api import AUTH, make_services

HERS = "a" * 20 + "0123456789abcdef"
BY_HER = {"Authorization": f"Bearer {HERS}"}


@dataclass
class Homes:
    """Alice alone. `breaks` is raised when she is opened; `log` tells what happened to her home."""

    breaks: Exception | None = None
    log: list[str] = field(default_factory=list)
    services: Services = field(default_factory=lambda: make_services(settings=ApiSettings(model_id="alice")))
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    door_of_alice: Door | None = None
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    said: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hold.set()
        self.door_of_alice = self.made_door()

    def made_door(self) -> Door:
        keys = Patient(OwnerKey(HERS), SystemClock())
        return Door("alice", make_services(keys=keys, settings=ApiSettings(cors_origins=("https://her.example",))))

    def door(self, name: str) -> Door | None:
        return self.door_of_alice if name == "alice" else None

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[AtWork]:
        self.log.append("opening")
        await self.hold.wait()
        if self.breaks is not None:
            raise self.breaks
        self.log.append("open")
        yield AtWork(self.services, build_router(self.services), self.drain, self.until_wanted)
        self.log.append("closed")

    async def drain(self, seconds: float) -> None:
        self.log.append(f"drained in {seconds:g} s")

    async def until_wanted(self, leave: Callable[[], bool]) -> None:
        """Asks again for as long as it hears no."""
        await self.wanted.wait()
        while not (self.said or [False])[-1]:
            self.said.append(leave())
            await asyncio.sleep(0)


@dataclass
class Listening:
    homes: Homes
    listener: ProfileListener
    client: httpx.AsyncClient

    async def models(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        answer = await self.client.get(path, headers=headers)
        body = answer.json()
        told = body["error"]["code"] if "error" in body else body["data"][0]["id"]
        return answer.status_code, told


@asynccontextmanager
async def listening(homes: Homes | None = None) -> AsyncIterator[Listening]:
    homes = homes or Homes()
    async with asyncio.TaskGroup() as group:
        listener = ProfileListener(build_api(make_services()), homes, group)
        transport = httpx.ASGITransport(app=listener, client=("127.0.0.1", 5000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8642") as client:
            yield Listening(homes, listener, client)
        await listener.close()


async def test_a_home_is_opened_by_the_first_request_with_a_key_and_by_no_other() -> None:
    async with listening() as at:
        for headers in ({}, AUTH, {"x-api-key": "wrong"}):
            assert await at.models("/p/alice/v1/models", headers) == (401, "invalid_api_key")
        assert (await at.client.get("/p/alice/health")).status_code == 200
        assert at.homes.log == []
        answers = await asyncio.gather(*(at.models("/p/alice/v1/models", BY_HER) for _ in range(5)))
        assert answers == [(200, "alice")] * 5
        assert at.homes.log == ["opening", "open"]
        assert await at.models("/v1/models", AUTH) == (200, "hermes-agent")
        assert await at.models("/v1/models", BY_HER) == (401, "invalid_api_key")
    assert at.homes.log == ["opening", "open", "closed"]


async def test_what_cannot_be_opened_is_told_and_tried_again() -> None:
    async with listening(Homes(breaks=ProfileElsewhere("ask at http://127.0.0.1:9"))) as at:
        assert await at.models("/p/alice/v1/models", BY_HER) == (503, "profile_elsewhere")
        assert await at.models("/p/alice/v1/models", AUTH) == (401, "invalid_api_key")
        at.homes.breaks = RuntimeError("a secret detail")
        answer = await at.client.get("/p/alice/v1/models", headers=BY_HER)
        assert answer.status_code == 500
        assert "secret" not in answer.text
        at.homes.breaks = None
        assert await at.models("/p/alice/v1/models", BY_HER) == (200, "alice")
        assert at.homes.log == ["opening"] * 3 + ["open"]


async def test_a_client_that_leaves_while_it_opens_keeps_nobody_else_from_it() -> None:
    homes = Homes()
    homes.hold.clear()
    async with listening(homes) as at:
        first, second = (asyncio.create_task(at.models("/p/alice/v1/models", BY_HER)) for _ in range(2))
        while not homes.log:
            await asyncio.sleep(0)
        first.cancel()
        homes.hold.set()
        assert await asyncio.wait_for(second, 5) == (200, "alice")
        assert homes.log == ["opening", "open"]


async def test_while_it_drains_nothing_more_is_opened_and_what_is_open_drains() -> None:
    async with listening() as at:
        await at.models("/p/alice/v1/models", BY_HER)
        await at.listener.drain(3)
        assert at.homes.log == ["opening", "open", "drained in 3 s"]
        assert await at.models("/p/alice/v1/models", BY_HER) == (200, "alice")
    async with listening() as at:
        await at.listener.drain(3)
        assert await at.models("/p/alice/v1/models", BY_HER) == (503, "gateway_draining")
        assert at.homes.log == []


async def test_closing_ends_the_streams_of_an_open_profile() -> None:
    async with listening() as at:
        await at.models("/p/alice/v1/models", BY_HER)
        assert not at.homes.services.stop.is_set
    assert at.homes.services.stop.is_set


async def test_a_home_that_somebody_wants_is_closed_when_nothing_is_asked_there_and_opened_again_after() -> None:
    async with listening() as at:
        await at.models("/p/alice/v1/models", BY_HER)
        profile = at.listener._open["alice"]
        with profile.serving():
            at.homes.wanted.set()
            while not at.homes.said:
                await asyncio.sleep(0)
            assert at.homes.log == ["opening", "open"]
        await asyncio.wait_for(profile.closed.wait(), 5)
        assert at.homes.said[0] is False
        assert at.homes.said[-1] is True
        assert at.homes.log == ["opening", "open", "closed"]
        assert await at.models("/p/alice/v1/models", BY_HER) == (200, "alice")


async def test_streams_that_only_listen_are_ended_and_new_requests_told_to_come_again() -> None:
    async with listening() as at:
        await at.models("/p/alice/v1/models", BY_HER)
        profile = at.listener._open["alice"]
        with profile.serving():
            at.homes.services.http.streams = 1  # what is served is one
            at.homes.wanted.set()
            while not profile.is_leaving:
                await asyncio.sleep(0)
            assert await at.models("/p/alice/v1/models", BY_HER) == (503, "gateway_draining")
            assert not profile.closed.is_set()
        await asyncio.wait_for(profile.closed.wait(), 5)


async def test_wrong_keys_have_one_count_over_all_names() -> None:
    async with listening() as at:
        statuses = [
            (await at.models(f"/p/{name}/v1/models", {"x-api-key": f"guess {number} {name}"}))[0]
            for number in range(6)
            for name in ("nobody", f"n{number}")
        ]
        assert statuses[0] == 401
        assert statuses[-1] == 429
        assert (await at.models("/p/alice/v1/models", {"x-api-key": "another"}))[0] == 429
        assert (await at.models("/v1/models", {"x-api-key": "one more"}))[0] == 429
        assert await at.models("/p/alice/v1/models", BY_HER) == (200, "alice")  # the right key, on loopback


@pytest.mark.parametrize(
    "path", ["/p", "/p/", "/p/alice", "/p//v1/models", "/pp/alice/v1/models", "/v1/p/alice/models"]
)
async def test_what_is_no_path_of_a_profile_opens_none(path: str) -> None:
    async with listening() as at:
        answer = await at.client.get(path, headers=BY_HER)
        assert answer.status_code in (200, 401)  # 200: the plain page at /
        assert at.homes.log == []


async def test_the_origins_of_a_profile_hold_for_its_paths_alone() -> None:
    ask = {"Origin": "https://her.example", "Access-Control-Request-Method": "GET"}
    async with listening() as at:
        granted = await at.client.options("/p/alice/v1/models", headers=ask)
        assert granted.headers["access-control-allow-origin"] == "https://her.example"
        for path in ("/v1/models", "/p/nobody/v1/models"):
            assert "access-control-allow-origin" not in (await at.client.options(path, headers=ask)).headers


async def test_a_door_that_was_made_anew_is_the_one_that_counts() -> None:
    async with listening() as at:
        assert await at.models("/p/alice/v1/models", BY_HER) == (200, "alice")
        at.homes.door_of_alice = None
        assert await at.models("/p/alice/v1/models", BY_HER) == (401, "invalid_api_key")
        at.homes.door_of_alice = at.homes.made_door()
        assert await at.models("/p/alice/v1/models", BY_HER) == (200, "alice")
        assert at.homes.log == ["opening", "open"]


async def test_a_no_takes_the_same_time_whatever_was_looked_up() -> None:
    class Slow:
        async def find(self, digest: bytes) -> None:
            await asyncio.sleep(0.005)

    loop = asyncio.get_running_loop()
    for keys in (Slow(), OwnerKey(HERS)):
        began = loop.time()
        assert await Patient(keys, SystemClock()).find(b"x" * 32) is None
        assert loop.time() - began >= 0.02


def test_a_profile_is_reached_by_the_names_of_the_listener_and_by_its_own() -> None:
    hosts = ProfileHosts(AllowedHosts("127.0.0.1", ["hermes.example"]), "127.0.0.1", ["alice.example"])
    for name in (b"hermes.example", b"alice.example", b"localhost:8642"):
        assert hosts.check([(b"host", name)], None)
    with pytest.raises(HostNotAllowed):
        hosts.check([(b"host", b"evil.example")], None)


async def test_what_is_no_request_goes_to_the_default() -> None:
    seen: list[str] = []

    async def receive() -> Any:
        return {"type": "lifespan.shutdown"}

    async def send(message: Any) -> None:
        seen.append(message["type"])

    async with listening() as at:
        await at.listener({"type": "lifespan", "path": ""}, receive, send)
    assert seen == ["lifespan.shutdown.complete"]
