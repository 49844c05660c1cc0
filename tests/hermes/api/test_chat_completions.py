"""How a chat request becomes a run request, and what is refused on the way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hermes.api.chat import completions as chat_completions
from hermes.api.chat.completions import ChatCall
from hermes.api.content import check_images
from hermes.api.services import ApiSettings
from hermes.core.errors import InvalidInput
from hermes.core.message import ImagePart, Message, TextPart, ToolCall
from hermes.core.model import ToolSpec
from hermes.core.run import Ask, IdempotencyClaim, RunRequest

HI = [{"role": "user", "content": "Hi"}]
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
WITH_CALL = [*HI, {"role": "assistant", "content": None, "tool_calls": [CALL]}]
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}

PLAIN = RunRequest(
    owner="owner", source="api", messages=(Message("user", "Hi"),), history=(), is_stateless=True, ask=Ask.DENY
)


def parse(headers: Any = None, settings: Any = None, **body: Any) -> ChatCall:
    return chat_completions.parse({"messages": HI} | body, headers or {}, "owner", settings or ApiSettings())


def refused(headers: Any = None, **body: Any) -> tuple[str, str | None]:
    with pytest.raises(InvalidInput) as caught:
        parse(headers, **body)
    return caught.value.code, caught.value.param


def test_a_chat_without_a_session_header_is_stateless_and_brings_its_history() -> None:
    call = parse()
    assert call == ChatCall(PLAIN, "hermes-agent", is_stream=False, include_usage=False)
    messages = [*HI, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Again"}]
    request = parse(messages=messages).request
    assert request.history == (Message("user", "Hi"), Message("assistant", "Hello"))
    assert request.messages == (Message("user", "Again"),)
    assert request.session_id is None  # the runner makes a random one: never one derived from the text
    assert request.is_stateless


def test_with_a_session_header_the_stored_history_counts_and_only_the_last_turn_is_new() -> None:
    messages = [*HI, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Again"}]
    request = parse({b"x-hermes-session-id": b"my.session:1"}, messages=messages).request
    expected = replace(
        PLAIN, messages=(Message("user", "Again"),), session_id="my.session:1", history=None, is_stateless=False
    )
    assert request == expected


def test_tool_results_that_answer_a_client_call_are_a_new_turn() -> None:
    request = parse(messages=[*WITH_CALL, RESULT]).request
    assert request.messages == (Message("tool", "sunny", tool_call_id="call_1"),)
    assert request.history == (
        Message("user", "Hi"),
        Message("assistant", "", (ToolCall("call_1", "get_weather", "{}"),)),
    )
    alone = parse({b"x-hermes-session-id": b"s"}, messages=[RESULT]).request
    assert alone.messages == request.messages


def test_an_answer_that_comes_last_begins_the_next_one() -> None:
    messages = [*HI, {"role": "assistant", "content": "Hello"}, *HI, {"role": "assistant", "content": "As I"}]
    request = parse(messages=messages).request
    assert request.messages == (Message("user", "Hi"), Message("assistant", "As I"))
    assert request.history == (Message("user", "Hi"), Message("assistant", "Hello"))


def test_system_and_developer_text_is_layered_over_the_agents_instructions() -> None:
    messages = [
        {"role": "system", "content": "Be kind. "},
        *HI,
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "system", "content": " "},
    ]
    request = parse(messages=messages).request
    assert (request.instructions, request.messages) == ("Be kind.\n\nBe brief.", (Message("user", "Hi"),))


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "system", "content": "Be kind."}],
        [{"role": "developer", "content": "Be kind."}],
        [{"role": "user", "content": ""}],
        [{"role": "user", "content": []}],
        [{"role": "assistant", "content": "Hello"}],
        [{"role": "system", "content": "x"}, {"role": "assistant", "content": "Hello"}],
    ],
)
def test_messages_without_a_user_message_are_refused_in_the_published_words(messages: list[Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(messages=messages)
    assert (caught.value.message, caught.value.param) == ("No user message found in messages", "messages")


def test_only_a_streamed_chat_can_be_asked() -> None:
    assert parse(stream=True).request.ask is Ask.WAIT
    assert parse(stream=False).request.ask is Ask.DENY
    assert parse(stream=None).request.ask is Ask.DENY


def test_the_models_parameters_are_handed_on_under_their_chat_names() -> None:
    given = {
        "temperature": 0.5,
        "top_p": 1,
        "max_tokens": 100,
        "stop": ["a", "b"],
        "seed": -7,
        "presence_penalty": -2,
        "frequency_penalty": 2.0,
        "reasoning_effort": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
        "parallel_tool_calls": False,
        "metadata": {"a": "b"},
        "user": "u1",
    }
    call = parse(**given)
    assert call.request.params == given
    assert call.request.warnings == ()
    assert parse(**dict.fromkeys(given)).request.params == {}
    assert parse(max_tokens=5, max_completion_tokens=7).request.params == {"max_tokens": 7}
    assert parse(reasoning={"effort": "high"}).request.params == {"reasoning_effort": "high"}
    assert parse(reasoning={}).request.params == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", "hot"),
        ("temperature", True),
        ("temperature", 2.1),
        ("top_p", -0.1),
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("max_completion_tokens", 10**30),
        ("stop", 1),
        ("stop", ["a", 1]),
        ("seed", 1.0),
        ("seed", 2**63),
        ("presence_penalty", 3),
        ("reasoning_effort", 1),
        ("parallel_tool_calls", "yes"),
        ("metadata", ["a"]),
        ("metadata", {"a": 1}),
        ("user", {}),
        ("stream", "yes"),
        ("stream", 1),
        ("stream_options", []),
        ("model", 5),
        ("model", "x" * 300),
        ("n", 0),
        ("n", "1"),
        ("n", True),
        ("messages", None),
        ("messages", {}),
        ("messages", "Hi"),
        ("messages", 5),
    ],
)
def test_a_wrong_value_is_refused_and_named(field: str, value: Any) -> None:
    if (field, value) == ("n", True):
        assert parse(n=True).request == PLAIN  # 1 in Python's eyes, and harmless
        return
    assert refused(**{field: value}) == ("invalid_request", field)


def test_wrong_inner_values_are_named_too() -> None:
    assert refused(response_format={"type": "xml"}) == ("invalid_request", "response_format.type")
    assert refused(response_format={"type": "json_schema"}) == ("invalid_request", "response_format.json_schema")
    assert refused(reasoning={"effort": 1}) == ("invalid_request", "reasoning.effort")
    assert refused(stream_options={"include_usage": 1}) == ("invalid_request", "stream_options.include_usage")


def test_what_this_server_cannot_do_is_refused_by_name() -> None:
    assert refused(n=2) == ("unsupported_parameter", "n")
    assert refused(functions=[]) == ("unsupported_parameter", "functions")
    assert refused(function_call="auto") == ("unsupported_parameter", "function_call")
    assert refused(tools=[{"type": "web_search"}]) == ("unsupported_parameter", "tools[0].type")
    assert refused(messages=[{"role": "function", "name": "f", "content": "x"}])[0] == "unsupported_parameter"


def test_a_field_that_changes_nothing_here_is_told_in_the_warnings() -> None:
    request = parse(logit_bias={"1": 2}, store=True, logprobs=False, seed=None, verbosity=None, **{"a b": 1}).request
    assert request.warnings == ("not supported, ignored: logit_bias", "not supported, ignored: store")
    many = parse(**{f"field_{i}": i for i in range(100)}).request
    assert len(many.warnings) == 20


def test_client_tools_are_validated_and_handed_on() -> None:
    tool = {
        "type": "function",
        "function": {"name": "a-b_1", "description": "d", "parameters": {"properties": {"x": {}}}, "strict": True},
    }
    request = parse(tools=[tool, TOOL], tool_choice={"type": "function", "function": {"name": "a-b_1"}}).request
    assert request.client_tools == (
        ToolSpec("a-b_1", "d", {"type": "object", "properties": {"x": {}}}, True),
        ToolSpec("get_weather", "", {"type": "object", "properties": {}}),
    )
    assert request.tool_choice == "a-b_1"
    assert parse(tools=[{"type": "function", "function": {"name": "f"}}]).request.client_tools == (
        ToolSpec("f", "", {"type": "object", "properties": {}}),
    )
    for choice in ("auto", "none", "required"):
        assert parse(tool_choice=choice).request.tool_choice == choice


@pytest.mark.parametrize(
    ("tools", "param"),
    [
        ({}, "tools"),
        ([TOOL] * 129, "tools"),
        ([1], "tools[0]"),
        ([{"type": 1}], "tools[0].type"),
        ([{"type": "function"}], "tools[0].function"),
        ([{"type": "function", "function": {"name": "a b"}}], "tools[0].function.name"),
        ([{"type": "function", "function": {"name": "x" * 65}}], "tools[0].function.name"),
        ([{"type": "function", "function": {"name": ""}}], "tools[0].function.name"),
        ([TOOL, TOOL], "tools[1].function.name"),
        ([{"type": "function", "function": {"name": "a", "parameters": []}}], "tools[0].function.parameters"),
        (
            [{"type": "function", "function": {"name": "a", "parameters": {"type": "string"}}}],
            "tools[0].function.parameters",
        ),
        ([{"type": "function", "function": {"name": "a", "strict": "yes"}}], "tools[0].function.strict"),
        ([{"type": "function", "function": {"name": "a", "description": 1}}], "tools[0].function.description"),
    ],
)
def test_a_wrong_tool_is_refused_and_named(tools: Any, param: str) -> None:
    assert refused(tools=tools) == ("invalid_request", param)


@pytest.mark.parametrize("choice", ["any", 1, {}, {"type": "function", "function": {"name": "other"}}, {"type": "x"}])
def test_a_wrong_tool_choice_is_refused(choice: Any) -> None:
    assert refused(tools=[TOOL], tool_choice=choice) == ("invalid_request", "tool_choice")


def test_a_tool_result_must_answer_a_call_of_the_history() -> None:
    assert refused(messages=[*HI, RESULT]) == ("invalid_request", "messages[1].tool_call_id")
    assert refused(messages=[RESULT, *WITH_CALL]) == ("invalid_request", "messages[0].tool_call_id")


def test_model_is_cosmetic_unless_it_names_an_alias_or_direct_requests_are_on() -> None:
    settings = ApiSettings(model_id="alice", model_aliases=("fast",))
    for sent, told, asked in [
        (None, "alice", None),
        ("", "alice", None),
        ("gpt-4o", "gpt-4o", None),
        ("alice", "alice", None),
        ("fast", "fast", "fast"),
    ]:
        call = parse(settings=settings, model=sent)
        assert (call.model, call.request.model) == (told, asked)
    direct = ApiSettings(model_id="alice", is_direct_model=True)
    assert parse(settings=direct, model="gpt-4o").request.model == "gpt-4o"
    assert parse(settings=direct, model="alice").request.model is None


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        (b"x-hermes-session-id", b"", "invalid_session_id"),
        (b"x-hermes-session-id", b"a b", "invalid_session_id"),
        (b"x-hermes-session-id", b"../x", "invalid_session_id"),
        (b"x-hermes-session-id", b"x" * 257, "invalid_session_id"),
        (b"x-hermes-session-id", b"\xe4", "invalid_session_id"),
        (b"x-hermes-session-key", b"", "invalid_session_key"),
        (b"x-hermes-session-key", b"x" * 257, "invalid_session_key"),
        (b"x-hermes-session-key", b"a\x07b", "invalid_session_key"),
        (b"idempotency-key", b"", "invalid_idempotency_key"),
        (b"idempotency-key", b"a b", "invalid_idempotency_key"),
        (b"idempotency-key", b"x" * 256, "invalid_idempotency_key"),
        (b"idempotency-key", b"\xe4", "invalid_idempotency_key"),
        (b"x-hermes-detach", b"maybe", "invalid_request"),
    ],
)
def test_a_wrong_header_is_refused(name: bytes, value: bytes, code: str) -> None:
    assert refused({name: value})[0] == code


def test_headers_of_the_largest_size_pass() -> None:
    headers = {
        b"x-hermes-session-id": b"x" * 256,
        b"x-hermes-session-key": b"k" * 256,
        b"idempotency-key": b"!" * 255,
        b"x-hermes-detach": b"true",
    }
    request = parse(headers).request
    assert (request.session_id, request.session_key, request.is_durable) == ("x" * 256, "k" * 256, True)


def test_detach_and_an_idempotency_key_make_the_run_durable() -> None:
    assert not parse().request.is_durable
    assert not parse({b"x-hermes-detach": b"false"}).request.is_durable
    assert parse({b"x-hermes-detach": b"TRUE"}).request.is_durable
    keyed = parse({b"idempotency-key": b"k1"}).request
    assert keyed.is_durable
    assert keyed.idempotency is not None
    assert keyed.idempotency.key == "k1"


def test_the_fingerprint_is_of_what_was_asked_and_not_of_its_spelling() -> None:
    def claim(headers: Any = None, **body: Any) -> IdempotencyClaim | None:
        return parse({b"idempotency-key": b"k1", **(headers or {})}, **body).request.idempotency

    assert claim(temperature=1, seed=2) == claim(seed=2, temperature=1)
    asked = claim()
    for other in (claim(seed=1), claim(stream=True), claim(model="x"), claim({b"x-hermes-session-id": b"s"})):
        assert other != asked


async def test_remote_images_may_not_lead_into_the_owners_network() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return {"good.example.com": ["93.184.216.34"], "evil.example.com": ["93.184.216.34", "10.0.0.1"]}[host]

    def images(*urls: str) -> ChatCall:
        parts: list[dict[str, Any]] = [{"type": "text", "text": "look"}]
        parts += [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        return parse(messages=[{"role": "system", "content": "x"}, {"role": "user", "content": parts}])

    good = images("https://good.example.com/a.png", "data:image/png;base64,aGk=")
    assert good.remote_images == (("messages[1].content[1].image_url", "https://good.example.com/a.png"),)
    assert good.request.messages[0].content == (
        TextPart("look"),
        ImagePart("https://good.example.com/a.png"),
        ImagePart("data:image/png;base64,aGk="),
    )
    await check_images(good.remote_images, resolve)
    with pytest.raises(InvalidInput) as caught:
        call = images("https://good.example.com/a.png", "https://evil.example.com/a.png")
        await check_images(call.remote_images, resolve)
    assert (caught.value.code, caught.value.param) == ("invalid_image_url", "messages[1].content[2].image_url")
    assert "10.0.0.1" not in caught.value.message
    with pytest.raises(InvalidInput, match="more than 50"):
        await check_images([("x", "https://good.example.com")] * 51, resolve)
