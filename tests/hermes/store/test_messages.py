"""What is said comes back as it was said."""

from __future__ import annotations

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from hermes.core.message import AudioPart, ContentPart, FilePart, ImagePart, Message, Role, TextPart, ToolCall
from hermes.store import sessions
from hermes.store.database import Database
from hermes.store.messages import COLUMNS, decode, encode
from tests.support.database import give_back, new_url
from tests.support.store import keep_session

texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
parts: st.SearchStrategy[ContentPart] = st.one_of(
    st.builds(TextPart, texts),
    st.builds(ImagePart, texts, st.none() | texts),
    st.builds(AudioPart, texts, texts),
    st.builds(FilePart, texts, texts, st.none() | texts, st.none() | texts),
)
messages = st.builds(
    Message,
    st.sampled_from(get_args(Role)),
    texts | st.lists(parts).map(tuple),
    st.lists(st.builds(ToolCall, texts, texts, texts)).map(tuple),
    st.none() | texts,
    st.none() | texts,
    texts,
)


@given(messages)
def test_a_message_survives_its_row(message: Message) -> None:
    assert decode(list(encode(message).values())) == message


@given(st.lists(messages, max_size=5))
def test_a_session_gives_back_what_was_said_in_it_in_order(said: list[Message]) -> None:
    url = new_url()
    database = Database.open_now(url)
    database.write_now(keep_session)
    database.write_now(sessions.add_messages, "s", None, said, 2.0)
    assert database.read_now(sessions.history, "s") == said
    database.close_now()
    give_back(url)


def test_the_columns_are_named_in_the_order_of_the_row() -> None:
    assert tuple(encode(Message("user", "hello"))) == COLUMNS


def test_the_text_of_a_message_with_an_image_is_kept_beside_its_parts() -> None:
    message = Message("user", (TextPart("what is"), ImagePart("https://example.org/a.png"), TextPart("this?")))
    assert encode(message)["content"] == "what is\nthis?"


def test_characters_that_no_database_holds_are_replaced() -> None:
    message = Message("tool", "a\x00b\ud800c", tool_call_id="call_1", reasoning="\udfff")
    assert decode(list(encode(message).values())) == Message(
        "tool", "a\ufffdb\ufffdc", tool_call_id="call_1", reasoning="\ufffd"
    )


def test_lone_surrogates_within_parts_and_calls_are_replaced() -> None:
    message = Message("assistant", (TextPart("\ud800"),), (ToolCall("c", "f", '{"a": "\udc00"}'),))
    assert decode(list(encode(message).values())) == Message(
        "assistant", (TextPart("\ufffd"),), (ToolCall("c", "f", '{"a": "\ufffd"}'),)
    )
