"""What a client may send: sizes, speed, media type, nesting. Whatever it sends, it gets an answer in the envelope."""

from __future__ import annotations

import asyncio
import json

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes.api.limits import parse_json
from hermes.api.services import ApiSettings
from hermes.core.errors import InvalidInput
from hermes.http.body import MAX_NESTING, is_deeper_than
from tests.support.api import KEY, FakeRunner, Server, make_services, serving

CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}


def code_of(response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def nested(depth: int, open_: bytes = b"[", close: bytes = b"]", core: bytes = b"1") -> bytes:
    return open_ * depth + core + close * depth


async def test_ten_megabytes_pass_and_one_more_byte_does_not(server: Server) -> None:
    limit = server.services.settings.json_limit_bytes
    assert limit == 10 * 1024 * 1024
    frame = b'{"messages":[{"role":"user","content":"%b"}]}'
    body = frame % (b"x" * (limit - len(frame % b"")))
    assert len(body) == limit
    assert (await server.client.post(CHAT, content=body, headers=JSON)).status_code == 200
    assert code_of(await server.client.post(CHAT, content=body + b" ", headers=JSON)) == (413, "body_too_large")


async def test_a_chunked_body_is_counted_as_it_comes_and_refused_before_its_end() -> None:
    async with serving(make_services(settings=ApiSettings(json_limit_bytes=10_000))) as server:
        head = (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer " + KEY.encode() + b"\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        )
        chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
        answer = await server.raw(head + 3 * chunk)  # no last chunk: the answer must not wait for it
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "body_too_large"


async def test_a_declared_length_over_the_limit_is_refused_before_a_byte_is_read(server: Server) -> None:
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer " + KEY.encode() + b"\r\nContent-Length: 99999999\r\nConnection: close\r\n\r\n"
    )
    assert (await server.raw(head)).startswith(b"HTTP/1.1 413 ")


async def test_without_a_key_nothing_of_the_body_is_read(server: Server) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n"
    assert (await server.raw(head + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 401 ")


async def test_a_body_that_does_not_come_times_out_in_the_envelope() -> None:
    async with serving(make_services(settings=ApiSettings(body_timeout_seconds=0.05))) as server:
        head = (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer " + KEY.encode() + b'\r\nContent-Length: 50\r\n\r\n{"mess'
        )
        answer = await asyncio.wait_for(server.raw(head), 10)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_timeout"


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
        "",
        "json",
    ],
)
async def test_only_application_json_is_taken(server: Server, content_type: str) -> None:
    body = b'{"messages":[{"role":"user","content":"Hi"}]}'
    headers = {"Content-Type": content_type} if content_type else {}
    assert code_of(await server.client.post(CHAT, content=body, headers=headers)) == (415, "unsupported_media_type")
    assert server.runner.requests == []


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json;"])
async def test_application_json_may_have_parameters(server: Server, content_type: str) -> None:
    body = b'{"messages":[{"role":"user","content":"Hi"}]}'
    response = await server.client.post(CHAT, content=body, headers={"Content-Type": content_type})
    assert response.status_code == 200


async def test_a_compressed_body_is_refused_by_name(server: Server) -> None:
    headers = JSON | {"Content-Encoding": "gzip"}
    assert code_of(await server.client.post(CHAT, content=b"x", headers=headers)) == (415, "unsupported_media_type")


async def test_an_empty_body_needs_no_type_where_none_is_needed(server: Server) -> None:
    await server.chat()
    response = await server.client.post(f"/v1/runs/run_{1:032x}/stop")
    assert response.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"messages": NaN}',
        b'{"messages": Infinity}',
        b'{"temperature": 1e999}',
        b'{"messages": "\xff\xfe"}',
        b'{"messages": "\xed\xa0\x80"}',
        rb'{"messages": "\ud800"}',
        b"\xef\xbb\xbf{}",
        b"\x00",
        b"{}{}",
        b"{'a': 1}",
        nested(1000),
        nested(1000, b'{"a":', b"}"),
        nested(100_000),
        b"[" * 1_000_000,
        b'{"messages":[{"role":"user","content":"Hi"}],"metadata":' + nested(MAX_NESTING) + b"}",
    ],
    ids=lambda body: repr(body[:30]),
)
async def test_json_that_is_none_or_too_deep_is_400(server: Server, body: bytes) -> None:
    assert code_of(await server.client.post(CHAT, content=body, headers=JSON)) == (400, "invalid_json")


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"text"', b"true", b'[{"role":"user"}]'])
async def test_json_that_is_no_object_is_400(server: Server, body: bytes) -> None:
    assert code_of(await server.client.post(CHAT, content=body, headers=JSON)) == (400, "invalid_request")


def test_nesting_is_counted_exactly() -> None:
    parse_json(nested(MAX_NESTING))
    parse_json(b"[" + b",".join([b"[]"] * 500) + b"]")
    with pytest.raises(InvalidInput):
        parse_json(nested(MAX_NESTING + 1))
    assert is_deeper_than([[]], 1)
    assert not is_deeper_than([[]], 2)
    assert not is_deeper_than("text", 1)
    assert is_deeper_than({"a": [{"b": {}}]}, 3)
    assert not is_deeper_than({"a": [{"b": {}}]}, 4)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)

# Near misses: the right words with anything behind them.
parts = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["text", "image_url", "input_image", "input_audio", "file", "refusal", "video"])
        | json_values,
        "text": st.text() | json_values,
        "image_url": st.fixed_dictionaries({"url": st.text()}) | st.text() | json_values,
        "input_audio": st.fixed_dictionaries({"data": st.text(), "format": st.text()}) | json_values,
        "file": st.fixed_dictionaries({"file_data": st.text()}) | json_values,
    },
)
messages = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"]) | json_values,
        "content": st.text() | st.lists(parts | json_values, max_size=3) | json_values,
        "tool_calls": st.lists(st.fixed_dictionaries({"id": json_values, "function": json_values}), max_size=2)
        | json_values,
        "tool_call_id": st.text() | json_values,
        "name": json_values,
        "refusal": json_values,
    },
)
names = [
    "model",
    "stream",
    "stream_options",
    "tools",
    "tool_choice",
    "temperature",
    "top_p",
    "max_tokens",
    "stop",
    "seed",
]
names += ["n", "response_format", "reasoning", "metadata", "user", "parallel_tool_calls", "functions", "logit_bias"]
chats = st.fixed_dictionaries(
    {"messages": st.lists(messages | json_values, max_size=4) | json_values},
    optional=dict.fromkeys(names, json_values),
)
bodies = st.binary(max_size=200) | json_values.map(orjson.dumps) | chats.map(orjson.dumps)


@pytest.mark.parametrize("path", [CHAT, f"/v1/runs/run_{1:032x}/approval", f"/v1/runs/run_{1:032x}/stop"])
async def test_no_body_is_a_fault_of_the_server(path: str) -> None:
    """Arbitrary bytes, arbitrary JSON, and chats that are nearly right: an answer or an envelope, never a 5xx."""
    async with serving(make_services(FakeRunner())) as server:
        await server.chat()
        loop = asyncio.get_running_loop()

        @settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(bodies)
        def check(body: bytes) -> None:
            sent = asyncio.run_coroutine_threadsafe(server.client.post(path, content=body, headers=JSON), loop)
            response = sent.result(20)
            assert response.status_code < 500, response.text
            if response.status_code >= 400:
                assert set(response.json()["error"]) == {"message", "type", "param", "code"}
            assert response.headers["x-content-type-options"] == "nosniff"

        await asyncio.to_thread(check)
