"""The life of a chat's answer over a real socket: first bytes, silence, leaving, stopping, repeating."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from hermes.api import sse
from hermes.api.services import ApiSettings, Stop
from hermes.core import event as events
from hermes.core.errors import Busy, Draining, InvalidInput, NoModel, StoreUnavailable, UpstreamAuth
from hermes.core.event import KeptEvent
from tests.support.api import (
    STARTED_AT,
    USAGE,
    FakeRunner,
    Script,
    Sent,
    Server,
    hello,
    make_services,
    serving,
    sse_events,
)
from tests.support.clock import FakeClock

STARTED = events.RunStarted("sess_1", "scripted")
FAILED = events.RunFailed({"message": "the line was too long", "code": "rate_limit_exceeded", "retry_after": 30})


class Reader:
    """Reads a stream event by event, as far as a test wants."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._chunks = response.aiter_text()
        self._text = ""

    async def until(self, part: str) -> str:
        while part not in self._text:
            self._text += await anext(self._chunks)
        return self._text

    async def rest(self) -> str:
        async for chunk in self._chunks:
            self._text += chunk
        return self._text


def stream(server: Server, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    body = {"messages": [{"role": "user", "content": "Hi"}], "stream": True, **fields}
    return server.client.stream("POST", "/v1/chat/completions", json=body, headers=headers)


def serve(script: Script, **values: Any) -> Any:
    return serving(make_services(FakeRunner(script), **values))


async def test_the_role_chunk_comes_before_the_model_says_anything() -> None:
    release = asyncio.Event()
    async with serve([STARTED, release, *hello("Hi")[1:]]) as server, stream(server) as response:
        reader = Reader(response)
        first = await reader.until("\n\n")
        assert [one.data["choices"][0]["delta"] for one in sse_events(first)] == [{"role": "assistant", "content": ""}]
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["x-hermes-session-id"] == "sess_1"
        assert response.headers["x-hermes-run-id"] == f"run_{1:032x}"
        assert response.headers["x-accel-buffering"] == "no"
        assert response.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        release.set()
        assert (await reader.rest()).endswith("data: [DONE]\n\n")


async def test_silence_is_filled_with_comments() -> None:
    release = asyncio.Event()
    settings = ApiSettings(keepalive_seconds=0.01)
    async with serve([STARTED, release, *hello("Hi")[1:]], settings=settings) as server, stream(server) as response:
        reader = Reader(response)
        await reader.until(": keep-alive\n\n: keep-alive\n\n")
        release.set()
        told = sse_events(await reader.rest())
        assert [one.data for one in told][-1] == "[DONE]"
        assert told[1].data["choices"][0]["delta"] == {"content": "Hi"}


def test_silence_is_ten_seconds() -> None:
    assert ApiSettings().keepalive_seconds == 10


async def test_events_that_are_ready_together_go_out_in_one_write() -> None:
    script = [STARTED, *(events.MessageDelta("x") for _ in range(200)), events.RunCompleted("x" * 200, USAGE)]
    async with serve(script) as server, stream(server) as response:
        chunks = [chunk async for chunk in response.aiter_raw()]
    assert len(chunks) <= 6
    assert b"".join(chunks).count(b'"content":"x"') == 200


async def test_a_run_that_never_gets_a_place_is_refused_with_a_status_of_its_own() -> None:
    release = asyncio.Event()
    for is_stream in (True, False):
        async with serve([events.Warned("w"), release, FAILED]) as server:
            release.set()
            response = await server.chat(stream=is_stream)
            assert (response.status_code, response.headers["retry-after"]) == (429, "30")
            assert response.json()["error"]["code"] == "rate_limit_exceeded"


async def test_a_run_that_waits_longer_than_the_line_lets_it_is_answered_meanwhile() -> None:
    release = asyncio.Event()
    settings = ApiSettings(queue_timeout_seconds=-0.99)  # one second is added for the runner's own time limit
    async with serve([release, *hello("Hi")], settings=settings) as server, stream(server) as response:
        reader = Reader(response)
        await reader.until('"role":"assistant"')
        release.set()
        assert "[DONE]" in await reader.rest()


async def test_warnings_from_before_the_start_are_in_the_header_of_a_stream() -> None:
    script = [events.Warned("the client's tool hides the server's"), *hello("Hi")]
    async with serve(script) as server, stream(server, logit_bias={"1": 1}) as response:
        expected = "not supported, ignored: logit_bias; the client's tool hides the server's"
        assert response.headers["x-hermes-warnings"] == expected
        assert "hermes.warning" not in await Reader(response).rest()


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidInput("no such model", param="model"), 400, "invalid_request"),
        (Busy("full", retry_after_seconds=2), 429, "rate_limit_exceeded"),
        (Draining("stopping", retry_after_seconds=5), 503, "gateway_draining"),
        (NoModel("connect one"), 503, "no_model"),
        (StoreUnavailable("disk full"), 503, "store_unavailable"),
        (UpstreamAuth("bad key"), 502, "upstream_auth"),
    ],
)
@pytest.mark.parametrize("is_stream", [True, False])
async def test_what_the_runner_refuses_is_a_status_even_where_a_stream_was_asked_for(
    error: Exception, status: int, code: str, is_stream: bool
) -> None:
    async with serving(make_services(FakeRunner(raises=error))) as server:
        response = await server.chat(stream=is_stream)
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)
        assert ("retry-after" in response.headers) == (status in (429,) or code == "gateway_draining")


