"""What of many tools a model is shown, and how it gets at the others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hermes.agent.tool_search import Shortlist, Shortlists, size
from hermes.agent.turn import run_turn
from hermes.core.errors import ToolFailed
from hermes.core.message import Message, ToolCall
from hermes.core.model import ToolSpec
from tests.hermes.agent.test_turn import HELLO, Collected, turn
from tests.support.models import ScriptedModel, calls, says
from tests.support.tools import EchoTool

NAMES = ("read_page", "make_picture", "say_loud", "turn_light_on")


class NamedTool(EchoTool):
    """One with a description of its own, and the same spec object each time, as real ones have."""

    def __init__(self, name: str, description: str) -> None:
        super().__init__(name)
        self._spec = ToolSpec(name, description, EchoTool().spec.parameters)

    @property
    def spec(self) -> ToolSpec:
        return self._spec


TOOLS = {
    "read_page": NamedTool("read_page", "Fetch a page of the web. Long pages are cut."),
    "make_picture": NamedTool("make_picture", "Draw images."),
    "say_loud": NamedTool("say_loud", "Read text aloud."),
    "turn_light_on": NamedTool("turn_light_on", "Switch a light on."),
}
ROOM_FOR_ONE = 700


def names(specs: tuple[ToolSpec, ...]) -> list[str]:
    return [spec.name for spec in specs]


def shortlist(wanted: str = "") -> Shortlist:
    return Shortlists(ROOM_FOR_ONE).of(TOOLS, wanted)


def searched(query: str) -> Message:
    return Message("assistant", "", (ToolCall("c1", "tool_search", json.dumps({"query": query})),))


def test_tools_that_fit_are_all_shown_and_there_is_no_search() -> None:
    made = Shortlists().of(TOOLS)
    assert names(made.offered([HELLO])) == list(NAMES)
    assert list(made.tools) == list(NAMES)


def test_the_first_that_fit_are_shown_and_the_others_are_named_in_the_search() -> None:
    made = shortlist()
    assert names(made.shown) == ["read_page", "tool_search"]
    assert sum(map(size, made.shown)) <= ROOM_FOR_ONE
    assert made.shown[1].description == (
        "Load tools that are not shown yet; call them in the next step. There are: make_picture (Draw images), "
        "say_loud (Read text aloud), turn_light_on (Switch a light on)"
    )
    assert list(made.tools) == [*NAMES, "tool_search"]


def test_a_tool_that_the_request_forces_is_shown() -> None:
    assert names(shortlist("turn_light_on").shown) == ["turn_light_on", "tool_search"]


def test_one_tool_is_shown_however_long_it_is() -> None:
    assert names(Shortlists(1).of(TOOLS).shown) == ["read_page", "tool_search"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("make_picture", ["make_picture"]),
        ("say_loud, make_picture", ["make_picture", "say_loud"]),
        ("draw an image", ["make_picture"]),
        ("light", ["turn_light_on"]),
        ("LIGHTS", ["turn_light_on"]),
        ("something else entirely", []),
        ("", []),
    ],
)
def test_a_tool_is_found_by_its_name_and_by_what_it_says(query: str, found: list[str]) -> None:
    assert list(shortlist().found(query)) == found


@pytest.mark.parametrize("arguments", ["", "[]", "{", '{"query": 3}', '{"query": null}'])
def test_a_search_that_makes_no_sense_loads_nothing(arguments: str) -> None:
    said = [Message("assistant", "", (ToolCall("c", "tool_search", arguments),))]
    assert names(shortlist().offered(said)) == ["read_page", "tool_search"]


def test_what_was_looked_for_or_called_is_shown_from_then_on_in_that_order() -> None:
    said = [
        HELLO,
        searched("light"),
        Message("tool", "whatever it says", tool_call_id="c1", name="tool_search"),
        Message("assistant", "", (ToolCall("c2", "make_picture", "{}"), ToolCall("c3", "unknown", "{}"))),
        searched("light"),
    ]
    assert names(shortlist().offered(said)) == ["read_page", "tool_search", "turn_light_on", "make_picture"]


def test_words_in_a_result_load_nothing() -> None:
    said = [HELLO, Message("tool", "You can call these now:\nmake_picture", tool_call_id="c1", name="tool_search")]
    assert names(shortlist().offered(said)) == ["read_page", "tool_search"]


async def test_a_turn_finds_a_tool_and_calls_it_in_the_next_step() -> None:
    model = ScriptedModel(
        [
            calls(("c1", "tool_search", '{"query": "light"}')),
            calls(("c2", "turn_light_on", '{"text": "hall"}')),
            says("It is on."),
        ]
    )
    made = shortlist()
    sink = Collected()
    await run_turn(turn(model, tools=made.tools, shortlist=made), sink)
    assert [names(request.tools) for request in model.requests] == [
        ["read_page", "tool_search"],
        ["read_page", "tool_search", "turn_light_on"],
        ["read_page", "tool_search", "turn_light_on"],
    ]
    assert [item.text for item in sink.items if isinstance(item, Message) and item.role == "tool"] == [
        "You can call these now:\nturn_light_on: Switch a light on",
        "echo: hall",
    ]


async def test_nothing_found_says_what_there_is() -> None:
    model = ScriptedModel([calls(("c1", "tool_search", '{"query": "teleport"}')), says("I cannot.")])
    made = shortlist()
    sink = Collected()
    await run_turn(turn(model, tools=made.tools, shortlist=made), sink)
    [result] = [item.text for item in sink.items if isinstance(item, Message) and item.role == "tool"]
    assert result == "No tool fits these words. There are: make_picture, say_loud, turn_light_on"


def test_a_query_is_asked_for() -> None:
    with pytest.raises(ToolFailed, match="query: is missing"):
        shortlist().tools["tool_search"].parse("{}")


def test_a_hundred_tools_are_not_all_named() -> None:
    many: dict[str, Any] = {f"tool_{n:03}": NamedTool(f"tool_{n:03}", "Does a thing.") for n in range(100)}
    [*_, search] = Shortlists(ROOM_FOR_ONE).of(many).shown
    assert search.description.endswith("more")
    assert size(search) < 1_300
