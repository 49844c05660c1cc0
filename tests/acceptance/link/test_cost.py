"""A reply of n tokens costs O(n) bytes: on disk, and on the wire of its reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.link.phone import Phone, deltas
from tests.acceptance.link.process import LinkProcess

pytestmark = [pytest.mark.sqlite("Link keeps its data in SQLite"), pytest.mark.slow]

SIZES = (200, 2_000)
WARM_UP = 20
ALLOWED = 1.5
"""Ten times the tokens may cost this much more than ten times the bytes."""


def test_ten_times_the_tokens_cost_ten_times_the_bytes(
    link: LinkProcess, phone: Phone, model: ScriptedModelServer
) -> None:
    model.add(
        *(Step(when=f"^{n} tokens", text=["token "] * n, delay_ms=3, times=0) for n in (*SIZES, WARM_UP)),
        Step(times=0, text="A title"),
    )
    reply(phone, WARM_UP)
    wire, disk, events = {}, {}, {}
    for count in SIZES:
        before = bytes_in(link.home)
        wire[count], events[count] = reply(phone, count)
        disk[count] = bytes_in(link.home) - before
    factor = SIZES[1] / SIZES[0]
    assert wire[SIZES[1]] <= wire[SIZES[0]] * factor * ALLOWED, wire
    assert disk[SIZES[1]] <= max(disk[SIZES[0]], 64_000) * factor * ALLOWED, disk
    assert wire[SIZES[1]] < 600 * SIZES[1], f"{wire} bytes in {events} events"


def reply(phone: Phone, count: int) -> tuple[int, int]:
    """Bytes and number of the events of a reply."""
    conversation = phone.conversation()
    with phone.follow(conversation) as stream:
        sent = phone.send(conversation, f"{count} tokens")
        stream.until_end(sent["run"]["id"], seconds=90)
    assert deltas(stream.events, sent["assistant_message"]["id"]) == "token " * count
    return sum(one.size for one in stream.events), len(stream.events)


def bytes_in(home: Path) -> int:
    """Of the database and its log of writes; both only grow while it runs."""
    return sum(path.stat().st_size for path in home.glob("link.db*"))
