"""What the model is told of the tools."""

from __future__ import annotations

import json

from hermes.core.model import ToolSpec
from hermes.models.embedded.offer import MAX_OTHER_TOOLS, first_words, offered, signature


def tool(name: str, *properties: str, required: tuple[str, ...] = ()) -> ToolSpec:
    schema = {"type": "object", "properties": {each: {"type": "string"} for each in properties}, "required": required}
    return ToolSpec(name, "", schema)


OURS = (
    tool("terminal", "command", "background", "timeout", "workdir", required=("command",)),
    tool("process", "action", "session_id"),
    tool("read_file", "path", "offset", "limit", required=("path",)),
    tool("write_file", "path", "content"),
    tool("patch", "mode", "path", "old_string", "new_string", "replace_all", "patch"),
    tool("search_files", "pattern", "target", "path", required=("pattern",)),
)


def test_our_own_tools_are_made_small():
    offer = offered(OURS)
    assert offer.known == ("terminal", "read_file", "write_file", "add_to_file", "patch")
    assert not offer.others
    assert offer.left_out == ()
    assert list(offer.schemas["terminal"]["properties"]) == ["command"]


def test_without_a_terminal_there_is_a_search():
    offer = offered(OURS[2:])
    assert offer.known == ("read_file", "write_file", "patch", "search_files")


def test_a_tool_that_must_be_called_is_there_whatever_it_is():
    assert list(offered(OURS, "process").others) == ["process"]
    assert "search_files" in offered(OURS, "search_files").known
    many = [tool(f"t{number}") for number in range(30)]
    assert "t29" in offered(many, "t29").others


def test_a_clients_tool_of_our_name_keeps_its_own_parameters():
    offer = offered((tool("read_file", "url"), tool("write_file", "path", "content", "branch", required=("branch",))))
    assert offer.known == ()
    assert list(offer.schemas["read_file"]["properties"]) == ["url"]


def test_names_that_mean_something_to_us_are_told_otherwise():
    offer = offered((*OURS, tool("say", "text"), tool("add_to_file", "x")))
    assert list(offer.others) == ["say_tool", "add_to_file_tool"]
    assert offer.call("say_tool", {"text": "a"}) == ("say", '{"text": "a"}')


def test_many_tools_are_left_out_by_name():
    offer = offered([tool(f"t{number}") for number in range(MAX_OTHER_TOOLS + 2)])
    assert offer.left_out == (f"t{MAX_OTHER_TOOLS}", f"t{MAX_OTHER_TOOLS + 1}")


def test_text_for_the_shell_is_quoted():
    _, arguments = offered(OURS).call("add_to_file", {"path": "$(rm -rf ~)", "text": "'; rm -rf ~; '"})
    assert json.loads(arguments)["command"] == """printf '%s\\n' ''"'"'; rm -rf ~; '"'"'' >> '$(rm -rf ~)'"""


def test_a_call_is_shown_as_it_looks():
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "unit": {"enum": ["c", "f"]},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["city"],
    }
    assert signature("sky", schema) == (
        '{"sky": {"city": "text", "days": number?, "unit": "c"|"f"?, "tags": ["text"]?}}'
    )


def test_a_description_is_its_first_sentence():
    assert first_words("Look at the sky. It takes long.\nReally.") == "Look at the sky"
    assert len(first_words("word " * 100)) < 170
