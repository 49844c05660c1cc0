"""The client over a real socket, against the scripted server."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from hermes.core.errors import (
    ConfigError,
    StreamCut,
    UpstreamAuth,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnreachable,
)
from hermes.core.message import Message, ToolCall
from hermes.core.model import ModelDone, ModelItem, ModelRequest, ReasoningDelta, TextDelta, ToolSpec
from hermes.core.run import Usage
from hermes.models.openai_chat import OpenAIChatModel
from hermes.models.scripted import Call, ScriptedModelServer, Step
from tests.support.chunks import DONE, chunk, text
from tests.support.clock import FakeClock

ASK = ModelRequest((Message("user", "hi"),))
KEY = "sk-very-secret"


@asynccontextmanager
async def asking(server: ScriptedModelServer, **options: Any) -> AsyncIterator[OpenAIChatModel]:
    model = OpenAIChatModel("m", server.base_url, api_key=KEY, provider="acme", clock=FakeClock(), **options)
    try:
        yield model
    finally:
        await model.close()


async def items_of(model: OpenAIChatModel, request: ModelRequest = ASK) -> list[ModelItem]:
    return [item async for item in model.stream(request)]


async def answer(*script: Step | str, request: ModelRequest = ASK, **options: Any) -> list[ModelItem]:
    async with ScriptedModelServer(script) as server, asking(server, **options) as model:
        return await items_of(model, request)


def done(tokens: int, **more: Any) -> ModelDone:
    return ModelDone("stop", usage=Usage(10, tokens, api_calls=1), model="m", **more)


async def test_a_text_comes_as_deltas_and_a_last_item() -> None:
    async with ScriptedModelServer([Step(text="Hello you there", reasoning="hm")]) as server:
        async with asking(server) as model:
            items = await items_of(model)
        assert items == [ReasoningDelta("hm"), TextDelta("Hello you there"), done(4)]
        assert server.requests == [
            {
                "model": "m",
                "messages": [{"role": "user", "content": "hi"}],
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        ]
        headers = server.received[0].headers
        assert headers["authorization"] == f"Bearer {KEY}"
        assert headers["user-agent"].startswith("hermes-server/")
        assert "accept-encoding" not in headers
        assert "cookie" not in headers


async def test_a_slow_text_comes_token_by_token() -> None:
    items = await answer(Step(text=["a", "b", "c"], delay_ms=5))
    assert items == [TextDelta("a"), TextDelta("b"), TextDelta("c"), done(3)]


async def test_several_tool_calls_in_one_answer() -> None:
    calls = (Call("terminal", {"command": "ls"}), Call("read_file", '{"path": "a', id="mine"))
    items = await answer(Step(text="So:", tool_calls=calls))
    assert items == [
        TextDelta("So:"),
        ModelDone(
            "tool_calls",
            (ToolCall("call_1", "terminal", '{"command":"ls"}'), ToolCall("mine", "read_file", '{"path": "a')),
            Usage(10, 7, api_calls=1),
            "m",
        ),
    ]


async def test_a_connection_is_used_again() -> None:
    async with ScriptedModelServer(["a", "b", "c"]) as server, asking(server) as model:
        for _ in range(3):
            await items_of(model)
        assert len(server.connections) == 1


async def test_a_kept_connection_that_the_server_closed_is_replaced_at_once() -> None:
    async with ScriptedModelServer(["a", Step(hang="before", times=1), "b"]) as server, asking(server) as model:
        await items_of(model)
        second = asyncio.create_task(items_of(model))
        await server.wait_for_requests(2)
        for connection in list(server.connections):
            connection.abort()
        assert await second == [TextDelta("b"), done(1)]


async def test_a_fresh_connection_that_is_closed_is_an_error() -> None:
    async with ScriptedModelServer([Step(hang="before")]) as server, asking(server) as model:
        asked = asyncio.create_task(items_of(model))
        await server.wait_for_requests(1)
        for connection in list(server.connections):
            connection.abort()
        with pytest.raises(UpstreamUnreachable, match="closed the connection without an answer") as error:
            await asked
        assert error.value.is_retryable


async def test_a_server_that_does_not_stream_is_understood() -> None:
    async with serving(whole("Hello", content_type="application/json")) as base_url:
        assert await ask(base_url) == [TextDelta("Hello"), ModelDone("stop", usage=Usage(3, 1, api_calls=1), model="m")]


async def test_an_error_object_with_status_200_is_an_error() -> None:
    body = orjson.dumps({"error": {"message": "model is loading", "code": 503}})
    async with serving(response(body, "application/json")) as base_url:
        with pytest.raises(UpstreamError, match="model is loading") as error:
            await ask(base_url)
        assert (error.value.status, error.value.is_retryable) == (503, True)


async def test_a_web_page_is_no_model() -> None:
    async with serving(response(b"<html><title>Welcome</title></html>", "text/html")) as base_url:
        with pytest.raises(UpstreamRejected, match=r"web page.*/v1"):
            await ask(base_url)


async def test_a_compressed_stream_is_read() -> None:
    body = gzip.compress(text("packed") + chunk({}, "stop") + DONE)
    async with serving(response(body, "text/event-stream", "Content-Encoding: gzip\r\n")) as base_url:
        assert await ask(base_url) == [TextDelta("packed"), ModelDone("stop", usage=Usage(api_calls=1), model="m")]


async def test_a_stream_that_ends_with_the_connection_is_whole() -> None:
    body = text("a") + chunk({}, "stop")
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    async with serving(head + body) as base_url:
        assert await ask(base_url) == [TextDelta("a"), ModelDone("stop", usage=Usage(api_calls=1), model="m")]


async def test_a_break_behind_the_finish_reason_loses_nothing() -> None:
    body = text("a") + chunk({}, "stop")
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(head + b"%x\r\n%s\r\n" % (len(body), body)) as base_url:
        assert await ask(base_url) == [TextDelta("a"), ModelDone("stop", usage=Usage(api_calls=1), model="m")]


async def test_usage_may_be_missing() -> None:
    items = await answer(Step(text="a", has_usage=False))
    assert items == [TextDelta("a"), ModelDone("stop", usage=Usage(api_calls=1), model="m")]


async def test_a_server_that_keeps_the_connection_after_done_does_not_hold_the_answer() -> None:
    raw = [item.decode().removeprefix("data: ").strip() for item in (text("a"), chunk({}, "stop"), DONE)]
    async with ScriptedModelServer([Step(raw=raw, hang=True)]) as server, asking(server) as model:
        items = await items_of(model)
        assert items == [TextDelta("a"), ModelDone("stop", usage=Usage(api_calls=1), model="m")]


@pytest.mark.parametrize(
    ("step", "kind", "message", "wait"),
    [
        (
            Step(status=401, error=f"Incorrect API key provided: {KEY}"),
            UpstreamAuth,
            "does not accept ACME_KEY (401): Incorrect API key provided: ***",
            None,
        ),
        (Step(status=403, error="no"), UpstreamAuth, "does not accept ACME_KEY (403): no", None),
        (
            Step(status=429, headers={"Retry-After": "7"}, error="slow"),
            UpstreamRateLimited,
            "limits its requests (429): slow",
            7.0,
        ),
        (
            Step(status=429, headers={"retry-after-ms": "1500"}),
            UpstreamRateLimited,
            "limits its requests (429): scripted 429",
            1.5,
        ),
        (
            Step(status=429, headers={"Retry-After": "Tue, 14 Nov 2023 22:13:25 GMT"}),
            UpstreamRateLimited,
            "limits its requests (429): scripted 429",
            5.0,
        ),
        (
            Step(status=404, error="no model 'm'"),
            UpstreamRejected,
            "rejected the request for m (404): no model 'm'",
            None,
        ),
        (
            Step(status=503, headers={"Retry-After": "2"}),
            UpstreamError,
            "failed with m (503): scripted 503",
            2.0,
        ),
    ],
)
async def test_a_refusal_is_an_error_that_says_what_the_provider_said(
    step: Step, kind: type[UpstreamError], message: str, wait: float | None
) -> None:
    with pytest.raises(UpstreamError) as error:
        await answer(step, key_name="ACME_KEY")
    assert (type(error.value), error.value.retry_after_seconds) == (kind, wait)
    assert error.value.message.endswith(message)
    assert KEY not in repr(error.value)


async def test_a_redirect_is_not_followed_with_the_key() -> None:
    with pytest.raises(UpstreamError, match=r"redirects to 'https://elsewhere\.test/v1'"):
        await answer(Step(status=307, headers={"Location": "https://elsewhere.test/v1"}))


async def test_a_stream_that_is_cut_is_said_to_be_cut() -> None:
    received: list[ModelItem] = []
    async with ScriptedModelServer([Step(text="one two three", cut_after=400)]) as server, asking(server) as model:
        with pytest.raises(StreamCut, match=r"acme broke off its answer \(m at http://127"):
            async for item in model.stream(ASK):
                received.append(item)
    assert received == [TextDelta("one")]


async def test_an_error_in_the_stream_comes_behind_the_text_before_it() -> None:
    received: list[ModelItem] = []
    script = [Step(text="one two", error_in_stream="engine died")]
    async with ScriptedModelServer(script) as server, asking(server) as model:
        with pytest.raises(UpstreamError, match="engine died") as error:
            async for item in model.stream(ASK):
                received.append(item)
    assert received == [TextDelta("one two")]
    assert (type(error.value), error.value.status) == (UpstreamError, 502)


async def test_a_chunk_that_is_no_json_is_an_error() -> None:
    with pytest.raises(UpstreamError, match="not a JSON object"):
        await answer(Step(raw=['{"choices":[{"del']))


async def test_a_silent_server_is_not_waited_for_longer_than_set() -> None:
    with pytest.raises(UpstreamUnreachable, match="not a byte within"):
        await answer(Step(hang="before"), first_byte_seconds=0.05)


async def test_a_silence_in_the_middle_is_a_cut() -> None:
    received: list[ModelItem] = []
    async with ScriptedModelServer([Step(text="one", hang=True)]) as server:
        async with asking(server, idle_seconds=0.05) as model:
            with pytest.raises(StreamCut, match="silent for too long"):
                async for item in model.stream(ASK):
                    received.append(item)
        await server.wait_for_disconnects(1)
    assert received == [TextDelta("one")]


async def test_nobody_listening_is_said_with_the_address() -> None:
    async with ScriptedModelServer([]) as server:
        base_url = server.base_url
    with pytest.raises(UpstreamUnreachable) as error:
        await ask(base_url)
    assert error.value.message == f"no answer from acme at {base_url}: connection refused"


async def test_an_unknown_host_is_said() -> None:
    with pytest.raises(UpstreamUnreachable, match="the host name is not known"):
        await ask("http://nowhere.invalid/v1")


@pytest.mark.parametrize("hang", [True, "before"])
async def test_cancelling_closes_the_connection_at_once(hang: bool | str) -> None:
    async with ScriptedModelServer([Step(text="one", hang=hang)]) as server, asking(server) as model:
        task = asyncio.create_task(items_of(model))
        await server.wait_for_requests(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            await server.wait_for_disconnects(1)


async def test_leaving_the_stream_closes_the_connection_at_once() -> None:
    async with ScriptedModelServer([Step(text="one", hang=True)]) as server, asking(server) as model:
        stream = model.stream(ASK)
        assert await anext(stream) == TextDelta("one")
        await stream.aclose()  # type: ignore[attr-defined]
        async with asyncio.timeout(5):
            await server.wait_for_disconnects(1)


async def test_parameters_that_a_server_refuses_are_left_out_once_and_for_all() -> None:
    seed = {"error": {"message": "Unsupported parameter: 'seed'", "param": "seed", "code": "unsupported_parameter"}}
    options = {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs"}]}
    script: list[Step | str] = [Step(status=400, error=seed), Step(status=422, error=options), "a", "b"]
    request = ModelRequest(ASK.messages, params={"seed": 1, "temperature": 0.5})
    async with ScriptedModelServer(script) as server, asking(server) as model:
        first = await items_of(model, request)
        second = await items_of(model, request)
        sent = [sorted(body.keys() - {"model", "messages", "stream"}) for body in server.requests]
    ended = ModelDone("stop", usage=Usage(api_calls=1), model="m", ignored_params=("seed",))
    assert (first, second) == ([TextDelta("a"), ended], [TextDelta("b"), ended])
    assert sent == [
        ["seed", "stream_options", "temperature"],
        ["stream_options", "temperature"],
        ["temperature"],
        ["temperature"],
    ]


async def test_the_effort_of_the_settings_is_sent_where_the_caller_says_none() -> None:
    async with ScriptedModelServer(["a", "b"]) as server, asking(server, reasoning_effort="high") as model:
        await items_of(model)
        await items_of(model, ModelRequest(ASK.messages, params={"reasoning_effort": "low"}))
        assert [body["reasoning_effort"] for body in server.requests] == ["high", "low"]


async def test_an_effort_that_the_server_does_not_take_is_told_to_the_log_and_to_no_caller(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = {"error": {"message": "Unsupported parameter: 'reasoning_effort'", "param": "reasoning_effort"}}
    script: list[Step | str] = [Step(status=400, error=error), "a", "b"]
    async with ScriptedModelServer(script) as server, asking(server, reasoning_effort="high") as model:
        items = [await items_of(model), await items_of(model)]
        sent = ["reasoning_effort" in body for body in server.requests]
    assert sent == [True, False, False]
    assert [one[-1].ignored_params for one in items if isinstance(one[-1], ModelDone)] == [(), ()]
    assert [record.message for record in caplog.records if "reasoning_effort" in record.message] == [
        "m of acme does not take reasoning_effort high: it is left out"
    ]


async def test_a_wrong_value_of_the_caller_is_named() -> None:
    error = {"error": {"message": "Invalid 'temperature': decimal above maximum value", "param": "temperature"}}
    request = ModelRequest(ASK.messages, params={"temperature": 9})
    with pytest.raises(UpstreamRejected) as raised:
        await answer(Step(status=400, error=error), request=request)
    assert (raised.value.param, raised.value.status) == ("temperature", 400)


async def test_a_large_request_is_sent_whole() -> None:
    request = ModelRequest((Message("user", "x" * 3_000_000),), (ToolSpec("t", "", {"type": "object"}),))
    async with ScriptedModelServer(["a"]) as server, asking(server) as model:
        await items_of(model, request)
        assert len(server.requests[0]["messages"][0]["content"]) == 3_000_000


@pytest.mark.parametrize("base_url", ["ftp://x/v1", "localhost:1234", "", "http://"])
def test_an_address_that_is_none_is_a_wrong_setting(base_url: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.base_url"):
        OpenAIChatModel("m", base_url)


@pytest.mark.parametrize(
    ("base_url", "path"),
    [
        ("{}", "/v1/chat/completions"),
        ("{}/", "/v1/chat/completions"),
        ("{}/chat/completions", "/v1/chat/completions"),
        ("{}?api-version=7", "/v1/chat/completions?api-version=7"),
    ],
)
async def test_the_address_may_be_given_in_several_ways(base_url: str, path: str) -> None:
    async with ScriptedModelServer(["a"]) as server:
        await ask(base_url.format(server.base_url))
        assert server.received[0].path == path


async def test_a_user_in_the_address_becomes_a_header_and_is_never_shown() -> None:
    async with ScriptedModelServer([Step(status=401)]) as server:
        model = OpenAIChatModel("m", server.base_url.replace("//", "//ann:hidden@"), provider="acme")
        with pytest.raises(UpstreamAuth) as error:
            await items_of(model)
        await model.close()
        assert server.received[0].headers["authorization"] == "Basic YW5uOmhpZGRlbg=="
        assert "hidden" not in error.value.message


async def test_a_proxy_is_used_when_one_is_given() -> None:
    async with ScriptedModelServer(["through"]) as server:
        model = OpenAIChatModel("m", "http://far.invalid/v1", proxy=server.base_url.removesuffix("/v1"))
        assert await items_of(model) == [TextDelta("through"), done(1)]
        await model.close()
        assert server.received[0].path == "http://far.invalid/v1/chat/completions"


def response(body: bytes, content_type: str, headers: str = "") -> bytes:
    return (
        f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode()
        + body
    )


def whole(content: str, content_type: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return response(
        orjson.dumps({"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}), content_type
    )


@asynccontextmanager
async def serving(answer: bytes) -> AsyncIterator[str]:
    """A server that answers every request with these bytes and closes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] = handle
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


async def ask(base_url: str) -> list[ModelItem]:
    model = OpenAIChatModel("m", base_url, provider="acme")
    try:
        return await items_of(model)
    finally:
        await model.close()
