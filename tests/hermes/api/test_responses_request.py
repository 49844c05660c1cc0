"""What a body of /v1/responses may say, and how it is refused."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes.api.auth import Principal
from hermes.api.responses.answer import response_object
from hermes.api.responses.documentation import CreateResponse
from hermes.api.responses.request import KNOWN, ResponseCall, parse
from hermes.api.services import ApiSettings
from hermes.core.errors import HermesError, InvalidInput
from hermes.core.message import AudioPart, FilePart, ImagePart, Message, TextPart, ToolCall
from hermes.core.run import Ask
from tests.support.openresponses import check_response
from tests.support.store import a_run

OWNER = Principal("owner", "owner")
TOOL = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}
PNG = "data:image/png;base64,iVBORw0KGgo="


def read(body: dict[str, Any], headers: dict[bytes, bytes] | None = None, **options: Any) -> ResponseCall:
    return parse({"input": "Hi", **body}, headers or {}, OWNER, ApiSettings(), **options)


def shown(call: ResponseCall) -> dict[str, Any]:
    """What the response's object would repeat."""
    run = a_run("run_" + "0" * 32, created_at=1.0, started_at=1.0)
    response = response_object(run, call.fields, [], status="in_progress")
    check_response(response)
    return response


def test_every_parameter_is_handed_on_and_repeated() -> None:
    call = read(
        {
            "temperature": 0.5,
            "top_p": 0.9,
            "presence_penalty": 1,
            "frequency_penalty": -1,
            "max_output_tokens": 100,
            "reasoning": {"effort": "high"},
            "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}},
            "parallel_tool_calls": False,
            "user": "u",
            "stop": ["x"],
            "seed": 7,
            "metadata": {"a": "b"},
            "safety_identifier": "s",
            "prompt_cache_key": "p",
            "tools": [TOOL],
            "tool_choice": {"type": "function", "name": "get_weather"},
        }
    )
    assert call.request.params == {
        "temperature": 0.5,
        "top_p": 0.9,
        "presence_penalty": 1,
        "frequency_penalty": -1,
        "max_tokens": 100,
        "reasoning_effort": "high",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
        },
        "parallel_tool_calls": False,
        "user": "u",
        "stop": ["x"],
        "seed": 7,
    }
    assert call.request.warnings == ()
    response = shown(call)
    assert {name: response[name] for name in ("temperature", "top_p", "max_output_tokens", "metadata", "user")} == {
        "temperature": 0.5,
        "top_p": 0.9,
        "max_output_tokens": 100,
        "metadata": {"a": "b"},
        "user": "u",
    }
    assert response["reasoning"] == {"effort": "high", "summary": None}
    assert response["text"]["format"]["schema"] == {"type": "object"}
    assert response["tools"][0]["name"] == call.request.client_tools[0].name == "get_weather"
    assert response["tool_choice"] == {"type": "function", "name": call.request.tool_choice}


def test_only_what_differs_from_the_defaults_is_kept() -> None:
    assert read({}).fields == {"model": "hermes-agent"}


def test_what_cannot_be_honoured_is_warned_of() -> None:
    call = read(
        {
            "truncation": "auto",
            "include": ["reasoning.encrypted_content"],
            "max_tool_calls": 3,
            "top_logprobs": 2,
            "service_tier": "flex",
            "text": {"verbosity": "low"},
            "reasoning": {"summary": "auto"},
            "prompt": {"id": "x"},
        }
    )
    told = "; ".join(call.request.warnings)
    for name in (
        "truncation",
        "include reasoning.encrypted_content",
        "max_tool_calls",
        "top_logprobs",
        "service_tier",
        "text.verbosity",
        "reasoning.summary",
        "prompt",
    ):
        assert name in told
    assert len(call.request.warnings) == 8


@pytest.mark.parametrize(
    ("body", "asked", "is_durable"),
    [({}, Ask.DENY, False), ({"stream": True}, Ask.WAIT, False), ({"background": True}, Ask.WAIT, True)],
)
def test_who_can_see_the_question_is_asked(body: dict[str, Any], asked: Ask, is_durable: bool) -> None:
    request = read(body).request
    assert (request.ask, request.is_durable, request.may_wait_forever) == (asked, is_durable, is_durable)


