"""The official `openai` package for Python against a real gateway: chat, streams, tools, and its exception classes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from hermes.models.scripted import Call, ScriptedModelServer, Step
from tests.acceptance.conftest import Gateway, StartGateway

HI: list[Any] = [{"role": "user", "content": "Hi"}]
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def client_of(gateway: Gateway, **options: Any) -> OpenAI:
    return OpenAI(**{"base_url": gateway.base_url, "api_key": gateway.key, "max_retries": 0, "timeout": 30, **options})


@pytest.fixture
def client(gateway: Gateway) -> Iterator[OpenAI]:
    with client_of(gateway) as made:
        yield made


def test_a_chat_is_answered_with_usage_and_the_session_in_a_header(client: OpenAI, model: ScriptedModelServer) -> None:
    model.add("Hello there")
    raw = client.chat.completions.with_raw_response.create(model="hermes-agent", messages=HI, temperature=0.5)
    answer = raw.parse()
    assert answer.choices[0].message.content == "Hello there"
    assert (answer.choices[0].finish_reason, answer.model, answer.object) == ("stop", "hermes-agent", "chat.completion")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert raw.headers["x-hermes-session-id"]
    assert model.requests[0]["temperature"] == 0.5


def test_a_session_goes_on_with_the_header_alone(client: OpenAI, model: ScriptedModelServer) -> None:
    model.add("Nice to meet you, Ann.", "You are Ann.")
    session = {"X-Hermes-Session-Id": "meeting-1"}
    client.chat.completions.create(
        model="x", messages=[{"role": "user", "content": "I am Ann."}], extra_headers=session
    )
    client.chat.completions.create(
        model="x", messages=[{"role": "user", "content": "Who am I?"}], extra_headers=session
    )
    said = [(m["role"], m["content"]) for m in model.requests[1]["messages"] if m["role"] != "system"]
    assert said == [("user", "I am Ann."), ("assistant", "Nice to meet you, Ann."), ("user", "Who am I?")]


def test_a_stream_gives_text_and_usage(client: OpenAI, model: ScriptedModelServer) -> None:
    model.add(Step(text=["Hel", "lo", " there"]))
    chunks = list(
        client.chat.completions.create(model="x", messages=HI, stream=True, stream_options={"include_usage": True})
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Hello there"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert len({c.id for c in chunks}) == 1


def test_the_servers_own_tools_run_behind_a_stream_that_the_sdk_reads_to_its_end(
    client: OpenAI, model: ScriptedModelServer
) -> None:
    model.add(Step(text="Let me look.", tool_calls=(Call("terminal", {"command": "echo from-the-shell"}),)), "{{tool}}")
    chunks = list(client.chat.completions.create(model="x", messages=HI, stream=True))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text.startswith("Let me look.\n\n")
    assert "from-the-shell" in text
    told = [c.model_extra for c in chunks if c.model_extra and "toolCallId" in c.model_extra]
    assert [(one["tool"], one["status"]) for one in told] == [("terminal", "running"), ("terminal", "completed")]


def test_the_streaming_helper_gathers_a_stream_with_tools_in_it(client: OpenAI, model: ScriptedModelServer) -> None:
    model.add(Step(tool_calls=(Call("terminal", {"command": "true"}),)), "Done.")
    with client.chat.completions.stream(model="x", messages=HI) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "Done."
    assert final.choices[0].finish_reason == "stop"


def test_an_approval_is_asked_on_the_stream_and_answered_beside_it(
    gateway: Gateway, client: OpenAI, model: ScriptedModelServer
) -> None:
    (gateway.workdir / "old").mkdir()
    model.add(Step(tool_calls=(Call("terminal", {"command": "rm -rf old"}),)), "Deleted.")
    text, asked, answered = "", [], []
    for chunk in client.chat.completions.create(model="x", messages=HI, stream=True):
        extra = chunk.model_extra or {}
        if "approval_id" in extra and "command" in extra:
            asked.append(extra)
            path = f"/v1/runs/{extra['run_id']}"
            pending = gateway.client.get(path).json()
            assert pending["status"] == "waiting_for_approval"
            assert [one["approval_id"] for one in pending["approvals"]] == [extra["approval_id"]]
            gateway.client.post(f"{path}/approval", json={"choice": "once"}).raise_for_status()
        elif "approval_id" in extra:
            answered.append((extra["choice"], extra["outcome"], extra["by"]))
        text += chunk.choices[0].delta.content or ""
    assert [(one["command"], "once" in one["approval_choices"]) for one in asked] == [("rm -rf old", True)]
    assert answered == [("once", "user", "owner")]
    assert text == "Deleted."
    assert not (gateway.workdir / "old").exists()


def test_a_plain_call_cannot_be_asked_and_is_told_so(
    gateway: Gateway, client: OpenAI, model: ScriptedModelServer
) -> None:
    (gateway.workdir / "old").mkdir()
    model.add(Step(tool_calls=(Call("terminal", {"command": "rm -rf old"}),)), "I could not.")
    raw = client.chat.completions.with_raw_response.create(model="x", messages=HI)
    assert raw.parse().choices[0].message.content == "I could not."
    assert "denied" in raw.headers["x-hermes-warnings"]
    assert (gateway.workdir / "old").exists()


@pytest.mark.parametrize("is_stream", [False, True])
def test_the_clients_own_tools_go_out_and_their_results_come_back(
    client: OpenAI, model: ScriptedModelServer, is_stream: bool
) -> None:
    model.add(Step(tool_calls=(Call("get_weather", {"city": "Paris"}, "call_7"),)), "It is {{tool}} in Paris.")
    messages: list[Any] = [{"role": "user", "content": "The weather in Paris?"}]
    tools: list[Any] = [WEATHER]
    if is_stream:
        with client.chat.completions.stream(model="x", messages=messages, tools=tools) as stream:
            first = stream.get_final_completion()
    else:
        first = client.chat.completions.create(model="x", messages=messages, tools=tools)  # type: ignore[assignment]
    assert first.choices[0].finish_reason == "tool_calls"
    calls = first.choices[0].message.tool_calls
    assert calls is not None
    assert [(c.id, c.function.name, c.function.arguments) for c in calls] == [
        ("call_7", "get_weather", '{"city":"Paris"}')
    ]
    messages.append(first.choices[0].message.to_dict())
    messages.append({"role": "tool", "tool_call_id": "call_7", "content": "sunny"})
    last = client.chat.completions.create(model="x", messages=messages, tools=tools)
    assert last.choices[0].message.content == "It is sunny in Paris."


class City(BaseModel):
    name: str


def test_structured_output_is_forwarded_and_parsed(client: OpenAI, model: ScriptedModelServer) -> None:
    model.add('{"name": "Paris"}')
    answer = client.chat.completions.parse(model="x", messages=HI, response_format=City)
    assert answer.choices[0].message.parsed == City(name="Paris")
    assert model.requests[0]["response_format"]["type"] == "json_schema"


def test_models_are_listed_and_found(client: OpenAI) -> None:
    assert [one.id for one in client.models.list()] == ["hermes-agent"]
    assert client.models.retrieve("hermes-agent").owned_by == "hermes"


def test_the_async_client_works_too_with_many_at_once(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step(text="You said: {{user}}", times=0))

    async def ask() -> list[str | None]:
        async with AsyncOpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
            asked = [
                client.chat.completions.create(model="x", messages=[{"role": "user", "content": str(number)}])
                for number in range(16)
            ]
            return [answer.choices[0].message.content for answer in await asyncio.gather(*asked)]

    assert asyncio.run(ask()) == [f"You said: {number}" for number in range(16)]


# --- its exception classes ---

Ask = Callable[[OpenAI], object]


def chat(**fields: Any) -> Ask:
    return lambda client: client.chat.completions.create(**{"model": "x", "messages": HI, **fields})


@pytest.mark.parametrize(
    ("ask", "kind", "code", "param"),
    [
        (chat(messages=[]), openai.BadRequestError, "invalid_request", "messages"),
        (chat(n=2), openai.BadRequestError, "unsupported_parameter", "n"),
        (chat(temperature=9), openai.BadRequestError, "invalid_request", "temperature"),
        (
            chat(
                messages=[
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://127.0.0.1/"}}]}
                ]
            ),
            openai.BadRequestError,
            "invalid_image_url",
            "messages[0].content[0].image_url.url",
        ),
        (lambda client: client.models.retrieve("gpt-x"), openai.NotFoundError, "model_not_found", "model"),
        (lambda client: client.embeddings.create(model="x", input="y"), openai.NotFoundError, "not_found", None),
        (
            lambda client: client.with_options(api_key="wrong").models.list(),
            openai.AuthenticationError,
            "invalid_api_key",
            None,
        ),
        (chat(extra_headers={"Origin": "https://evil.com"}), openai.PermissionDeniedError, "origin_not_allowed", None),
    ],
)
def test_a_wrong_request_raises_the_class_for_its_status(
    client: OpenAI, ask: Ask, kind: type[openai.APIStatusError], code: str, param: str | None
) -> None:
    with pytest.raises(kind) as caught:
        ask(client)
    assert (caught.value.code, caught.value.param) == (code, param)
    assert caught.value.request_id


def test_the_same_key_for_another_request_is_a_conflict(client: OpenAI, model: ScriptedModelServer) -> None:
    model.add("One.")
    key = {"Idempotency-Key": "k1"}
    first = client.chat.completions.create(model="x", messages=HI, extra_headers=key)
    again = client.chat.completions.create(model="x", messages=HI, extra_headers=key)
    assert first == again
    assert len(model.requests) == 1
    with pytest.raises(openai.ConflictError) as caught:
        client.chat.completions.create(model="y", messages=HI, extra_headers=key)
    assert caught.value.code == "idempotency_key_conflict"


@pytest.mark.parametrize(
    ("step", "kind", "status", "code"),
    [
        (Step(status=401, times=0), openai.InternalServerError, 502, "upstream_auth"),
        (Step(status=500, times=0, headers={"Retry-After": "0"}), openai.InternalServerError, 502, "upstream_error"),
        (
            Step(status=429, times=0, headers={"Retry-After": "3600"}),
            openai.RateLimitError,
            429,
            "upstream_rate_limited",
        ),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True])
def test_a_failed_model_is_an_error_and_never_text(
    client: OpenAI,
    model: ScriptedModelServer,
    step: Step,
    kind: type[openai.APIStatusError],
    status: int,
    code: str,
    is_stream: bool,
) -> None:
    model.add(step)
    if is_stream:  # the role chunk was sent at once: the error is a chunk
        with pytest.raises(openai.APIError) as broken:
            list(client.chat.completions.create(model="x", messages=HI, stream=True))
        assert broken.value.code == code
        return
    with pytest.raises(kind) as caught:
        client.chat.completions.create(model="x", messages=HI)
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert ("retry-after" in caught.value.response.headers) == (status == 429)


def test_the_sdk_does_not_repeat_what_cannot_succeed(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step(status=401, times=0))
    with client_of(gateway, max_retries=3) as client, pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="x", messages=HI)
    assert len(model.requests) == 1


def test_the_sdk_does_not_run_tools_twice_when_the_model_fails_behind_them(
    gateway: Gateway, model: ScriptedModelServer
) -> None:
    model.add(Step(tool_calls=(Call("terminal", {"command": "echo x >> ran"}),)), Step(status=400, times=0))
    with client_of(gateway, max_retries=3) as client, pytest.raises(openai.APIStatusError):
        client.chat.completions.create(model="x", messages=HI)
    assert (gateway.workdir / "ran").read_text() == "x\n"


def test_a_full_line_is_a_rate_limit_with_a_time(start_gateway: StartGateway, model: ScriptedModelServer) -> None:
    gateway = start_gateway(
        {"api_server": {"max_concurrent_runs": 1, "max_queued_runs": 0}},
    )
    model.add(Step(text="slow", hang=True))
    with client_of(gateway) as client:
        holding = threading.Thread(target=_until_cut, args=(gateway,), daemon=True)
        holding.start()
        while not model.requests:
            time.sleep(0.01)
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="x", messages=HI)
        assert caught.value.code == "rate_limit_exceeded"
        assert int(caught.value.response.headers["retry-after"]) >= 1
    gateway.kill()
    holding.join(10)


def _until_cut(gateway: Gateway) -> None:
    with client_of(gateway) as client:
        try:
            client.chat.completions.create(model="x", messages=HI)
        except (openai.APIError, httpx.HTTPError):
            return