class Fast(FakeRunner):
    """Says more than is read ahead, and notes when its reader was closed."""

    closed = False

    async def follow(self, run_id: str, after: int = 0) -> AsyncIterator[KeptEvent]:
        try:
            yield KeptEvent(1, STARTED_AT, STARTED)
            for number in range(5000):
                yield KeptEvent(number + 2, STARTED_AT, events.MessageDelta("x"))
            yield KeptEvent(5002, STARTED_AT, events.RunCompleted("x" * 5000, USAGE))
        finally:
            self.closed = True


async def test_more_events_than_are_read_ahead_arrive_all_the_same() -> None:
    runner = Fast()
    async with serving(make_services(runner)) as server:
        text = (await server.chat(stream=True)).text
        assert text.count('"content":"x"') == 5000
        assert text.endswith("data: [DONE]\n\n")
        assert runner.closed


async def test_a_slow_client_is_not_read_ahead_of_without_end() -> None:
    taken = 0

    async def events_() -> AsyncIterator[KeptEvent]:
        nonlocal taken
        while True:
            taken += 1
            yield KeptEvent(taken, STARTED_AT, events.MessageDelta("x"))

    never = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await never.wait()
        return {}

    async with sse.Feed(events_(), receive, Stop()) as feed:
        while taken < sse.MAX_WAITING:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert taken == sse.MAX_WAITING
        assert len(await feed.next()) == sse.MAX_WAITING
        while taken < 2 * sse.MAX_WAITING:
            await asyncio.sleep(0)


@pytest.mark.parametrize("is_stream", [True, False])
async def test_the_session_headers_come_back(server: Server, is_stream: bool) -> None:
    sent = {"X-Hermes-Session-Id": "my.session:1", "X-Hermes-Session-Key": "user 7 of shop é"}
    raw = {name.encode(): value.encode("latin-1") for name, value in sent.items()}
    response = await server.chat(headers=raw, stream=is_stream)  # type: ignore[arg-type]
    assert {name: response.headers[name] for name in sent} == sent


async def test_a_chat_with_an_image_from_the_owners_network_starts_no_run() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["10.0.0.1"]

    part = {"type": "image_url", "image_url": {"url": "https://pictures.example.com/a.png"}}
    async with serving(make_services(resolve=resolve)) as server:
        response = await server.chat(messages=[{"role": "user", "content": [part]}])
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (400, "invalid_image_url")
        assert error["param"] == "messages[0].content[0].image_url"
        assert server.runner.requests == []


