from __future__ import annotations

from hermes.agent.marks import marked
from hermes.core.message import ImagePart, Message, TextPart, ToolCall
from hermes.core.toolset import TOOLS
from hermes.core.untrusted import mark


def result(name: str | None, text: str = "text", call_id: str = "c") -> Message:
    return Message("tool", text, tool_call_id=call_id, name=name)


def test_results_of_tools_are_marked_and_nothing_else_is():
    said = [
        Message("user", "read it"),
        Message("assistant", "Yes.", (ToolCall("c", "read_file", "{}"),)),
        result("read_file"),
        Message("assistant", "It says text."),
    ]
    shown = marked(said)
    assert [*shown[:2], shown[3]] == [*said[:2], said[3]]
    assert shown[2] == Message("tool", mark("read_file", "text"), tool_call_id="c", name="read_file")


def test_a_result_without_a_name_is_named_by_its_call():
    said = [Message("assistant", "", (ToolCall("c", "mcp_notes_read", "{}"),)), result(None)]
    assert marked(said)[1].text == mark("mcp_notes_read", "text")
    assert marked([result(None)])[0].text == mark("a tool", "text")


def test_a_tool_that_nobody_described_is_marked_and_the_servers_own_words_are_not():
    assert marked([result("unheard_of")])[0].text == mark("unheard_of", "text")
    assert {name for name in TOOLS if marked([result(name)])[0].text == "text"} == {
        name for name, info in TOOLS.items() if info.is_own_words
    }
    for outside in ("terminal", "process", "read_file", "search_files", "session_search", "patch"):
        assert not TOOLS[outside].is_own_words


def test_the_texts_of_a_result_with_pictures_are_marked_and_an_empty_one_has_nothing_to_mark():
    picture = ImagePart("https://example.net/a.png")
    message = Message("tool", (TextPart("seen"), picture), tool_call_id="c", name="vision_analyze")
    assert marked([message])[0].content == (TextPart(mark("vision_analyze", "seen")), picture)
    assert marked([result("terminal", "")])[0].text == ""
