from __future__ import annotations

from types import MappingProxyType
from typing import Any

import orjson
import pytest

from hermes.core.message import AudioPart, FilePart, ImagePart, Message, TextPart, ToolCall
from hermes.core.model import ModelRequest, ToolSpec
from hermes.models.openai_body import BodyBuilder, Dialect, message_json
from hermes.models.upstream import Refusal, read_refusal

ASK = (Message("user", "hi"),)
LS = ToolSpec("ls", "List files", MappingProxyType({"type": "object", "properties": {}}))


def body(request: ModelRequest, dialect: Dialect | None = None) -> dict[str, Any]:
    fields, _ = (dialect or Dialect()).fields(request)
    value: dict[str, Any] = orjson.loads(BodyBuilder("m").build(request, fields))
    return value


def test_the_smallest_request() -> None:
    assert body(ModelRequest(ASK)) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_whole_conversation_in_openais_format() -> None:
    messages = (
        Message("system", "Be brief."),
        Message(
            "user",
            (
                TextPart("look"),
                ImagePart("data:image/png;base64,AA==", "low"),
                ImagePart("https://example.org/a.png"),
                AudioPart("AA==", "wav"),
                FilePart("a.pdf", "AA=="),
                FilePart("b.txt", "data:text/plain;base64,AA=="),
            ),
            name="ann",
        ),
        Message("assistant", "", tool_calls=(ToolCall("c1", "ls", '{"path":"."}'),), reasoning="never sent back"),
        Message("tool", (TextPart("a"), TextPart("b")), tool_call_id="c1"),
        Message("assistant", "Here.", tool_calls=(ToolCall("c2", "ls", "{broken"), ToolCall("c3", "ls", "[1]"))),
        Message("tool", "no", tool_call_id="c2"),
        Message("assistant", ""),
    )
    assert [message_json(message) for message in messages] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
                {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}},
                {"type": "file", "file": {"filename": "b.txt", "file_data": "data:text/plain;base64,AA=="}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "ls", "arguments": '{"path":"."}'}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "a\nb"},
        {
            "role": "assistant",
            "content": "Here.",
            "tool_calls": [
                {
                    "id": "c2",
                    "type": "function",
                    "function": {"name": "ls", "arguments": '{"INVALID_JSON":"{broken"}'},
                },
                {"id": "c3", "type": "function", "function": {"name": "ls", "arguments": '{"INVALID_JSON":"[1]"}'}},
            ],
        },
        {"role": "tool", "tool_call_id": "c2", "content": "no"},
        {"role": "assistant", "content": ""},
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", None),
        ("none", "none"),
        ("required", "required"),
        ("ls", {"type": "function", "function": {"name": "ls"}}),
    ],
)
def test_tools_and_the_choice_among_them(choice: str, expected: object) -> None:
    sent = body(ModelRequest(ASK, (LS, ToolSpec("x", "", {"type": "object"}, strict=True)), choice))
    assert sent.get("tool_choice") == expected
    assert [tool["function"] for tool in sent["tools"]] == [
        {"name": "ls", "description": "List files", "parameters": {"type": "object", "properties": {}}},
        {"name": "x", "description": "", "parameters": {"type": "object"}, "strict": True},
    ]


def test_other_tools_in_the_next_call_are_sent() -> None:
    builder = BodyBuilder("m")
    first = builder.build(ModelRequest(ASK, (LS,)), {})
    assert orjson.loads(builder.build(ModelRequest(ASK, (LS, LS)), {}))["tools"] == orjson.loads(first)["tools"] * 2
    assert "tools" not in orjson.loads(builder.build(ModelRequest(ASK), {}))


def test_parameters_are_forwarded_and_what_is_ours_is_not_overwritten() -> None:
    params = {
        "temperature": 0.5,
        "top_p": None,
        "max_tokens": 9,
        "stop": ["x"],
        "parallel_tool_calls": False,
        "model": "evil",
        "stream": False,
        "n": 3,
        "logit_bias": {"1": 2},
    }
    sent = body(ModelRequest(ASK, params=params))
    del sent["messages"], sent["stream_options"]
    assert sent == {
        "model": "m", "stream": True, "temperature": 0.5, "max_tokens": 9, "stop": ["x"], "logit_bias": {"1": 2}
    }  # fmt: skip
    assert body(ModelRequest(ASK, (LS,), params=params))["parallel_tool_calls"] is False


def test_gemini_gets_its_signatures_back_or_the_word_for_a_lost_one() -> None:
    assert Dialect.of("generativelanguage.googleapis.com").signs_calls
    builder = BodyBuilder("m", signs_calls=True)
    builder.remember({"a": {"google": {"thought_signature": "signed"}}})
    calls = (ToolCall("a", "ls", "{}"), ToolCall("b", "ls", "{}"))
    sent = orjson.loads(builder.build(ModelRequest((*ASK, Message("assistant", tool_calls=calls))), {}))
    assert [call["extra_content"]["google"]["thought_signature"] for call in sent["messages"][1]["tool_calls"]] == [
        "signed",
        "skip_thought_signature_validator",
    ]
    builder.remember({str(number): {} for number in range(3000)})
    assert builder._signatures is not None
    assert len(builder._signatures) == 1024


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_openai_gets_its_newer_name_for_the_longest_answer_and_a_cache_key(name: str) -> None:
    sent = body(ModelRequest(ASK, params={name: 9}, session_id="s1"), Dialect.of("api.openai.com"))
    assert (sent["max_completion_tokens"], sent["prompt_cache_key"]) == (9, "s1")
    assert "max_tokens" not in sent
    other = body(ModelRequest(ASK, params={name: 9}, session_id="s1"), Dialect.of("example.org"))
    assert other["max_tokens"] == 9
    assert "prompt_cache_key" not in other


