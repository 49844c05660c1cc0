"""A client of Link as its author would write one from the documentation: requests, streams, and what a stream says."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx

TIMEOUT_SECONDS = 30
FINAL = {"run.completed", "run.failed", "run.cancelled"}

Object = dict[str, Any]


@dataclass(frozen=True)
class Received:
    """One event of a stream. `id` is what `Last-Event-ID` takes; `size` its bytes on the wire."""

    id: int
    type: str
    data: Object
    size: int = 0

    @property
    def payload(self) -> Object:
        found: Object = self.data["payload"]
        return found


class Phone:
    """`client` sends the access token."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx.Client(base_url=f"{url}/api/v1", timeout=TIMEOUT_SECONDS)
        self.access = self.refresh_token = self.device_id = ""

    def pair(self, connect_token: str, label: str, platform: str = "ios", **more: Any) -> Object:
        body = {"device_label": label, "device_platform": platform, **more}
        answer = self.client.post(
            "/auth/device-session", json=body, headers={"Authorization": f"Bearer {connect_token}"}
        )
        return self.logged_in(answer)

    def claim(self, session_id: str, claim_token: str, label: str, platform: str = "ios", **more: Any) -> Object:
        """The other way of pairing: with what the QR code says."""
        body = {"session_id": session_id, "claim_token": claim_token, "device_label": label, **more}
        return self.logged_in(self.client.post("/pairing/claim", json={**body, "device_platform": platform}))

    def refresh(self) -> Object:
        return self.logged_in(self.client.post("/auth/refresh", json={"refresh_token": self.refresh_token}))

    def logged_in(self, answer: httpx.Response) -> Object:
        """Takes the tokens of an answer."""
        found = ok(answer)
        self.access, self.refresh_token = found["access_token"]["token"], found["refresh_token"]["token"]
        self.device_id = found["device"]["device_id"]
        self.client.headers["Authorization"] = f"Bearer {self.access}"
        return found

    def get(self, path: str, **query: Any) -> Object:
        return ok(self.client.get(path, params=query))

    def post(self, path: str, body: Any = None, **options: Any) -> Object:
        return ok(self.client.post(path, json={} if body is None else body, **options))

    def patch(self, path: str, body: Any) -> Object:
        return ok(self.client.patch(path, json=body))

    def delete(self, path: str) -> Object:
        return ok(self.client.delete(path))

    def conversation(self, **body: Any) -> str:
        found: str = self.post("/conversations", body)["conversation"]["id"]
        return found

    def send(self, conversation_id: str, text: str, *, key: str | None = None, **more: Any) -> Object:
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.post(f"/conversations/{conversation_id}/messages", {"content": text, **more}, headers=headers)

    def ask(self, conversation_id: str, text: str, **more: Any) -> str:
        """The text of the answer, when it is whole."""
        with self.follow(conversation_id, self.last_seq(conversation_id)) as stream:
            sent = self.send(conversation_id, text, **more)
            stream.until_end(sent["run"]["id"])
        return self.text(conversation_id, sent["assistant_message"]["id"])

    def messages(self, conversation_id: str, **query: Any) -> list[Object]:
        found: list[Object] = self.get(f"/conversations/{conversation_id}/messages", **query)["messages"]
        return found

    def message(self, conversation_id: str, message_id: str) -> Object:
        return next(one for one in self.messages(conversation_id, limit=200) if one["id"] == message_id)

    def text(self, conversation_id: str, message_id: str) -> str:
        return text_of(self.message(conversation_id, message_id))

    def last_seq(self, conversation_id: str) -> int:
        found: int = self.get(f"/conversations/{conversation_id}/messages", limit=1)["last_event_seq"]
        return found

    def follow(self, conversation_id: str | None = None, after: int = 0, **options: Any) -> Stream:
        """The events of a conversation, or with None of all."""
        path = "/conversations/events" if conversation_id is None else f"/conversations/{conversation_id}/events"
        return Stream(self.url, path, self.access, after, **options)

    def close(self) -> None:
        self.client.close()


