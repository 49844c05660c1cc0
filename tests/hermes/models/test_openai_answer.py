"""What servers send, odd ones too, and the items that come of it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes.core.message import ToolCall
from hermes.core.model import FinishReason, ModelDone, ModelItem, ReasoningDelta, TextDelta
from hermes.core.run import Usage
from hermes.models.openai_answer import Answer
from tests.support.chunks import DONE, chunk, event, read, text

ONE = Usage(api_calls=1)


def done(finish: FinishReason = "stop", *calls: ToolCall, usage: Usage = ONE, refusal: str | None = None) -> ModelDone:
    return ModelDone(finish, calls, usage, "m", refusal=refusal)


def call(index: int | None, call_id: str | None, name: str | None, arguments: Any, **more: Any) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    piece = {"index": index, "id": call_id, "function": function, **more}
    return {"tool_calls": [{key: value for key, value in piece.items() if value is not None}]}


def test_what_arrives_in_one_read_is_one_delta_of_each_kind() -> None:
    first = chunk({"role": "assistant", "content": ""}) + chunk({"reasoning_content": "hm"}) + chunk({"reasoning": "m"})
    first += text("Hel") + text("lo")
    second = text(" you") + chunk({}, "stop") + DONE
    _, items = read(first, second)
    assert items == [ReasoningDelta("hmm"), TextDelta("Hello"), TextDelta(" you"), done()]


WHOLE = (
    b": hello\r\n\r\n"
    + chunk({"role": "assistant", "content": ""})
    + chunk({"reasoning_content": "Déjà"})
    + chunk({"reasoning_content": " vu"})
    + text("Grüße")
    + text(" 👋")
    + chunk(call(0, "a", "ls", ""))
    + chunk(call(0, None, None, '{"pa'))
    + chunk(call(1, "b", "cat", '{"x":1}'))
    + chunk(call(0, None, None, 'th":"."}'))
    + chunk({}, "tool_calls")
    + event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})
    + DONE
)
WHOLE_ITEMS = [
    ReasoningDelta("Déjà vu"),
    TextDelta("Grüße 👋"),
    done(
        "tool_calls",
        ToolCall("a", "ls", '{"path":"."}'),
        ToolCall("b", "cat", '{"x":1}'),
        usage=Usage(input_tokens=7, output_tokens=3, api_calls=1),
    ),
]


def merged(items: list[ModelItem]) -> list[ModelItem]:
    result: list[ModelItem] = []
    for item in items:
        last = result[-1] if result else None
        if isinstance(item, TextDelta) and isinstance(last, TextDelta):
            result[-1] = TextDelta(last.text + item.text)
        elif isinstance(item, ReasoningDelta) and isinstance(last, ReasoningDelta):
            result[-1] = ReasoningDelta(last.text + item.text)
        else:
            result.append(item)
    return result


@given(st.lists(st.integers(0, len(WHOLE)), max_size=30))
def test_where_the_answer_is_cut_changes_nothing_but_the_size_of_deltas(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(WHOLE)]
    _, items = read(*(WHOLE[start:end] for start, end in pairwise(edges)))
    assert merged(items) == WHOLE_ITEMS


def test_a_finish_reason_is_enough_without_done() -> None:
    assert read(text("a"), chunk({}, "length"))[1] == [TextDelta("a"), done("length")]


def test_done_is_enough_without_a_finish_reason() -> None:
    assert read(text("a") + b"data:[DONE]\n\n")[1] == [TextDelta("a"), done()]


@pytest.mark.parametrize(
    ("pieces", "gap"),
    [
        ([text("a")], "broke off its answer"),
        ([b""], "closed the connection without an answer"),
        ([b": keep-alive\n\n"], "closed the connection without an answer"),
        ([DONE], "ended its answer without having said anything"),
        ([text("a") + b'data: {"choices":[{"del'], None),
    ],
)
def test_an_answer_without_its_end_has_a_gap(pieces: list[bytes], gap: str | None) -> None:
    answer, items = read(*pieces)
    if gap is None:
        assert answer.refusal is not None
        assert "not a JSON object" in answer.refusal.message
    else:
        assert answer.gap == gap
    assert not any(isinstance(item, ModelDone) for item in items)


def test_what_comes_after_done_is_not_read() -> None:
    assert read(text("a") + DONE + text("b"))[1] == [TextDelta("a"), done()]


def test_an_error_object_in_the_middle_comes_after_the_text_before_it() -> None:
    error = {"error": {"message": "overloaded", "code": 503, "type": "server_error"}}
    answer, items = read(text("a") + event(error) + text("b"))
    assert items == [TextDelta("a")]
    assert answer.refusal is not None
    assert (answer.refusal.message, answer.refusal.status) == ("overloaded", 503)


def test_an_error_may_stand_beside_a_choice() -> None:
    answer, items = read(text("a"), chunk({"content": ""}, "error", error={"code": 429, "message": "slow down"}))
    assert items == [TextDelta("a")]
    assert answer.refusal is not None
    assert (answer.refusal.message, answer.refusal.status) == ("slow down", 429)


@pytest.mark.parametrize(
    "pieces",
    [
        [call(0, "a", "ls", '{"p":1}')],
        [call(0, "a", "ls", ""), call(0, None, None, '{"p"'), call(0, None, None, ":1}")],
        [call(0, "a", "ls", '{"p"'), call(0, "a", "ls", ":1}")],
        [call(0, "a", None, '{"p"'), call(0, None, "ls", ":1}")],
        [call(None, "a", "ls", '{"p"'), call(None, None, None, ":1}")],
        [call(None, "a", "ls", '{"p"'), call(None, "a", None, ":1}")],
        [call(0, "a", "ls", {"p": 1})],
        [call(0, "a", "ls", None), call(0, "", "", '{"p":1}')],
        [{"tool_calls": [{}]}, call(0, "a", "ls", '{"p":1}'), {"tool_calls": None}],
    ],
    ids=[
        "whole", "pieces", "id and name each time", "name late", "no index", "id without index", "an object",
        "empty strings", "empty calls",
    ],
)  # fmt: skip
def test_one_call_in_all_its_forms(pieces: list[dict[str, Any]]) -> None:
    assert read(*map(chunk, pieces), chunk({}, "tool_calls"))[1] == [done("tool_calls", ToolCall("a", "ls", '{"p":1}'))]


@pytest.mark.parametrize(
    "pieces",
    [
        [call(0, "a", "ls", "{}"), call(1, "b", "cat", "{}")],
        [call(0, "a", "ls", "{}"), call(0, "b", "cat", "{}")],
        [call(None, "a", "ls", "{}"), call(None, "b", "cat", "{}")],
        [{"tool_calls": [*call(0, "a", "ls", "{}")["tool_calls"], *call(1, "b", "cat", "{}")["tool_calls"]]}],
        [call(0, "a", "ls", ""), call(1, "b", "cat", "{"), call(0, None, None, "{}"), call(1, None, None, "}")],
    ],
    ids=["by index", "index always 0", "no index", "in one chunk", "interleaved"],
)
def test_two_calls_in_all_their_forms(pieces: list[dict[str, Any]]) -> None:
    assert read(*map(chunk, pieces), chunk({}, "tool_calls"))[1] == [
        done("tool_calls", ToolCall("a", "ls", "{}"), ToolCall("b", "cat", "{}"))
    ]


def test_calls_without_ids_or_with_the_same_get_ids_of_their_own() -> None:
    _, items = read(
        chunk(call(0, None, "one", "{}")), chunk(call(1, "", "two", "{}")), chunk(call(2, "x", "three", "{}")),
        chunk(call(3, "x", "four", "{}")), chunk({}, "stop"),
    )  # fmt: skip
    last = items[-1]
    assert isinstance(last, ModelDone)
    assert [(c.name, c.id) for c in last.tool_calls if c.id == "x"] == [("three", "x")]
    assert [c.name for c in last.tool_calls] == ["one", "two", "three", "four"]
    assert len({c.id for c in last.tool_calls}) == 4
    assert last.finish_reason == "tool_calls"


def test_a_call_without_arguments_has_an_empty_object() -> None:
    assert read(chunk(call(0, "a", "now", "")), chunk({}, "tool_calls"))[1] == [
        done("tool_calls", ToolCall("a", "now", "{}"))
    ]


def test_a_call_cut_by_the_length_keeps_that_reason() -> None:
    assert read(chunk(call(0, "a", "ls", '{"p')), chunk({}, "length"))[1] == [
        done("length", ToolCall("a", "ls", '{"p'))
    ]


def test_what_a_server_sends_with_a_call_is_kept_by_its_id() -> None:
    answer, _ = read(chunk(call(0, "a", "ls", "{}", extra_content={"google": 1})), chunk({}, "tool_calls"))
    assert answer.extras == {"a": {"google": 1}}


def test_tool_calls_without_a_call_is_a_stop() -> None:
    assert read(text("a"), chunk({}, "tool_calls"))[1] == [TextDelta("a"), done("stop")]


def test_a_refusal_is_no_text() -> None:
    assert read(chunk({"refusal": "I "}), chunk({"refusal": "won't"}), chunk({}, "stop"))[1] == [
        done(refusal="I won't")
    ]


def test_content_in_parts_is_thought_and_text() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Hi"}]
    assert read(chunk({"content": parts}), chunk({}, "stop"))[1] == [ReasoningDelta("hm"), TextDelta("Hi"), done()]


def test_other_choices_are_not_ours() -> None:
    other = event({"choices": [{"index": 1, "delta": {"content": "no"}}]})
    assert read(text("yes"), other, chunk({}, "stop"))[1] == [TextDelta("yes"), done()]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 20,
                "prompt_tokens_details": {"cached_tokens": 60},
                "completion_tokens_details": {"reasoning_tokens": 5},
            },
            Usage(100, 20, 60, 0, 5, 1),
        ),
        ({"prompt_tokens": 100, "completion_tokens": 2, "prompt_cache_hit_tokens": 64}, Usage(100, 2, 64, 0, 0, 1)),
        ({"prompt_tokens": 9, "completion_tokens": 1, "cost": 0.25}, Usage(9, 1, api_calls=1, cost_usd=0.25)),
        ({"prompt_tokens": None, "completion_tokens": 1, "prompt_tokens_details": None}, Usage(0, 1, api_calls=1)),
        ({"prompt_tokens": 1, "prompt_tokens_details": [3]}, Usage(1, api_calls=1)),
    ],
    ids=["openai", "deepseek", "openrouter", "nulls", "nonsense"],
)
@pytest.mark.parametrize("place", ["own chunk", "last chunk"])
def test_usage_is_read_wherever_it_stands(usage: dict[str, Any], expected: Usage, place: str) -> None:
    if place == "own chunk":
        tail = chunk({}, "stop") + event({"choices": [], "usage": usage})
    else:
        tail = chunk({}, "stop", usage=usage)
    assert read(text("a") + chunk({}, None, usage=None), tail + DONE)[1] == [TextDelta("a"), done(usage=expected)]


def test_usage_in_groqs_place_is_read() -> None:
    tail = chunk({}, "stop", x_groq={"usage": {"prompt_tokens": 4, "completion_tokens": 2}})
    assert read(text("a"), tail)[1] == [TextDelta("a"), done(usage=Usage(4, 2, api_calls=1))]


def test_an_answer_that_is_one_object_gives_the_same_items() -> None:
    answer = Answer()
    message = {"role": "assistant", "content": "Hi", "reasoning_content": "hm"}
    message["tool_calls"] = [{"id": "a", "type": "function", "function": {"name": "ls", "arguments": "{}"}}]  # type: ignore[assignment]
    whole = {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
    items = [*answer.feed_whole(orjson.dumps(whole)), answer.done("m")]
    assert items == [
        ReasoningDelta("hm"),
        TextDelta("Hi"),
        done("tool_calls", ToolCall("a", "ls", "{}"), usage=Usage(3, 2, api_calls=1)),
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "delta", "content", "tool_calls", "function", "arguments", "name", "index", "id", "usage",
                 "finish_reason", "error", "message", "reasoning", "refusal", "type", "text", "prompt_tokens",
                 "prompt_tokens_details", "x_groq", "code", "detail", "loc", "cached_tokens", "thinking"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=400)
@given(JSON, st.dictionaries(st.sampled_from(["content", "tool_calls", "reasoning", "refusal"]), JSON), JSON, JSON)
def test_no_json_breaks_the_reader(chunk_value: Any, delta: dict[str, Any], finish: Any, usage: Any) -> None:
    """Whatever a server sends becomes items, a refusal or a gap; never another exception."""
    whole = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], "usage": usage}
    read(event(chunk_value))
    read(event(whole))
    Answer().feed_whole(orjson.dumps(chunk_value))
