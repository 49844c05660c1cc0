"""A small HTTP server in a thread, for the services that tools talk to. What it answers is a subclass's."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Asked:
    """A request as it came in. Header names are lower case; `path` is as it was sent, without the query."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b""
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Any, status: int = 200) -> Answer:
        return cls(status, json.dumps(value).encode())


NEVER = Answer(0)
"""Nothing comes until the server ends."""


class StandIn:
    """`asked` are the requests so far. `next` are answers given before `answer` is asked again, such as failures."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.next: list[Answer] = []
        self.came = threading.Event()
        self._ends = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def answer(self, asked: Asked) -> Answer:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                parts = urlsplit(self.path)
                size = int(self.headers.get("Content-Length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, parts.path, parts.query, headers, self.rfile.read(size))
                stand_in.asked.append(asked)
                given = stand_in.next.pop(0) if stand_in.next else stand_in.answer(asked)
                stand_in.came.set()
                if given is NEVER:
                    stand_in._ends.wait()
                    return
                with suppress(OSError):  # the client left
                    self.send_response(given.status)
                    self.send_header("Content-Type", given.media_type)
                    self.send_header("Content-Length", str(len(given.body)))
                    self.send_header("Connection", "close")
                    for name, value in given.headers.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(given.body)

            do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        return Handler


class Pages(StandIn):
    """Gives what is kept for a path."""

    def __init__(self, pages: Mapping[str, Answer]) -> None:
        super().__init__()
        self.pages = dict(pages)

    def answer(self, asked: Asked) -> Answer:
        return self.pages.get(asked.path, Answer(404))
