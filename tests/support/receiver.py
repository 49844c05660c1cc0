"""An HTTP server that takes callbacks, and answers as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(frozen=True)
class Post:
    """A request as it came in. Header names are lower case."""

    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass
class Receiver:
    """`answers` are played one a request: a status, bytes as they stand, or an asyncio.Event that is waited for before
    200. After the last one it is 200.
    """

    answers: Sequence[int | bytes | asyncio.Event] = ()
    posts: list[Post] = field(default_factory=list)
    port: int = 0
    came: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=t"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(10), self.came:
            await self.came.wait_for(lambda: len(self.posts) >= count)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers["content-length"]))
            number = len(self.posts)
            async with self.came:
                self.posts.append(Post(head[0], headers, body))
                self.came.notify_all()
            said = self.answers[number] if number < len(self.answers) else 200
            if isinstance(said, asyncio.Event):
                await said.wait()
                said = 200
            writer.write(said if isinstance(said, bytes) else b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % said)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def receiving(*answers: int | bytes | asyncio.Event) -> AsyncIterator[Receiver]:
    receiver = Receiver(answers)
    server = await asyncio.start_server(receiver.answer, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
