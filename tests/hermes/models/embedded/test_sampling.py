from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.models.embedded.sampling import MAX_ANSWER_TOKENS, Until, sampling


def test_what_llama_cpp_knows_is_passed_on_and_the_rest_is_named():
    found = sampling(
        {
            "temperature": 0.7,
            "top_p": 0.5,
            "seed": 3,
            "max_tokens": 50,
            "reasoning_effort": "low",
            "parallel_tool_calls": False,
            "n": 1,
            "user": "u",
            "logprobs": None,
        }
    )
    assert found.body == {"temperature": 0.7, "top_p": 0.5, "seed": 3}
    assert found.max_tokens == 50
    assert found.ignored == ("reasoning_effort",)


def test_an_answer_is_never_longer_than_fits():
    assert sampling({"max_tokens": 100_000}).max_tokens == MAX_ANSWER_TOKENS
    assert sampling({"max_completion_tokens": 0, "max_tokens": 9}).max_tokens == 1


@pytest.mark.parametrize(
    ("response_format", "answer"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "object"}),
        ({"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "array"}}}, {"type": "array"}),
        ({"type": "json_schema"}, {"type": "object"}),
    ],
)
def test_response_formats(response_format, answer):
    assert sampling({"response_format": response_format}).answer == answer


@given(st.text("ab\n", max_size=30), st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3), st.data())
def test_text_ends_before_the_first_stop_string_wherever_it_is_cut(text, stop, data):
    until, passed, rest = Until(stop), "", text
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        passed += until.feed(rest[:size])
        rest = rest[size:]
    passed += until.rest()
    places = [text.index(word) for word in stop if word in text]
    assert until.is_over == bool(places)
    if places:  # of two that overlap, the one that is whole first counts
        assert text.startswith(passed)
        assert not any(word in passed for word in stop)
    else:
        assert passed == text
