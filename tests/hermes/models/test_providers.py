"""Anthropic's own API through pydantic-ai, over a real socket, against a stand-in of its wire format."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from hermes.core.errors import (
    ConfigError,
    NoModel,
    StreamCut,
    UpstreamAuth,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnreachable,
)
from hermes.core.message import FilePart, ImagePart, Message, TextPart, ToolCall
from hermes.core.model import ModelDone, ModelItem, ModelRequest, ReasoningDelta, TextDelta, ToolSpec
from hermes.core.run import Usage
from hermes.models.providers import PydanticAIModel
from tests.support.anthropic import AnthropicServer, Blocks, Failure

pytest.importorskip("anthropic")

LS = ToolSpec("ls", "List files", {"type": "object", "properties": {"path": {"type": "string"}}})
ASK = ModelRequest((Message("user", "hi"),))
KEY = "sk-ant-very-secret"
USAGE = Usage(100, 15, 70, 10, 0, 1)
HELLO: Blocks = [{"type": "text", "text": "Hel|lo"}]
SIGNED_CALL: Blocks = [
    {"type": "thinking", "thinking": "hm", "signature": "signed-by-them"},
    {"type": "text", "text": "So:"},
    {"type": "tool_use", "id": "toolu_1", "name": "ls", "input": {"path": "."}},
]


@asynccontextmanager
async def asking(
    server: AnthropicServer, name: str = "claude-sonnet-5-5", effort: str | None = None
) -> AsyncIterator[PydanticAIModel]:
    model = PydanticAIModel(
        name,
        provider="anthropic",
        api_key=KEY,
        base_url=server.base_url,
        reasoning_effort=effort,
        key_name="THE_KEY",
    )
    try:
        yield model
    finally:
        await model.close()


async def items_of(model: PydanticAIModel, request: ModelRequest = ASK) -> list[ModelItem]:
    return [item async for item in model.stream(request)]


async def answer(
    server: AnthropicServer, request: ModelRequest = ASK, name: str = "claude-sonnet-5-5"
) -> list[ModelItem]:
    async with server, asking(server, name) as model:
        return await items_of(model, request)


async def test_text_comes_as_deltas() -> None:
    server = AnthropicServer(HELLO)
    assert await answer(server) == [
        TextDelta("Hel"),
        TextDelta("lo"),
        ModelDone("stop", usage=USAGE, model="claude-sonnet-5-5"),
    ]

    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


async def test_thoughts_and_tool_calls() -> None:
    items = await answer(AnthropicServer(SIGNED_CALL), ModelRequest(ASK.messages, (LS,)))
    assert items == [
        ReasoningDelta("hm"),
        TextDelta("So:"),
        ModelDone("tool_calls", (ToolCall("toolu_1", "ls", '{"path": "."}'),), USAGE, "claude-sonnet-5-5"),
    ]


async def test_the_effort_of_the_settings_is_sent_where_the_caller_says_none() -> None:
    async with (
        AnthropicServer(HELLO, HELLO) as server,
        asking(server, "claude-haiku-4-5", "high") as model,
    ):
        await items_of(model)
        await items_of(model, ModelRequest(ASK.messages, params={"reasoning_effort": "none"}))
        assert [body.get("thinking", {}).get("type") for body in server.requests] == ["enabled", None]


def test_an_effort_for_a_model_that_does_not_think_is_left_out() -> None:
    from hermes.models.pydantic_ai_format import to_settings

    silent: Any = SimpleNamespace(profile={"supports_thinking": False}, unsupported_settings=frozenset())
    settings, ignored = to_settings(ASK, silent, "high")
    assert ("thinking" in settings, ignored) == (False, ())


async def test_the_request_is_in_their_format() -> None:
    server = AnthropicServer(HELLO)
    request = ModelRequest(
        (
            Message("system", "Be brief."),
            Message("user", (TextPart("look"), ImagePart("data:image/png;base64,AA=="))),
            Message("assistant", "So:", tool_calls=(ToolCall("c1", "ls", '{"path":"."}'), ToolCall("c2", "ls", "{"))),
            Message("tool", "a.txt", tool_call_id="c1"),
            Message("tool", "bad arguments", tool_call_id="c2"),
            Message("user", (TextPart("and this"), FilePart("a.pdf", "AA=="), FilePart("b.txt", "", None, "read"))),
        ),
        (LS,),
        "required",
        {"max_tokens": 77, "stop": "END", "seed": 1, "metadata": {"a": "b"}, "parallel_tool_calls": False},
    )
    items = await answer(server, request, "claude-haiku-4-5")
    assert items[-1] == ModelDone("stop", usage=USAGE, model="claude-haiku-4-5", ignored_params=("seed", "metadata"))
    sent = _without_cache_marks(server.requests[0])
    assert {key: sent[key] for key in ("model", "stream", "max_tokens", "stop_sequences", "tool_choice", "system")} == {
        "model": "claude-haiku-4-5",
        "stream": True,
        "max_tokens": 77,
        "stop_sequences": ["END"],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "system": [{"type": "text", "text": "Be brief."}],
    }
    assert [(tool["name"], tool["description"]) for tool in sent["tools"]] == [("ls", "List files")]
    assert sent["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "So:"},
                {"type": "tool_use", "id": "c1", "name": "ls", "input": {"path": "."}},
                {"type": "tool_use", "id": "c2", "name": "ls", "input": {"INVALID_JSON": "{"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "c1",
                    "content": [{"type": "text", "text": "a.txt"}],
                    "is_error": False,
                },
                {
                    "type": "tool_result",
                    "tool_use_id": "c2",
                    "content": [{"type": "text", "text": "bad arguments"}],
                    "is_error": False,
                },
                {"type": "text", "text": "and this"},
                {
                    "type": "document",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": "AA=="},
                },
                {"type": "text", "text": "read"},
            ],
        },
    ]


async def test_the_prompt_is_marked_for_their_cache() -> None:
    server = AnthropicServer(HELLO)
    await answer(server, ModelRequest((Message("system", "Be brief."), *ASK.messages), (LS,)))
    assert "cache_control" in server.requests[0]["tools"][-1]


async def test_what_they_signed_goes_back_with_the_tool_call() -> None:
    server = AnthropicServer(SIGNED_CALL, HELLO)
    async with server, asking(server) as model:
        items = await items_of(model, ModelRequest(ASK.messages, (LS,)))
        done = items[-1]
        assert isinstance(done, ModelDone)
        call = Message("assistant", "So:", tool_calls=done.tool_calls)
        result = Message("tool", "a.txt", tool_call_id="toolu_1")
        await items_of(model, ModelRequest((*ASK.messages, call, result), (LS,)))
    sent = _without_cache_marks(server.requests[1])
    assert sent["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "signed-by-them"},
        {"type": "text", "text": "So:"},
        {"type": "tool_use", "id": "toolu_1", "name": "ls", "input": {"path": "."}},
    ]


@pytest.mark.parametrize(
    ("failure", "kind", "message", "wait"),
    [
        (
            (401, "authentication_error", f"invalid x-api-key {KEY}", {}),
            UpstreamAuth,
            "does not accept THE_KEY (401): invalid x-api-key ***",
            None,
        ),
        (
            (429, "rate_limit_error", "slow down", {"retry-after": "9"}),
            UpstreamRateLimited,
            "anthropic limits its requests (429): slow down",
            9.0,
        ),
        (
            (529, "overloaded_error", "Overloaded", {}),
            UpstreamError,
            "anthropic failed with claude-sonnet-5-5 (529): Overloaded",
            None,
        ),
        (
            (500, "api_error", "oops", {}),
            UpstreamError,
            "anthropic failed with claude-sonnet-5-5 (500): oops",
            None,
        ),
        (
            (404, "not_found_error", "model: x", {}),
            UpstreamRejected,
            "anthropic rejected the request for claude-sonnet-5-5 (404): model: x",
            None,
        ),
        (
            (400, "invalid_request_error", "bad", {}),
            UpstreamRejected,
            "anthropic rejected the request for claude-sonnet-5-5 (400): bad",
            None,
        ),
    ],
)
async def test_their_errors_become_ours_and_are_not_retried_below_us(
    failure: Any, kind: type[UpstreamError], message: str, wait: float | None
) -> None:
    server = AnthropicServer(failure)
    with pytest.raises(UpstreamError) as error:
        await answer(server)
    assert (type(error.value), error.value.status, error.value.retry_after_seconds) == (kind, failure[0], wait)
    assert error.value.message.endswith(message)
    assert KEY not in str(error.value)
    assert len(server.requests) == 1


async def test_a_prompt_that_is_too_long_has_its_code() -> None:
    failure: Failure = (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", {})
    with pytest.raises(UpstreamRejected) as error:
        await answer(AnthropicServer(failure))
    assert error.value.code == "context_length_exceeded"


async def test_a_stream_that_breaks_off_is_a_cut() -> None:
    received: list[ModelItem] = []
    server = AnthropicServer(HELLO, cut_after=4)
    async with server, asking(server) as model:
        with pytest.raises(StreamCut, match="anthropic broke off its answer"):
            async for item in model.stream(ASK):
                received.append(item)
    assert received == [TextDelta("Hel")]


async def test_nobody_listening_is_said_with_the_address() -> None:
    async with AnthropicServer() as server:
        base_url = server.base_url
    with pytest.raises(UpstreamUnreachable, match=f"no answer from anthropic at {base_url}"):
        async with asking(server) as model:
            await items_of(model)


async def test_a_stream_may_be_left_and_the_model_asked_again() -> None:
    server = AnthropicServer(HELLO, HELLO)
    async with server, asking(server) as model:
        stream = model.stream(ASK)
        assert await anext(stream) == TextDelta("Hel")
        await stream.aclose()  # type: ignore[attr-defined]
        assert (await items_of(model))[:2] == [TextDelta("Hel"), TextDelta("lo")]


async def test_cancelling_ends_the_call() -> None:
    server = AnthropicServer(HELLO)
    async with server, asking(server) as model:
        task = asyncio.create_task(items_of(model))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_provider_that_is_not_installed_says_what_to_install() -> None:
    model = PydanticAIModel("command-a", provider="cohere", api_key="k")
    with pytest.raises(NoModel, match=r"cohere needs pip install 'hermes-server\[providers\]'"):
        await items_of(model)


async def test_a_provider_that_nobody_knows_is_a_wrong_setting() -> None:
    model = PydanticAIModel("x", provider="nobody", api_key="k")
    with pytest.raises(ConfigError, match="nobody"):
        await items_of(model)


def test_nothing_of_pydantic_ai_is_imported_before_the_first_request() -> None:
    code = (
        "import sys, hermes.models.providers as p; p.PydanticAIModel('m', provider='anthropic', api_key='k')\n"
        "print(sorted(name for name in sys.modules if name.startswith(('pydantic_ai', 'anthropic', 'httpx'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def _without_cache_marks(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_cache_marks(item) for key, item in value.items() if key != "cache_control"}
    return [_without_cache_marks(item) for item in value] if isinstance(value, list) else value
