from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from hermes.models.sse import EventStream

STREAM = (
    b": comment\n\n"
    b"event: ping\nid: 7\nretry: 10\ndata: one\n\n"
    b'data:{"a":"\xc3\xa9"}\r\n\r\n'
    b"data: first line\ndata:\ndata:  third\n\n"
    b"\n\n\r\n"
    b"data: by carriage return\r\r"
    b"database: not ours\n\n"
    b"data:[DONE]\n\n"
    b"data: without an end"
)
EVENTS = [
    b"one",
    b'{"a":"\xc3\xa9"}',
    b"first line\n\n third",
    b"by carriage return",
    b"[DONE]",
    b"without an end",
]


def read(*pieces: bytes) -> list[bytes]:
    stream = EventStream()
    return [*(event for piece in pieces for event in stream.feed(piece)), *stream.close()]


def test_events_are_the_data_of_each_block_and_the_last_needs_no_empty_line() -> None:
    assert read(STREAM) == EVENTS


def test_a_stream_in_single_bytes_gives_the_same_events() -> None:
    assert read(*(STREAM[i : i + 1] for i in range(len(STREAM)))) == EVENTS


@given(st.lists(st.integers(0, len(STREAM))))
def test_where_the_stream_is_cut_changes_nothing(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    assert read(*(STREAM[start:end] for start, end in pairwise(edges))) == EVENTS


@given(
    st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n")), min_size=1, max_size=3)),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.integers(1, 7),
)
def test_any_events_come_back_whatever_the_line_end(events: list[list[str]], end: str, size: int) -> None:
    text = "".join("".join(f"data: {line}{end}" for line in lines) + end for lines in events).encode()
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    assert read(*pieces) == ["\n".join(lines).encode() for lines in events]
