"""The chunks of a stream, whole lists of them, from whole lists of events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from hermes.api.chat.answer import chat_answer, completion_id, warnings
from hermes.api.chat.stream import ChatStream
from hermes.core import event as events
from hermes.core.event import RunEvent
from hermes.core.message import Message
from hermes.core.run import Run, RunRequest, RunStatus
from tests.support.api import USAGE, Sent, hello, sse_events

RUN = Run(
    id="run_" + "a" * 32,
    session_id="sess_1",
    owner="owner",
    source="api",
    status=RunStatus.RUNNING,
    created_at=1_700_000_000.75,
    updated_at=1_700_000_000.75,
)
HEAD = {"id": "chatcmpl-" + "a" * 32, "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m"}
USAGE_SENT = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 2,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}

STARTED = events.RunStarted("sess_1", "scripted")
TOOL = events.ToolStarted("terminal", "call_1", "pwd", {"command": "pwd"}, "💻", "Run a command")
TOOL_OK = events.ToolCompleted("terminal", "call_1", 0.25, None, "/home")
TOOL_BAD = events.ToolCompleted("terminal", "call_1", 0.25, "exit code 1", "no")
ASKED = events.ApprovalRequested(
    "appr_1", "terminal", "call_1", "rm -rf x", "recursive delete", ("once", "deny"), False, 1_700_000_060.0
)


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> Sent:
    return Sent(None, {**HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more})


def named(name: str, **fields: Any) -> Sent:
    return Sent(name, {**HEAD, "choices": [{"index": 0, "delta": {}, "finish_reason": None}], **fields})


def progress(**fields: Any) -> Sent:
    about = {"tool": "terminal", "emoji": "💻", "label": "Run a command", "toolCallId": "call_1"}
    return named("hermes.tool.progress", **about, **fields)


def text(content: str) -> Sent:
    return chunk({"content": content})


ROLE = chunk({"role": "assistant", "content": ""})
END = [chunk({}, "stop", usage=USAGE_SENT), Sent(None, "[DONE]")]


def sent(happened: Sequence[Any], **options: Any) -> list[Sent]:
    stream = ChatStream(RUN, "m", **options)
    body = stream.first() + b"".join(stream.event(event) for event in happened)
    assert stream.has_ended
    return sse_events(body.decode())


def completed(output: str = "", finish_reason: str = "stop") -> events.RunCompleted:
    return events.RunCompleted(output, USAGE, finish_reason, "scripted")


def test_text_comes_as_a_role_chunk_content_chunks_a_final_chunk_and_done() -> None:
    assert sent(hello("Hel", 'lo "you"\n')) == [ROLE, text("Hel"), text('lo "you"\n'), *END]


def test_usage_is_on_the_final_chunk_and_when_asked_for_in_a_chunk_of_its_own() -> None:
    own = Sent(None, {**HEAD, "choices": [], "usage": USAGE_SENT})
    assert sent(hello("Hi"), include_usage=True) == [ROLE, text("Hi"), END[0], own, END[1]]


def test_reasoning_comes_as_reasoning_content() -> None:
    happened = [STARTED, events.ReasoningDelta("hm"), events.ReasoningAvailable("hm"), *hello("Hi")[1:]]
    assert sent(happened) == [ROLE, chunk({"reasoning_content": "hm"}), text("Hi"), *END]


def test_reasoning_that_did_not_stream_is_told_once_whole() -> None:
    happened = [STARTED, events.ReasoningAvailable("hm"), *hello("Hi")[1:]]
    assert sent(happened) == [ROLE, chunk({"reasoning_content": "hm"}), text("Hi"), *END]


def test_tools_are_named_events_that_are_valid_chunks_too() -> None:
    happened: list[Any] = [
        STARTED,
        events.MessageDelta("Let me look."),
        TOOL,
        TOOL_OK,
        events.MessageDelta("Done."),
        completed("Done."),
    ]
    assert sent(happened) == [
        ROLE,
        text("Let me look."),
        progress(status="running", preview="pwd"),
        progress(status="completed", duration=0.25, preview="/home"),
        text("\n\nDone."),
        *END,
    ]


def test_a_failed_tool_says_so() -> None:
    told = sent([STARTED, TOOL, TOOL_BAD, completed()])
    assert told[2] == progress(status="failed", duration=0.25, preview="no", error="exit code 1")


def test_inline_progress_is_markdown_in_the_text_and_no_event() -> None:
    looked = events.ToolStarted("read_file", "call_2", "a`b\nc", {}, "📖", "Read a file")
    happened: list[Any] = [
        STARTED,
        events.MessageDelta("Let me look."),
        TOOL,
        TOOL_OK,
        looked,
        events.MessageDelta("Done."),
        completed("Done."),
    ]
    assert sent(happened, tool_progress="inline") == [
        ROLE,
        text("Let me look."),
        text("\n\n`💻 pwd`"),
        text("\n\n`📖 a'b c`"),
        text("\n\nDone."),
        *END,
    ]


def test_approvals_are_on_the_stream_with_the_runs_id() -> None:
    answered = events.ApprovalResponded("appr_1", "once", "phone", "user")
    assert sent([STARTED, TOOL, ASKED, answered, TOOL_OK, *hello("Hi")[1:]]) == [
        ROLE,
        progress(status="running", preview="pwd"),
        named(
            "hermes.approval.request",
            approval_id="appr_1",
            run_id=RUN.id,
            tool="terminal",
            toolCallId="call_1",
            command="rm -rf x",
            description="recursive delete",
            approval_choices=["once", "deny"],
            allow_permanent=False,
            expires_at=1_700_000_060.0,
            subagent_id=None,
        ),
        named(
            "hermes.approval.responded", approval_id="appr_1", run_id=RUN.id, choice="once", by="phone", outcome="user"
        ),
        progress(status="completed", duration=0.25, preview="/home"),
        text("Hi"),
        *END,
    ]


def test_a_question_of_the_model_is_on_the_stream_with_the_runs_id() -> None:
    asked = events.ClarifyRequested("clar_1", "call_1", "Which?", ("red", "blue"), 1_700_000_060.0)
    answered = events.ClarifyResponded("clar_1", "red", "phone", "user")
    assert sent([STARTED, asked, answered, *hello("Hi")[1:]]) == [
        ROLE,
        named(
            "hermes.clarify.request",
            clarify_id="clar_1",
            run_id=RUN.id,
            toolCallId="call_1",
            question="Which?",
            clarify_choices=["red", "blue"],
            expires_at=1_700_000_060.0,
        ),
        named("hermes.clarify.responded", clarify_id="clar_1", run_id=RUN.id, answer="red", by="phone", outcome="user"),
        text("Hi"),
        *END,
    ]


def test_sub_agents_are_further_lines_of_progress() -> None:
    usage: dict[str, Any] = {}
    happened = [
        STARTED,
        events.SubagentStarted("run_2", "call_1", 0, "count"),
        events.SubagentCompleted("run_2", "call_1", 0, "completed", 1.5, "three", None, usage),
        events.SubagentCompleted("run_3", "call_1", 1, "failed", 0.5, "", "no model", usage),
    ]
    about = {"tool": "subagent", "emoji": "👥", "label": "Sub-agent"}
    assert sent([*happened, *hello("Hi")[1:]])[1:4] == [
        named("hermes.tool.progress", **about, toolCallId="run_2", status="running", preview="count"),
        named("hermes.tool.progress", **about, toolCallId="run_2", status="completed", duration=1.5, preview="three"),
        named(
            "hermes.tool.progress",
            **about,
            toolCallId="run_3",
            status="failed",
            duration=0.5,
            preview="",
            error="no model",
        ),
    ]


def test_a_warning_that_comes_late_is_a_named_event() -> None:
    assert sent([STARTED, events.Warned("no seed"), *hello("Hi")[1:]])[1] == named("hermes.warning", message="no seed")


def test_calls_of_the_clients_tools_end_the_answer_with_tool_calls() -> None:
    happened: list[Any] = [
        STARTED,
        events.MessageDelta("Asking."),
        events.ClientToolCalled("get_weather", "call_1", '{"city": "Paris"}'),
        events.ClientToolCalled("get_time", "call_2", "{}"),
        completed("Asking.", "tool_calls"),
    ]

    def call(index: int, call_id: str, name: str, arguments: str) -> Sent:
        function = {"name": name, "arguments": arguments}
        return chunk({"tool_calls": [{"index": index, "id": call_id, "type": "function", "function": function}]})

    assert sent(happened) == [
        ROLE,
        text("Asking."),
        call(0, "call_1", "get_weather", '{"city": "Paris"}'),
        call(1, "call_2", "get_time", "{}"),
        chunk({}, "tool_calls", usage=USAGE_SENT),
        Sent(None, "[DONE]"),
    ]


def test_with_streaming_off_the_whole_reply_is_one_chunk() -> None:
    happened = [STARTED, events.MessageDelta("Look."), TOOL, TOOL_OK, *hello("Do", "ne.")[1:]]
    assert sent(happened, is_whole=True) == [
        ROLE,
        progress(status="running", preview="pwd"),
        progress(status="completed", duration=0.25, preview="/home"),
        text("Done."),
        *END,
    ]


def test_an_answer_that_did_not_stream_is_not_lost() -> None:
    assert sent([STARTED, completed("I cannot.")]) == [ROLE, text("I cannot."), *END]
    told = sent([STARTED, events.MessageDelta("Look."), TOOL, TOOL_OK, completed("I cannot.")])
    assert told[-3:] == [text("\n\nI cannot."), *END]


def test_an_answer_that_was_shown_before_a_limit_is_not_shown_twice() -> None:
    happened = [STARTED, events.MessageDelta("Look."), TOOL, TOOL_OK, completed("Look.", "length")]
    assert [one for one in sent(happened) if one == text("Look.")] == [text("Look.")]
    assert sent(happened)[-2] == chunk({}, "length", usage=USAGE_SENT)


@pytest.mark.parametrize(
    ("final", "error"),
    [
        (
            events.RunFailed({"message": "The provider is down.", "code": "upstream_error"}),
            {"message": "The provider is down.", "type": "upstream_error", "param": None, "code": "upstream_error"},
        ),
        (
            events.RunCancelled("stopped by the user"),
            {
                "message": "The run was stopped: stopped by the user.",
                "type": "invalid_request_error",
                "param": None,
                "code": "run_cancelled",
            },
        ),
        (
            events.RunInterrupted("the gateway was stopped"),
            {
                "message": "The run was interrupted: the gateway was stopped.",
                "type": "server_error",
                "param": None,
                "code": "run_interrupted",
            },
        ),
    ],
)
def test_an_error_in_the_middle_is_an_error_chunk_and_no_done(final: RunEvent, error: dict[str, Any]) -> None:
    assert sent([STARTED, events.MessageDelta("Hel"), final]) == [ROLE, text("Hel"), Sent(None, {"error": error})]


def test_that_the_history_became_shorter_breaks_no_answer() -> None:
    shorter = events.ContextCompacted(12_000, 5_000, 40)
    first, *rest = hello("Hel", "lo")
    assert sent([first, shorter, *rest]) == sent([first, *rest])
    assert plain([first, shorter, *rest]) == plain([first, *rest])


def test_every_data_line_of_a_stream_is_a_chunk_an_error_or_done() -> None:
    happened = [STARTED, TOOL, ASKED, events.ApprovalResponded("appr_1", "deny", None, "timeout"), TOOL_BAD]
    happened += [events.Warned("x"), events.ModelRetrying("429", 1, 0.5, "m"), events.RunSteered("y"), *hello("Hi")[1:]]
    for one in sent(happened)[:-1]:
        assert set(HEAD) | {"choices"} <= set(one.data)
        assert one.data["object"] == "chat.completion.chunk"
        assert [set(choice) for choice in one.data["choices"]] == [{"index", "delta", "finish_reason"}]


REQUEST = RunRequest(owner="owner", source="api", messages=(Message("user", "Hi"),))


def plain(happened: list[Any], request: RunRequest = REQUEST) -> tuple[int, dict[str, Any], dict[str, str]]:
    import json

    answer = chat_answer(RUN, request, happened, "m")
    return answer.status_code, json.loads(bytes(answer.body)), dict(answer.headers)


def test_a_plain_answer_is_one_object() -> None:
    status, body, headers = plain(hello("Hel", "lo"))
    assert (status, body) == (
        200,
        {
            "id": completion_id(RUN),
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": "m",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "Hello", "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": USAGE_SENT,
        },
    )
    assert (headers["x-hermes-session-id"], headers["x-hermes-run-id"]) == ("sess_1", RUN.id)
    assert "x-hermes-warnings" not in headers


def test_a_plain_answer_carries_reasoning_and_the_calls_of_client_tools() -> None:
    call = events.ClientToolCalled("get_weather", "call_1", "{}")
    _, body, _ = plain([STARTED, events.ReasoningAvailable("hm"), call, completed("", "tool_calls")])
    assert body["choices"][0] == {
        "index": 0,
        "message": {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "reasoning_content": "hm",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
            ],
        },
        "logprobs": None,
        "finish_reason": "tool_calls",
    }


def test_the_same_events_give_the_same_bytes() -> None:
    happened = [STARTED, TOOL, TOOL_OK, events.Warned("w"), *hello("Hi")[1:]]
    first, second = (chat_answer(RUN, REQUEST, happened, "m") for _ in range(2))
    assert (first.body, first.raw_headers) == (second.body, second.raw_headers)


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        ({"code": "upstream_error"}, 502, {}),
        ({"code": "upstream_auth"}, 502, {"x-should-retry": "false"}),
        ({"code": "upstream_unreachable"}, 502, {}),
        ({"code": "upstream_stream_cut"}, 502, {}),
        ({"code": "upstream_rejected"}, 502, {"x-should-retry": "false"}),
        ({"code": "upstream_rejected", "param": "temperature"}, 400, {}),
        ({"code": "context_length_exceeded"}, 400, {}),
        ({"code": "embedded_model_missing"}, 503, {"x-should-retry": "false"}),
        ({"code": "upstream_rate_limited", "retry_after": 6.2}, 429, {"retry-after": "7"}),
        ({"code": "upstream_rate_limited"}, 429, {}),
        ({"code": "rate_limit_exceeded", "retry_after": 30}, 429, {"retry-after": "30"}),
        ({"code": "no_model"}, 503, {"x-should-retry": "false"}),
        ({"code": "store_unavailable"}, 503, {}),
        ({"code": "gateway_draining"}, 503, {"retry-after": "5"}),
        ({"code": "internal_error"}, 500, {"x-should-retry": "false"}),
        ({"code": "a_code_of_tomorrow"}, 500, {"x-should-retry": "false"}),
        ({}, 500, {"x-should-retry": "false"}),
    ],
)
def test_a_failed_run_is_an_error_status_never_a_200(
    error: dict[str, Any], status: int, headers: dict[str, str]
) -> None:
    got, body, sent_headers = plain([STARTED, events.RunFailed({"message": "why", **error})])
    assert (got, body["error"]["message"]) == (status, "why")
    assert {k: v for k, v in sent_headers.items() if k in ("retry-after", "x-should-retry")} == headers
    assert sent_headers["x-hermes-run-id"] == RUN.id


def test_a_stopped_or_interrupted_run_is_an_error_too() -> None:
    status, body, headers = plain([STARTED, events.RunCancelled("stopped by the user")])
    assert (status, body["error"]["code"], headers["x-should-retry"]) == (409, "run_cancelled", "false")
    status, body, headers = plain([STARTED, events.RunInterrupted("the gateway was stopped")])
    assert (status, body["error"]["code"], headers["retry-after"]) == (503, "run_interrupted", "5")


def test_a_failed_run_that_used_tools_is_not_repeated_behind_the_callers_back() -> None:
    failed = events.RunFailed({"message": "why", "code": "upstream_error"})
    assert plain([STARTED, TOOL, TOOL_OK, failed])[2]["x-should-retry"] == "false"


def test_warnings_tell_what_was_not_done_and_what_nobody_could_be_asked_about() -> None:
    happened: list[Any] = [
        STARTED,
        events.Warned("Not honoured by m: seed"),
        events.Warned("Not honoured by m: seed"),
        ASKED,
        events.ApprovalResponded("appr_1", "deny", None, "policy"),
        events.ApprovalResponded("appr_2", "deny", None, "timeout"),
        events.ApprovalResponded("appr_3", "deny", "owner", "user"),
        completed("ok"),
    ]
    assert warnings(happened) == [
        "Not honoured by m: seed",
        "Not honoured by m: seed",
        "terminal (recursive delete) was denied: nobody could be asked",
        "a tool call was denied: nobody answered in time",
    ]
    header = plain(happened)[2]["x-hermes-warnings"]
    assert header.startswith("Not honoured by m: seed; terminal (recursive delete) was denied")
    assert header.count("seed") == 1


def test_a_warning_cannot_break_out_of_its_header() -> None:
    header = plain([STARTED, events.Warned("a\r\nSet-Cookie: x\x00 ü 💻"), completed()])[2]["x-hermes-warnings"]
    assert header == "a Set-Cookie: x? ? ?"
    long = plain([STARTED, events.Warned("x" * 10_000), completed()])[2]["x-hermes-warnings"]
    assert len(long) == 4000
