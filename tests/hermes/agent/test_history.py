from __future__ import annotations

from hermes.agent.history import LOST, open_call_ids, with_answered_calls
from hermes.core.message import Message, ToolCall


def call(*ids: str) -> Message:
    return Message("assistant", tool_calls=tuple(ToolCall(one, "echo", "{}") for one in ids))


def result(call_id: str, text: str = "done") -> Message:
    return Message("tool", text, tool_call_id=call_id, name="echo")


def test_plain_talk_stays_as_it_is():
    said = [Message("user", "hi"), Message("assistant", "hello")]
    assert with_answered_calls(said) == said


def test_a_call_without_a_result_is_told_as_lost():
    said = [Message("user", "go"), call("a", "b"), result("b"), Message("user", "and?")]
    assert with_answered_calls(said) == [
        Message("user", "go"),
        call("a", "b"),
        Message("tool", LOST, tool_call_id="a", name="echo"),
        result("b"),
        Message("user", "and?"),
    ]


def test_an_id_that_a_server_uses_again_keeps_each_result_with_its_call():
    said = [call("c"), result("c", "first"), call("c"), result("c", "second")]
    assert with_answered_calls(said) == said


def test_a_result_without_a_call_is_left_out():
    assert with_answered_calls([Message("user", "hi"), result("ghost")]) == [Message("user", "hi")]


def test_open_calls_are_those_without_a_result():
    assert open_call_ids([call("a", "b"), result("a")]) == {"b"}