# --- the client leaves ---


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def leave(server: Server, headers: dict[str, str] | None = None, *, is_stream: bool = True) -> None:
    """Ask, wait until the run is there, and close the connection."""
    body = {"messages": [{"role": "user", "content": "Hi"}], "stream": is_stream}
    asking = asyncio.ensure_future(server.client.post("/v1/chat/completions", json=body, headers=headers))
    while not server.runner.runs:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait((asking,))


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("is_stream", [True, False])
async def test_closing_the_connection_stops_the_run_after_the_grace(clock: FakeClock, is_stream: bool) -> None:
    async with serve([STARTED, asyncio.Event()], clock=clock) as server:
        await leave(server, is_stream=is_stream)
        await until(lambda: clock.sleepers == 1)
        clock.advance(1.9)
        await asyncio.sleep(0)
        assert server.runner.stopped == []
        clock.advance(0.2)
        await until(lambda: server.runner.stopped)
        assert server.runner.stopped == [(f"run_{1:032x}", "the client closed the connection")]
        await until(lambda: not server.state.tasks)


async def test_a_run_that_ends_within_the_grace_is_not_stopped(clock: FakeClock) -> None:
    release = asyncio.Event()
    async with serve([STARTED, release, *hello("Hi")[1:]], clock=clock) as server:
        await leave(server)
        await until(lambda: clock.sleepers == 1)
        release.set()
        await until(lambda: not server.state.tasks)
        assert server.runner.stopped == []


async def test_a_server_that_stops_does_not_wait_for_the_grace(clock: FakeClock) -> None:
    async with serve([STARTED, asyncio.Event()], clock=clock) as server:
        await leave(server)
        await until(lambda: clock.sleepers == 1)
        server.services.stop.set()
        await until(lambda: not server.state.tasks)
        assert server.runner.stopped == []  # the drain ends the run, and says why


@pytest.mark.parametrize("headers", [{"X-Hermes-Detach": "true"}, {"Idempotency-Key": "k1"}], ids=str)
@pytest.mark.parametrize("is_stream", [True, False])
async def test_a_detached_run_lives_on(clock: FakeClock, headers: dict[str, str], is_stream: bool) -> None:
    async with serve([STARTED, asyncio.Event()], clock=clock) as server:
        await leave(server, headers, is_stream=is_stream)
        await until(lambda: not server.state.tasks)
        assert (clock.sleepers, server.runner.stopped) == (0, [])


async def test_a_request_that_was_answered_stops_nothing(server: Server) -> None:
    assert (await server.chat()).status_code == 200
    assert (await server.chat(stream=True)).status_code == 200
    await until(lambda: not server.state.tasks)
    assert server.runner.stopped == []


# --- the server stops ---


async def test_an_open_stream_ends_with_an_error_chunk_when_the_server_stops() -> None:
    async with serve([STARTED, events.MessageDelta("Hel"), asyncio.Event()]) as server, stream(server) as response:
        reader = Reader(response)
        await reader.until("Hel")
        server.services.stop.set()
        told = sse_events(await reader.rest())
        assert told[-1].data["error"]["code"] == "gateway_draining"
        assert "[DONE]" not in [one.data for one in told]


async def test_a_plain_request_is_told_to_come_again_when_the_server_stops() -> None:
    async with serve([STARTED, asyncio.Event()]) as server:
        asking = asyncio.ensure_future(server.chat())
        await until(lambda: server.runner.runs)
        server.services.stop.set()
        response = await asking
        assert (response.status_code, response.json()["error"]["code"]) == (503, "gateway_draining")
        assert int(response.headers["retry-after"]) >= 1


