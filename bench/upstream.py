"""The language model of the bench: as fast as a socket allows, so that what is measured is the server in front of it.

    python -m bench.upstream PORT

A turn is described by its own user message: `bench:tokens=20,wait=2,rate=20,stamp=1`. `wait` is seconds before the
first token, `rate` tokens a second (0: all in one write), and with `stamp` each token is the time at which it was
sent, so that a reader in another process of the machine knows how late it came. `GET /last` gives the last request's
body. (hermes.models.scripted has neither: it plays scripts, and tests need no clock in their tokens.)
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from typing import cast

import uvloop

MARK = re.compile(rb"bench:([a-z0-9=.,]*)")
CHUNK = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench",'
    b'"choices":[{"index":0,"delta":%s,"finish_reason":%s}]%s}\n\n'
)
USAGE = b',"usage":{"prompt_tokens":1000,"completion_tokens":20,"total_tokens":1020}'
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def main() -> None:
    uvloop.run(serve(int(sys.argv[1])))


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


class Connection(asyncio.Protocol):
    """One keep-alive connection; one request at a time on it."""

    last_body = b""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answering is not None:
            self._answering.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head, rest = self._buffer[:head_end], self._buffer[head_end + 4 :]
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        expected = int(length.group(1)) if length else 0
        if len(rest) < expected:
            return
        self._buffer = rest[expected:]
        self._answer(head, rest[:expected])

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET"):
            self._answer_get(head)
            return
        Connection.last_body = body
        wanted = settings(body)
        tokens, wait, rate = int(wanted.get("tokens", 20)), wanted.get("wait", 0.0), wanted.get("rate", 0.0)
        if b'"stream":true' not in body and b'"stream": true' not in body:
            self._write(whole_answer(tokens))
        elif not wait and not rate:
            if tokens not in WHOLE_STREAMS:
                WHOLE_STREAMS[tokens] = stream(tokens)
            self._write(WHOLE_STREAMS[tokens])
        else:
            self._answering = asyncio.ensure_future(self._paced(tokens, wait, rate, bool(wanted.get("stamp"))))

    def _answer_get(self, head: bytes) -> None:
        if head.startswith(b"GET /last"):
            self._write(plain(Connection.last_body))
        else:
            self._write(plain(b'{"object":"list","data":[{"id":"bench","object":"model","owned_by":"bench"}]}'))

    async def _paced(self, tokens: int, wait: float, rate: float, stamp: bool) -> None:
        await asyncio.sleep(wait)
        self._write(STREAM_HEAD)
        began = time.monotonic()
        for i in range(tokens):
            word = b"@%.6f " % time.monotonic() if stamp else b"word%d " % i
            self._write(chunked(CHUNK % (b'{"content":"%s"}' % word, b"null", b"")))
            if rate:
                await asyncio.sleep(max(0.0, began + (i + 1) / rate - time.monotonic()))
        self._write(END)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


def settings(body: bytes) -> dict[str, float]:
    marks = MARK.findall(body)
    if not marks:
        return {}
    pairs = (pair.partition(b"=") for pair in marks[-1].split(b",") if pair)
    return {name.decode(): float(value) for name, _, value in pairs}


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def stream(tokens: int) -> bytes:
    chunks = (chunked(CHUNK % (b'{"content":"word%d "}' % i, b"null", b"")) for i in range(tokens))
    return STREAM_HEAD + b"".join(chunks) + END


def whole_answer(tokens: int) -> bytes:
    text = b"".join(b"word%d " % i for i in range(tokens))
    return plain(
        b'{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"bench","choices":[{"index":0,'
        b'"message":{"role":"assistant","content":"%s"},"finish_reason":"stop"}]%s}' % (text, USAGE)
    )


def plain(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


END = chunked(CHUNK % (b"{}", b'"stop"', USAGE)) + chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n"
WHOLE_STREAMS: dict[int, bytes] = {}

if __name__ == "__main__":
    main()
