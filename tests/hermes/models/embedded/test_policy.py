"""What may be written next, and when a request names a file."""

from __future__ import annotations

import json

import pytest

from hermes.core.message import Message, ToolCall
from hermes.core.model import ModelRequest
from hermes.models.embedded.grammar import SAY, Step
from hermes.models.embedded.offer import Offer
from hermes.models.embedded.policy import MAX_CALLS, NAMES_A_FILE, allowed, repeats

OFFER = Offer(("terminal", "read_file", "write_file", "patch"))


def request(text: str, *commands: str, tool_choice: str = "auto") -> ModelRequest:
    messages = [Message("user", text)]
    for number, command in enumerate(commands):
        call = ToolCall(str(number), "terminal", json.dumps({"command": command}))
        messages += [Message("assistant", tool_calls=(call,)), Message("tool", "", tool_call_id=str(number))]
    return ModelRequest(tuple(messages), tool_choice=tool_choice)


@pytest.mark.parametrize(
    "text",
    [
        "What is the version in data.json?",
        "fix src/app.py",
        "show me `notes.md`.",
        "what is in /etc?",
        "look into ~/work",
        "open ./run and tell me",
        "compare a.csv, b.csv",
        "READ SETTINGS.INI",
    ],
)
def test_a_request_that_names_a_file_is_known(text):
    assert NAMES_A_FILE.search(text)


@pytest.mark.parametrize(
    "text",
    [
        "What is node.js?",
        "Is Vue.js better than React?",
        "e.g. a poem, i.e. verses",
        "either and/or both",
        "visit https://example.com/a.html",
        "mail me at ada@example.py",
        "how do I read a .json file?",
        "what is 3.5 / 2?",
        "Explain TCP/IP",
    ],
)
def test_other_requests_are_not_taken_for_one(text):
    assert not NAMES_A_FILE.search(text)


def test_a_file_is_looked_at_before_it_is_told_of_or_changed():
    offer, may_say = allowed(request("what is in data.json?"), OFFER)
    assert not may_say
    assert offer.known == ("terminal", "read_file")
    offer, may_say = allowed(request("what is in data.json?", "cat data.json"), OFFER)
    assert may_say
    assert offer == OFFER


def test_a_named_file_is_written_at_once_only_where_one_is_to_be_made():
    assert "write_file" in allowed(request("write a poem to poem.txt"), OFFER)[0].known
    assert "write_file" not in allowed(request("set the port in a.ini to 9"), OFFER)[0].known
    assert "write_file" not in allowed(request("write the names in a.csv to b.txt"), OFFER)[0].known
    assert "write_file" in allowed(request("set the port in a.ini to 9", "cat a.ini"), OFFER)[0].known


def test_without_a_way_to_look_it_may_speak_at_once():
    only_writing = Offer(("write_file", "patch"))
    assert allowed(request("what is in data.json?"), only_writing) == (only_writing, True)


def test_a_circle_ends():
    assert allowed(request("go", *["ls"] * (MAX_CALLS - 1)), OFFER)[0] == OFFER
    assert allowed(request("go", *["ls"] * MAX_CALLS), OFFER) == (Offer(), True)


def test_calls_of_earlier_turns_do_not_count():
    earlier = request("go", *["ls"] * MAX_CALLS).messages
    assert allowed(ModelRequest((*earlier, Message("user", "again"))), OFFER)[1]


def test_the_same_call_right_again_is_a_repetition():
    step = Step("terminal", {"command": "ls"})
    assert repeats(request("go", "ls"), OFFER, step)
    assert not repeats(request("go", "ls", "make"), OFFER, step)
    assert not repeats(request("go"), OFFER, step)
    assert not repeats(request("go", "ls"), OFFER, Step(SAY, "ls"))