class Broken(FakeRunner):
    async def follow(self, run_id: str, after: int = 0) -> AsyncIterator[KeptEvent]:
        yield KeptEvent(1, STARTED_AT, STARTED)
        yield KeptEvent(2, STARTED_AT, events.MessageDelta("Hel"))
        raise StoreUnavailable("the disk is full")


class Bug(FakeRunner):
    async def follow(self, run_id: str, after: int = 0) -> AsyncIterator[KeptEvent]:
        yield KeptEvent(1, STARTED_AT, STARTED)
        raise RuntimeError("a fault of ours")


async def test_events_that_can_no_longer_be_kept_end_the_stream_as_an_error() -> None:
    async with serving(make_services(Broken())) as server:
        told = sse_events((await server.chat(stream=True)).text)
        assert told[1].data["choices"][0]["delta"] == {"content": "Hel"}
        assert told[2] == Sent(
            None,
            {
                "error": {
                    "message": "the disk is full",
                    "type": "server_error",
                    "param": None,
                    "code": "store_unavailable",
                }
            },
        )
        assert len(told) == 3
        plain = await server.chat()
        assert (plain.status_code, plain.json()["error"]["code"]) == (503, "store_unavailable")


async def test_a_fault_of_ours_in_the_middle_is_an_error_chunk_too(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(make_services(Bug())) as server:
        told = sse_events((await server.chat(stream=True)).text)
        assert told[-1].data["error"]["code"] == "internal_error"
        plain = await server.chat()
        assert plain.json()["error"]["code"] == "internal_error"
        assert "a fault of ours" not in plain.text
    assert "a fault of ours" in caplog.text


async def test_a_run_whose_events_end_without_an_end_is_an_error() -> None:
    async with serve([STARTED]) as server:
        assert (await server.chat()).json()["error"]["code"] == "store_unavailable"
        told = sse_events((await server.chat(stream=True)).text)
        assert told[-1].data["error"]["code"] == "store_unavailable"


# --- the same request again ---


async def test_a_repeated_request_gets_the_same_bytes_and_is_told_that_it_is_a_replay(server: Server) -> None:
    first = await server.chat(headers={"Idempotency-Key": "k1"})
    again = await server.chat(headers={"Idempotency-Key": "k1"})
    assert again.content == first.content
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["x-hermes-session-id"] == first.headers["x-hermes-session-id"]
    assert len(server.runner.runs) == 1
    streamed = await server.chat(headers={"Idempotency-Key": "k2"}, stream=True)
    replayed = await server.chat(headers={"Idempotency-Key": "k2"}, stream=True)
    assert (replayed.text, replayed.headers["idempotency-replayed"]) == (streamed.text, "true")


async def test_another_request_under_the_same_key_is_a_conflict(server: Server) -> None:
    await server.chat(headers={"Idempotency-Key": "k1"})
    other = await server.chat("Something else", headers={"Idempotency-Key": "k1"})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_conflict")
    assert other.headers["x-should-retry"] == "false"


async def test_a_repeated_request_joins_the_run_while_it_goes_on() -> None:
    release = asyncio.Event()
    async with serve([STARTED, release, *hello("Hi")[1:]]) as server:
        asking = [asyncio.ensure_future(server.chat(headers={"Idempotency-Key": "k1"})) for _ in range(5)]
        await until(lambda: len(server.runner.requests) == 5)
        release.set()
        answers = await asyncio.gather(*asking)
        assert len({answer.content for answer in answers}) == 1
        assert len(server.runner.runs) == 1


async def test_many_streams_at_once_keep_their_events_apart(server: Server) -> None:
    answers = await asyncio.gather(*(server.chat(stream=True) for _ in range(50)))
    for answer in answers:
        told = sse_events(answer.text)
        assert len({one.data["id"] for one in told[:-1]}) == 1
        assert told[0].data["id"].removeprefix("chatcmpl-") == answer.headers["x-hermes-run-id"].removeprefix("run_")
