"""Server-sent events out of bytes that are cut anywhere."""

from __future__ import annotations

import itertools

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermeslink.hermes import events
from hermeslink.hermes.events import EventStream, RemoteEvent, SentEvent, TooLong, read_event

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

STREAM = (
    ": run events\n\n"
    'id: 1\ndata: {"event":"run.started","seq":1}\n\n'
    ": keep-alive\r\n\r\n"
    'id: 2\r\ndata: {"event":"message.delta",\r\ndata: "delta":"Grüße 你好"}\r\n\r\n'
    'event: error\rdata: {"error":{"message":"no"}}\r\r'
    ": stream closed\n\n"
).encode()

EXPECTED = [
    SentEvent(comment="run events"),
    SentEvent(b'{"event":"run.started","seq":1}', "", "1"),
    SentEvent(comment="keep-alive"),
    SentEvent('{"event":"message.delta",\n"delta":"Grüße 你好"}'.encode(), "", "2"),
    SentEvent(b'{"error":{"message":"no"}}', "error", ""),
    SentEvent(comment="stream closed"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_wherever_it_is_cut_the_events_are_the_same(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    stream = EventStream()
    found = [event for a, b in itertools.pairwise(places) for event in stream.feed(STREAM[a:b])]

    assert found == EXPECTED


def test_an_event_without_an_end_is_refused() -> None:
    stream = EventStream()
    with pytest.raises(TooLong):
        for _ in range(events.MAX_EVENT_BYTES // 65536 + 2):
            stream.feed(b"x" * 65536)


@pytest.mark.parametrize(
    ("sent", "event"),
    [
        (SentEvent(b'{"event":"a","seq":7}', "", "3"), (7, "a")),
        (SentEvent(b'{"event":"a"}', "", "3"), (3, "a")),
        (SentEvent(b'{"event":"a","seq":true}', "b", "x"), (5, "a")),
        (SentEvent(b'{"delta":"x"}', "message.delta", ""), (5, "message.delta")),
        (SentEvent(b'{"delta":"x"}', "", "1"), None),
        (SentEvent(b"[DONE]", "", ""), None),
        (SentEvent(b"[1]", "", ""), None),
    ],
)
def test_an_event_has_its_number_from_where_the_server_says_it(sent: SentEvent, event: tuple[int, str] | None) -> None:
    found = read_event(sent, 5)
    assert (None if found is None else (found.seq, found.type)) == event


def test_what_is_relayed_is_as_it_came_and_on_one_line() -> None:
    plain = read_event(EXPECTED[1], 1)
    folded = read_event(EXPECTED[3], 1)

    assert isinstance(plain, RemoteEvent) and plain.raw == EXPECTED[1].data
    assert folded is not None and b"\n" not in folded.raw
    assert orjson.loads(folded.raw) == folded.data