def test_items_become_messages() -> None:
    call = read(
        {
            "input": [
                {"role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hm"}]},
                {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
                {"type": "function_call", "call_id": "c2", "name": "g", "arguments": ""},
                {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "one"}]},
                {"type": "function_call_output", "call_id": "c2", "output": "two"},
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "thought"}]},
                {
                    "type": "mcp_call",
                    "id": "m",
                    "server_label": "hermes",
                    "name": "t",
                    "arguments": "{}",
                    "output": "o",
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "Look"},
                        {"type": "input_image", "image_url": PNG, "detail": "low"},
                        {"type": "input_file", "filename": "a.txt", "file_data": "aGk="},
                        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
                    ],
                },
            ]
        }
    )
    assert call.system == "Be brief."
    assert call.request.messages == (
        Message("assistant", "Hm", (ToolCall("c1", "f", "{}"), ToolCall("c2", "g", ""))),
        Message("tool", "one", tool_call_id="c1"),
        Message("tool", "two", tool_call_id="c2"),
        Message("assistant", "", (ToolCall("m", "t", "{}"),)),
        Message("tool", "o", tool_call_id="m", name="t"),
        Message("user", (TextPart("Look"), ImagePart(PNG, "low"), FilePart("a.txt", "aGk="), AudioPart("aGk=", "wav"))),
    )
    assert [item["type"] for item in call.input.items] == [
        "message",
        "message",
        "function_call",
        "function_call",
        "function_call_output",
        "function_call_output",
        "reasoning",
        "mcp_call",
        "message",
    ]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 7}, "input"),
        ({"input": {}}, "input"),
        ({"input": "  "}, "input"),
        ({"input": [{"role": "system", "content": "alone"}]}, "input"),
        ({"input": ["text"]}, "input[0]"),
        ({"input": [{}]}, "input[0].type"),
        ({"input": [{"type": "web_search_call"}]}, "input[0].type"),
        ({"input": [{"type": 7, "role": "user"}]}, "input[0].type"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].tool_call_id"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "input_video"}]}]}, "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].image_url"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].id"),
        ({"input": [{"id": 7}]}, "input[0].id"),
        ({"input": [{"type": "function_call", "call_id": "", "name": "f", "arguments": ""}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f"}]}, "input[0].arguments"),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
        ({"input": [{"type": "reasoning"}]}, "input[0].summary"),
        ({"input": [{"type": "compaction", "encrypted_content": "x"}]}, "input[0].encrypted_content"),
        ({"instructions": 7}, "instructions"),
        ({"previous_response_id": 7}, "previous_response_id"),
        ({"conversation_history": "x"}, "conversation_history"),
        ({"conversation_history": [{"role": "user"}]}, "conversation_history[0].content"),
        ({"store": "yes"}, "store"),
        ({"stream": 1}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"model": 7}, "model"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
        ({"metadata": {"a": "x" * 513}}, "metadata"),
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_tool_calls": -1}, "max_tool_calls"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"truncation": "maybe"}, "truncation"),
        ({"include": "x"}, "include"),
        ({"include": [1]}, "include"),
        ({"reasoning": "high"}, "reasoning"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"text": []}, "text"),
        ({"text": {"format": "json"}}, "text.format"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"text": {"verbosity": "loud"}}, "text.verbosity"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "tools[0].name"),
        ({"tools": [{**TOOL, "strict": "no"}]}, "tools[0].strict"),
        ({"tools": [TOOL, TOOL]}, "tools[1].name"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools", "tools": []}}, "tool_choice.tools"),
        (
            {"tool_choice": {"type": "allowed_tools", "tools": [{"type": "function", "name": "f"}]}},
            "tool_choice.tools[0]",
        ),
        ({"tool_choice": {"type": "allowed_tools", "mode": "x", "tools": [{}]}}, "tool_choice.mode"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        read(body)
    assert raised.value.param == param


def test_an_unknown_item_says_what_it_could_have_been() -> None:
    with pytest.raises(InvalidInput, match=r"input\[0\]\.type 'web_search_call' is not known.*function_call_output"):
        read({"input": [{"type": "web_search_call"}]})


@pytest.mark.parametrize("name", ["stream", "stream_options", "background"])
def test_a_websocket_takes_no_field_that_only_http_has(name: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        read({name: {} if name == "stream_options" else True}, is_socket=True)
    assert raised.value.param == name


def test_the_header_says_how_the_servers_tools_are_shown() -> None:
    with pytest.raises(InvalidInput) as raised:
        read({}, {b"x-hermes-tool-items": b"both"})
    assert raised.value.param == "X-Hermes-Tool-Items"
    assert read({}, {b"x-hermes-tool-items": b" MCP_call "}).fields["tool_items"] == "mcp_call"
    key = Principal("k", "k", tool_items="mcp_call")
    assert parse({"input": "Hi"}, {}, key, ApiSettings()).fields["tool_items"] == "mcp_call"


def test_the_document_names_every_field_that_is_known() -> None:
    assert set(CreateResponse.model_fields) == KNOWN - {"type"}


WORDS = st.sampled_from(
    [
        "message",
        "function_call",
        "function_call_output",
        "mcp_call",
        "reasoning",
        "compaction",
        "item_reference",
        "user",
        "assistant",
        "system",
        "tool",
        "input_text",
        "output_text",
        "input_image",
        "input_file",
        "input_audio",
        "refusal",
        "function",
        "allowed_tools",
        "json_schema",
        "auto",
        "required",
        "none",
        "resp_1",
        PNG,
        "eyJ2IjoxfQ==",
        "\x00",
        "",
    ]
)
NAMES = st.sampled_from(
    [
        *("type", "role", "content", "text", "id", "call_id", "name", "arguments", "output", "error", "summary"),
        *("encrypted_content", "image_url", "url", "detail", "file", "file_data", "file_id", "filename", "format"),
        *("input_audio", "data", "schema", "strict", "parameters", "description", "tools", "mode", "effort"),
        *("refusal", "tool_call_id", "tool_calls", "function", "status", "phase", "verbosity"),
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | WORDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=6),
    max_leaves=20,
)
BODIES = st.dictionaries(st.sampled_from(sorted(KNOWN)), VALUES, max_size=8)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=BODIES)
def test_any_body_is_read_or_refused(body: dict[str, Any]) -> None:
    try:
        call = parse(body, {}, OWNER, ApiSettings())
    except HermesError:
        return
    shown(call)


ITEMS = st.lists(st.dictionaries(NAMES, VALUES, max_size=6), max_size=4)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(items=ITEMS)
def test_any_items_are_read_or_refused(items: list[dict[str, Any]]) -> None:
    try:
        call = read({"input": items})
    except HermesError:
        return
    assert len(call.input.items) == len(items)


def test_each_pair_of_how_it_is_answered_is_decided() -> None:
    for stream, background, store in itertools.product((True, False), repeat=3):
        body = {"stream": stream, "background": background, "store": store}
        if background and not store:
            with pytest.raises(InvalidInput):
                read(body)
        else:
            call = read(body)
            assert (call.is_stream, call.is_background, call.is_stored) == (stream, background, store)
