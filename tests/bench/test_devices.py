"""Readers of the bench: which tokens of a stream they count, and when they are done."""

from __future__ import annotations

import json
import time

import pytest

from bench.devices import Stream, Watch, Work
from bench.link import tokens_of
from bench.servers import Gateway, Home, Upstream

SECONDS = 0.5


def chunks(text: bytes, size: int) -> list[bytes]:
    return [text[at : at + size] for at in range(0, len(text), size)]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_token_counts_once_however_its_bytes_are_cut(size: int) -> None:
    stamp = f"@{time.monotonic():.6f} "
    told = {"payload": {"message_id": "m", "text": stamp + stamp}}
    body = (
        b"HTTP/1.1 200 OK\r\n\r\n"
        + f"id: 1\nevent: message.delta\ndata: {json.dumps({'type': 'message.delta', **told})}\n\n".encode()
        + f"id: 2\nevent: message.completed\ndata: {json.dumps(told)}\n\n".encode()
        + b"id: 3\nevent: run.completed\ndata: {}\n\n"
    )
    work = Work(Watch([(1, "/", "token")], 1, 1.0))
    stream = Stream(work, "/", "token")
    for chunk in chunks(body, size):
        stream.data_received(chunk)
    assert (len(work.lateness), work.size, work.done, work.is_over.is_set()) == (2, len(body), 1, True)
    assert all(0 <= late < 5 for late in work.lateness)


@pytest.mark.slow
@pytest.mark.sqlite("the bench takes the file in its home")
def test_readers_follow_runs_of_a_gateway() -> None:
    from bench.link import CONVERSATIONS, direct

    with Upstream() as upstream, Home(upstream, max_concurrent_runs=64) as home, Gateway(home) as gateway:
        seen = direct(gateway, SECONDS)
    assert (seen.tokens, seen.unfinished, seen.first_error) == (tokens_of(SECONDS) * CONVERSATIONS, 0, "")
