"""OpenAI's messages ↔ ours."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes.agent.messages import MAX_MESSAGES, from_openai, image_urls, to_openai
from hermes.core.errors import InvalidInput
from hermes.core.message import AudioPart, FilePart, ImagePart, Message, TextPart, ToolCall

PIXEL = "data:image/png;base64,aGk="


def refused(*messages: Any) -> tuple[str, str | None]:
    with pytest.raises(InvalidInput) as caught:
        from_openai(list(messages))
    assert caught.value.param is not None
    assert caught.value.param in caught.value.message
    return caught.value.code, caught.value.param


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"role": "user", "content": "Hi"}, Message("user", "Hi")),
        ({"role": "user", "content": "Hi", "name": "bob", "extra": 1}, Message("user", "Hi", name="bob")),
        ({"role": "system", "content": "Be kind"}, Message("system", "Be kind")),
        ({"role": "developer", "content": "Be kind"}, Message("system", "Be kind")),
        ({"role": "assistant", "content": "Yes"}, Message("assistant", "Yes")),
        ({"role": "assistant", "content": None}, Message("assistant", "")),
        ({"role": "assistant"}, Message("assistant", "")),
        ({"role": "assistant", "content": None, "refusal": "No"}, Message("assistant", "No")),
        ({"role": "assistant", "content": [{"type": "refusal", "refusal": "No"}]}, Message("assistant", "No")),
        ({"role": "assistant", "content": "x", "reasoning_content": "hm"}, Message("assistant", "x", reasoning="hm")),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{not json"}}]},
            Message("assistant", "", (ToolCall("c", "f", "{not json"),)),
        ),
        ({"role": "tool", "tool_call_id": "c", "content": "ok"}, Message("tool", "ok", tool_call_id="c")),
        (
            {
                "role": "tool",
                "tool_call_id": "c",
                "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            },
            Message("tool", "a\nb", tool_call_id="c"),
        ),
        (
            user({"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}),
            Message("user", (TextPart("a"), TextPart("b"))),
        ),
        (
            user({"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}),
            Message("user", (ImagePart("https://example.com/a.png", "low"),)),
        ),
        (user({"type": "image_url", "image_url": PIXEL}), Message("user", (ImagePart(PIXEL),))),
        (
            user({"type": "input_image", "image_url": PIXEL, "detail": "auto"}),
            Message("user", (ImagePart(PIXEL, "auto"),)),
        ),
        (
            user({"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}),
            Message("user", (AudioPart("aGk=", "wav"),)),
        ),
        (
            user({"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,aGk="}}),
            Message("user", (FilePart("a.txt", "data:text/plain;base64,aGk="),)),
        ),
        (user({"type": "input_file", "file_data": "aGk="}), Message("user", (FilePart("file", "aGk="),))),
    ],
)
def test_what_is_well_formed_is_read(sent: dict[str, Any], expected: Message) -> None:
    assert from_openai([sent]) == [expected]


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        (1, "invalid_request", "messages[0]"),
        (None, "invalid_request", "messages[0]"),
        ("Hi", "invalid_request", "messages[0]"),
        ([], "invalid_request", "messages[0]"),
        ({}, "invalid_request", "messages[0].role"),
        ({"role": "robot", "content": "x"}, "invalid_request", "messages[0].role"),
        ({"role": ["user"], "content": "x"}, "invalid_request", "messages[0].role"),
        ({"role": "function", "content": "x"}, "unsupported_parameter", "messages[0].role"),
        ({"role": "user"}, "invalid_request", "messages[0].content"),
        ({"role": "user", "content": None}, "invalid_request", "messages[0].content"),
        ({"role": "user", "content": 1}, "invalid_request", "messages[0].content"),
        ({"role": "user", "content": {"type": "text"}}, "invalid_request", "messages[0].content"),
        ({"role": "user", "content": "x", "name": 1}, "invalid_request", "messages[0].name"),
        ({"role": "tool", "content": "x"}, "invalid_request", "messages[0].tool_call_id"),
        ({"role": "tool", "content": "x", "tool_call_id": ""}, "invalid_request", "messages[0].tool_call_id"),
        ({"role": "tool", "content": None, "tool_call_id": "c"}, "invalid_request", "messages[0].content"),
        ({"role": "assistant", "function_call": {}}, "unsupported_parameter", "messages[0].function_call"),
        ({"role": "assistant", "tool_calls": {}}, "invalid_request", "messages[0].tool_calls"),
        ({"role": "assistant", "tool_calls": [1]}, "invalid_request", "messages[0].tool_calls[0]"),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom"}]},
            "invalid_request",
            "messages[0].tool_calls[0].type",
        ),
        ({"role": "assistant", "tool_calls": [{"id": "c"}]}, "invalid_request", "messages[0].tool_calls[0].function"),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]},
            "invalid_request",
            "messages[0].tool_calls[0].id",
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "", "function": {"name": "f"}}]},
            "invalid_request",
            "messages[0].tool_calls[0]",
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {}}}]},
            "invalid_request",
            "messages[0].tool_calls[0].function.arguments",
        ),
    ],
)
def test_a_wrong_message_is_refused_and_named(message: Any, code: str, param: str) -> None:
    assert refused(message) == (code, param)


@pytest.mark.parametrize(
    ("part", "code", "param"),
    [
        (1, "invalid_content_part", ""),
        (None, "invalid_content_part", ""),
        ({}, "invalid_content_part", ".type"),
        ({"type": 1}, "invalid_content_part", ".type"),
        ({"type": "video"}, "unsupported_content_type", ".type"),
        ({"type": "text"}, "invalid_request", ".text"),
        ({"type": "text", "text": 1}, "invalid_request", ".text"),
        ({"type": "image_url"}, "invalid_image_url", ".image_url"),
        ({"type": "image_url", "image_url": {}}, "invalid_image_url", ".image_url"),
        ({"type": "image_url", "image_url": {"url": 1}}, "invalid_image_url", ".image_url.url"),
        ({"type": "image_url", "image_url": {"url": ""}}, "invalid_image_url", ".image_url.url"),
        ({"type": "image_url", "image_url": "http://example.com/a.png"}, "invalid_image_url", ".image_url"),
        ({"type": "image_url", "image_url": "https://127.0.0.1/a.png"}, "invalid_image_url", ".image_url"),
        ({"type": "image_url", "image_url": "https://[::ffff:10.0.0.1]/"}, "invalid_image_url", ".image_url"),
        ({"type": "image_url", "image_url": "https://2130706433/"}, "invalid_image_url", ".image_url"),
        ({"type": "image_url", "image_url": "https://metadata.google.internal/"}, "invalid_image_url", ".image_url"),
        ({"type": "image_url", "image_url": "file:///etc/passwd"}, "invalid_image_url", ".image_url"),
        ({"type": "image_url", "image_url": "data:text/html;base64,aGk="}, "invalid_image_url", ".image_url"),
        ({"type": "image_url", "image_url": "data:image/png,hi"}, "invalid_image_url", ".image_url"),
        ({"type": "image_url", "image_url": "data:image/png;base64,"}, "invalid_image_url", ".image_url"),
        ({"type": "image_url", "image_url": "data:image/png;base64,<svg>"}, "invalid_image_url", ".image_url"),
        ({"type": "image_url", "image_url": {"url": PIXEL, "detail": "max"}}, "invalid_content_part", ".detail"),
        ({"type": "input_image", "file_id": 1}, "invalid_content_part", ".file_id"),
        ({"type": "input_audio"}, "invalid_content_part", ".input_audio"),
        ({"type": "input_audio", "input_audio": {"format": "ogg"}}, "invalid_content_part", ".input_audio.format"),
        (
            {"type": "input_audio", "input_audio": {"format": "wav", "data": "!"}},
            "invalid_content_part",
            ".input_audio.data",
        ),
        ({"type": "file", "file": {}}, "invalid_content_part", ".file.file_data"),
        ({"type": "file", "file": {"file_id": ""}}, "invalid_content_part", ".file.file_id"),
        ({"type": "file", "file": {"file_id": "file-1", "file_data": "aGk="}}, "invalid_content_part", ".file.file_id"),
        ({"type": "input_file", "file_url": "https://a.example/b.pdf"}, "unsupported_content_type", ".file_url"),
        ({"type": "input_file", "file_data": "aGkxa"}, "invalid_content_part", ".file_data"),
        ({"type": "input_file", "file_data": "x;base64,aGk="}, "invalid_content_part", ".file_data"),
        ({"type": "file", "file": {"file_data": "aGk=", "filename": 1}}, "invalid_content_part", ".file.filename"),
    ],
)
def test_a_wrong_part_is_refused_and_named(part: Any, code: str, param: str) -> None:
    good = {"role": "user", "content": "Hi"}
    assert refused(good, user({"type": "text", "text": "a"}, part)) == (code, f"messages[1].content[1]{param}")


@pytest.mark.parametrize("role", ["system", "developer", "assistant", "tool"])
def test_only_a_user_shows_images(role: str) -> None:
    message = {"role": role, "tool_call_id": "c", "content": [{"type": "image_url", "image_url": PIXEL}]}
    assert refused(message) == ("unsupported_content_type", "messages[0].content[0].type")


def test_a_list_that_is_none_or_too_long_is_refused() -> None:
    values: list[Any] = [None, 1, "Hi", {}, {"0": {}}]
    for value in values:
        with pytest.raises(InvalidInput) as caught:
            from_openai(value)
        assert caught.value.param == "messages"
    with pytest.raises(InvalidInput, match=str(MAX_MESSAGES)):
        from_openai([{"role": "user", "content": "Hi"}] * (MAX_MESSAGES + 1))
    with pytest.raises(InvalidInput) as caught:
        from_openai([1], "input")
    assert caught.value.param == "input[0]"


def test_an_error_never_repeats_what_was_sent_at_length() -> None:
    with pytest.raises(InvalidInput) as caught:
        from_openai([{"role": "user", "content": [{"type": "x" * 100_000}]}])
    assert len(caught.value.message) < 300


def test_remote_images_are_found_where_they_stand() -> None:
    messages = from_openai(
        [
            {"role": "user", "content": "Hi"},
            user(
                {"type": "image_url", "image_url": PIXEL}, {"type": "image_url", "image_url": "https://example.com/a"}
            ),
        ]
    )
    assert image_urls(messages) == [("messages[1].content[1].image_url", "https://example.com/a")]


texts = st.text(max_size=20)
names = st.text("abc_-", min_size=1, max_size=8)
parts = st.one_of(
    st.builds(TextPart, texts),
    st.builds(ImagePart, st.just(PIXEL), st.sampled_from([None, "low", "high"])),
    st.builds(AudioPart, st.just("aGk="), st.sampled_from(["wav", "mp3"])),
    st.builds(FilePart, names, st.just("aGk=")),
)
calls = st.builds(ToolCall, names, names, texts)
kept = st.one_of(
    st.builds(Message, st.just("system"), texts),
    st.builds(Message, st.just("user"), texts | st.lists(parts, max_size=3).map(tuple), name=st.none() | names),
    st.builds(Message, st.just("assistant"), texts, st.lists(calls, max_size=2).map(tuple), reasoning=texts),
    st.builds(Message, st.just("tool"), texts, tool_call_id=names, name=st.none() | names),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(kept, max_size=5))
def test_what_goes_out_comes_back_the_same(messages: list[Message]) -> None:
    assert from_openai([to_openai(message) for message in messages]) == messages


def test_an_uploaded_file_is_named_with_its_place() -> None:
    (message,) = from_openai(
        [
            user(
                {"type": "file", "file": {"file_id": "file-1", "filename": "a.pdf"}},
                {"type": "input_file", "file_id": "file-2"},
                {"type": "input_image", "image_url": None, "file_id": "file-3", "detail": "low"},
                {"type": "image_url", "image_url": {"url": PIXEL}},
                {"type": "file", "file": {"file_data": "aGk="}},
            )
        ]
    )
    assert message.content == (
        FilePart("a.pdf", "", "file-1"),
        FilePart("", "", "file-2"),
        ImagePart("", "low", "file-3"),
        ImagePart(PIXEL),
        FilePart("file", "aGk="),
    )
    places = [part.place for part in message.content]
    assert [place.removeprefix("messages[0].content") for place in places] == [
        "[0].file.file_id",
        "[1].file_id",
        "[2].file_id",
        "[3].image_url.url",
        "[4].file.file_data",
    ]
    assert image_urls([message]) == []


def test_a_file_goes_back_by_its_id_or_as_what_was_read_of_it() -> None:
    read = FilePart("a.txt", "", None, "what was read")
    uploaded = FilePart("b.txt", "", "file-1", "what was read")
    assert to_openai(Message("user", (read, uploaded)))["content"] == [
        {"type": "text", "text": "what was read"},
        {"type": "file", "file": {"filename": "b.txt", "file_id": "file-1"}},
    ]


@pytest.mark.parametrize(("sent", "plain"), [("-_8", "+/8="), ("aGk", "aGk="), ("aGk=", "aGk="), ("aGkx", "aGkx")])
def test_base64_is_told_in_the_one_form_that_every_provider_reads(sent: str, plain: str) -> None:
    (message,) = from_openai(
        [
            user(
                {"type": "file", "file": {"file_data": f"data:a/b;base64,{sent}"}},
                {"type": "input_audio", "input_audio": {"data": sent, "format": "wav"}},
                {"type": "image_url", "image_url": f"data:image/png;base64,{sent}"},
            )
        ]
    )
    assert message.content == (
        FilePart("file", f"data:a/b;base64,{plain}"),
        AudioPart(plain, "wav"),
        ImagePart(f"data:image/png;base64,{plain}"),
    )
