"""The union that the built-in model is held to, and the reader of what it writes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.models.embedded.grammar import SAY, Reader, Step, arguments, simplified, union, written

PLAIN = ("anyOf", "type", "properties", "required", "additionalProperties", "items", "enum", "const")

ECHO = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


def keywords(schema: object) -> set[str]:
    """Every keyword in a schema, property names left out."""
    if not isinstance(schema, dict):
        return set()
    found = set(schema)
    for value in schema.get("properties", {}).values():
        found |= keywords(value)
    for value in (*schema.get("anyOf", ()), schema.get("items")):
        found |= keywords(value)
    return found


def read(text: str, cuts: list[int]) -> tuple[str, Reader]:
    reader, said, last = Reader(), "", 0
    for cut in [*sorted(cut % (len(text) + 1) for cut in cuts), len(text)]:
        said += reader.feed(text[last:cut])
        last = cut
    return said, reader


def test_a_step_is_one_call_or_something_said():
    schema = union({"echo": ECHO})
    assert [list(branch["properties"]) for branch in schema["anyOf"]] == [["echo"], ["say"]]
    assert [list(branch["properties"]) for branch in union({"echo": ECHO}, may_say=False)["anyOf"]] == [["echo"]]
    assert [list(branch["properties"]) for branch in union({}, may_say=False)["anyOf"]] == [["say"]]


def test_what_is_said_can_be_held_to_a_schema():
    schema = union({}, answer={"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}})
    said = schema["anyOf"][0]["properties"]["say"]
    assert said["properties"] == {"n": {"type": "integer"}}


@pytest.mark.parametrize(
    ("schema", "kept"),
    [
        ({"type": "string", "format": "date-time", "pattern": "(?=a)"}, {"type": "string"}),
        ({"type": "strng"}, {"type": "string"}),
        ({"oneOf": [{"type": "string"}, {"const": 3}]}, {"anyOf": [{"type": "string"}, {"const": 3}]}),
        ({"type": ["string", "null"]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"enum": ["a", 1, None, {"no": 1}]}, {"enum": ["a", 1, None]}),
        ({"type": "array", "uniqueItems": True}, {"type": "array", "items": {"type": "string"}}),
        ({"not": {"type": "string"}}, {"type": "string"}),
        ({"allOf": [{"type": "integer"}]}, {"type": "integer"}),
        ({"type": "object"}, {"type": "object"}),
        (True, {"type": "string"}),
        ("nonsense", {"type": "string"}),
    ],
)
def test_only_what_llguidance_compiles_is_kept(schema, kept):
    wrapped = simplified({"type": "object", "properties": {"x": schema}})
    assert wrapped["properties"]["x"] == kept


def test_a_required_property_that_is_not_described_can_be_written():
    schema = simplified({"type": "object", "properties": {}, "required": ["q"]})
    assert schema["properties"] == {"q": {"type": "string"}}


def test_references_are_written_out_and_end():
    tree = {
        "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "a~/b": True}}},
        "type": "object",
        "properties": {"root": {"$ref": "#/$defs/node"}, "gone": {"$ref": "#/nowhere"}, "far": {"$ref": "http://x"}},
    }
    text = json.dumps(simplified(tree))
    assert "$ref" not in text
    assert len(text) < 3_000


def test_a_tool_takes_an_object_whatever_its_schema_forgets():
    nothing = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    assert arguments({}) == arguments({"type": "object"}) == arguments(None) == arguments({"type": "string"}) == nothing


schemas = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5) | st.sampled_from(["string", "object", "array", "#/$defs/a", "#"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*PLAIN, "oneOf", "allOf", "$ref", "$defs", "format", "not", "default", "a"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(schemas)
def test_whatever_a_client_sends_something_plain_comes_out(schema):
    plain = simplified(schema)
    assert keywords(plain) <= set(PLAIN)
    json.dumps(plain)


@given(st.text(), st.lists(st.integers(0, 400), max_size=12), st.booleans())
def test_what_is_said_comes_out_whole_wherever_it_is_cut(text, cuts, is_ascii):
    raw = json.dumps({SAY: text}, ensure_ascii=is_ascii)
    said, reader = read(raw, cuts)
    assert said == text
    assert reader.is_over
    assert reader.step([]) == Step(SAY, text)


@given(st.text(st.characters(categories=["Cs", "Lu"]), max_size=8), st.lists(st.integers(0, 60), max_size=10))
def test_half_a_surrogate_pair_is_told_as_unreadable(text, cuts):
    said, reader = read(json.dumps({SAY: text}), cuts)
    assert said == text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert reader.is_over


@given(st.text(alphabet='\\u"dD8c0aF/n', max_size=40), st.lists(st.integers(0, 60), max_size=10))
def test_broken_escapes_never_raise_and_give_text_that_can_be_sent(inner, cuts):
    said, _ = read('{"say": "' + inner, cuts)
    said.encode("utf-8")


@given(st.text(), st.integers(0, 60))
def test_text_that_was_cut_off_is_a_beginning(text, keep):
    raw = json.dumps({SAY: text})[: len('{"say": "') + keep]
    said, reader = read(raw, [])
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert whole.startswith(said)
    assert reader.is_over == (keep > len(json.dumps(text)) - 2)


def test_a_call_says_nothing_and_is_read_at_the_end():
    said, reader = read('{"echo": {"text": "say"}}', [3, 9])
    assert said == ""
    assert reader.step(["echo"]) == Step("echo", {"text": "say"})
    assert reader.step([]) is None


@pytest.mark.parametrize("raw", ['{"echo": {"text"', '{"echo": 3}', '{"a": {}, "b": {}}', "[]", ""])
def test_what_is_no_step_is_none(raw):
    reader = Reader()
    reader.feed(raw)
    assert reader.step(["echo"]) is None


def test_it_is_noticed_when_the_grammar_was_not_applied():
    reader = Reader()
    reader.feed("  ")
    assert reader.is_json_so_far()
    reader.feed("Sure, here")
    assert not reader.is_json_so_far()


def test_history_is_shown_as_it_would_have_been_written():
    assert written(SAY, "ä\n") == '{"say": "ä\\n"}'