@dataclass
class Stream:
    """An open event stream, read by a thread. `events` is what came so far."""

    url: str
    path: str
    token: str
    after: int
    events: list[Received] = field(default_factory=list)
    is_ended: threading.Event = field(default_factory=threading.Event)
    uses_header: bool = False
    status: int = 0
    headers: httpx.Headers = field(default_factory=httpx.Headers)

    def __enter__(self) -> Self:
        self._lines: queue.Queue[Received | None] = queue.Queue()
        self._client = httpx.Client(base_url=f"{self.url}/api/v1", timeout=httpx.Timeout(TIMEOUT_SECONDS))
        headers = {"Authorization": f"Bearer {self.token}"}
        headers |= {"Last-Event-ID": str(self.after)} if self.uses_header else {}
        request = self._client.build_request(
            "GET", self.path, headers=headers, params=None if self.uses_header else {"after": self.after}
        )
        self._answer = self._client.send(request, stream=True)
        self.status, self.headers = self._answer.status_code, self._answer.headers
        if self.status != 200:
            self._answer.read()
            raise AssertionError(f"{self.status} {self._answer.text}")
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self.cut()

    def cut(self) -> None:
        """As a phone that loses its network."""
        with suppress(Exception):
            self._answer.extensions["network_stream"].get_extra_info("socket").shutdown(2)
        self._thread.join(TIMEOUT_SECONDS)
        with suppress(Exception):
            self._answer.close()
        self._client.close()

    def until(self, is_it: Callable[[Received], bool], seconds: float = TIMEOUT_SECONDS) -> Received:
        """The next event of which it is true."""
        while True:
            try:
                found = self._lines.get(timeout=seconds)
            except queue.Empty:
                found = None
            if found is None:
                told = [(one.type, one.data.get("payload")) for one in self.events[-12:]]
                raise AssertionError(f"the stream ended or fell silent (ended: {self.is_ended.is_set()}) after {told}")
            if is_it(found):
                return found

    def until_type(self, *types: str, seconds: float = TIMEOUT_SECONDS) -> Received:
        return self.until(lambda one: one.type in types, seconds)

    def until_end(self, run_id: str, seconds: float = TIMEOUT_SECONDS) -> Received:
        return self.until(lambda one: one.type in FINAL and one.data.get("run_id") == run_id, seconds)

    @property
    def last(self) -> int:
        return self.events[-1].id if self.events else self.after

    def _read(self) -> None:
        with suppress(httpx.HTTPError, OSError):
            for one in received(self._answer.iter_lines()):
                self.events.append(one)
                self._lines.put(one)
        self.is_ended.set()
        self._lines.put(None)


def received(lines: Iterator[str]) -> Iterator[Received]:
    """The events among the lines of a stream; comments are left out."""
    told: dict[str, str] = {}
    size = 0
    for line in lines:
        size += len(line.encode()) + 1
        if line == "":
            if "data" in told:
                yield Received(int(told.get("id", 0)), told.get("event", "message"), json.loads(told["data"]), size)
            told, size = {}, 0
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            told[name] = value.removeprefix(" ")


def ok(answer: httpx.Response) -> Object:
    """The body of a success."""
    assert answer.is_success, f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}"
    found: Object = answer.json() if answer.content else {}
    return found


def refused(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a failure, whose form is held."""
    body = answer.json()
    assert body["ok"] is False and set(body) == {"ok", "error"}, body
    assert isinstance(body["error"]["message"], str) and body["error"]["message"]
    return answer.status_code, body["error"]["code"]


def text_of(message: Object) -> str:
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")


def deltas(events: list[Received], message_id: str) -> str:
    """The text that the deltas of a message give."""
    return "".join(
        one.payload.get("text") or ""
        for one in events
        if one.type == "message.delta" and one.payload.get("message_id") == message_id
    )