PARAMS = {
    "temperature": 0.2,
    "max_tokens": 5,
    "seed": 1,
    "user": "u",
    "stop": ["x"],
    "reasoning_effort": "minimal",
    "response_format": {"type": "json_object"},
    "metadata": {"a": "b"},
}


@pytest.mark.parametrize(
    ("answer", "ignored"),
    [
        (
            {
                "error": {
                    "message": "Unsupported value: 'temperature' does not support 0.2 with this model. "
                    "Only the default (1) value is supported.",
                    "param": "temperature",
                    "code": "unsupported_value",
                }
            },
            "temperature",
        ),
        ({"error": {"message": "Unrecognized request argument supplied: seed"}}, "seed"),
        ({"error": {"message": "Unsupported parameter: 'reasoning_effort' is not supported."}}, "reasoning_effort"),
        (
            {"error": {"message": "property 'user' is unsupported", "type": "invalid_request_error"}},
            "user",
        ),
        (
            {"detail": [{"type": "extra_forbidden", "loc": ["body", "metadata"], "msg": "Extra inputs"}]},
            "metadata",
        ),
        (
            [{"error": {"code": 400, "message": 'Invalid JSON payload received. Unknown name "seed".'}}],
            "seed",
        ),
        (
            {"error": {"message": "This response_format type is not supported by this model", "param": None}},
            "response_format",
        ),
        (
            {"error": {"message": "The 'metadata' parameter is only allowed when 'store' is on.", "param": "metadata"}},
            "metadata",
        ),
        ({"error": {"message": "`stop` is not supported with this model"}}, "stop"),
    ],
)  # fmt: skip
def test_a_parameter_that_a_server_does_not_know_is_left_out_and_named(answer: Any, ignored: str) -> None:
    dialect = Dialect()
    request = ModelRequest(ASK, params=PARAMS)
    sent, before = dialect.fields(request)
    assert before == ()
    assert dialect.learn(read_refusal(orjson.dumps(answer)), sent)
    now, named = dialect.fields(request)
    assert named == (ignored,)
    assert sent.keys() - now.keys() == {ignored}


@pytest.mark.parametrize(
    "message",
    [
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
        "this model does not support tools",
        "The user must stop. Unknown error.",
        "messages[0].content is not supported",
    ],
)
def test_a_wrong_value_or_another_complaint_is_not_taken_for_an_unknown_parameter(message: str) -> None:
    dialect = Dialect()
    sent, _ = dialect.fields(ModelRequest(ASK, params=PARAMS))
    assert not dialect.learn(Refusal(message), sent)


def test_a_value_that_is_refused_does_not_forbid_other_values() -> None:
    dialect = Dialect()
    low = ModelRequest(ASK, params={"reasoning_effort": "minimal"})
    sent, _ = dialect.fields(low)
    assert dialect.learn(Refusal("Unsupported value: 'minimal'", "unsupported_value", "reasoning_effort"), sent)
    assert dialect.fields(low)[1] == ("reasoning_effort",)
    assert dialect.fields(ModelRequest(ASK, params={"reasoning_effort": "low"}))[1] == ()


def test_the_longest_answer_is_asked_for_by_the_other_name_before_it_is_left_out() -> None:
    dialect = Dialect()
    request = ModelRequest(ASK, params={"max_tokens": 5})
    refusal = Refusal("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", "", "max_tokens")
    assert dialect.learn(refusal, dialect.fields(request)[0])
    fields, ignored = dialect.fields(request)
    assert (fields["max_completion_tokens"], ignored) == (5, ())
    refusal = Refusal("Unknown parameter: 'max_completion_tokens'", "", "max_completion_tokens")
    assert dialect.learn(refusal, fields)
    assert dialect.fields(request) == ({"stream_options": {"include_usage": True}}, ("max_tokens",))


def test_what_the_caller_did_not_ask_for_is_left_out_without_a_word() -> None:
    dialect = Dialect()
    refusal = Refusal("stream_options: Extra inputs are not permitted", "extra_forbidden", "stream_options")
    assert dialect.learn(refusal, dialect.fields(ModelRequest(ASK))[0])
    assert dialect.fields(ModelRequest(ASK)) == ({}, ())


def test_a_file_that_was_read_is_its_text_to_every_server():
    read = FilePart("a.pdf", "", "file-1", "[Content of the file]\nwords")
    assert message_json(Message("user", (read,)))["content"] == [
        {"type": "text", "text": "[Content of the file]\nwords"}
    ]
