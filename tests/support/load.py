"""Clients that go on asking a gateway whatever it answers, and note what was acknowledged and how the rest was told."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

PAUSE_SECONDS = 0.02
TURNS = 20
"""Of a session: each sends the history to the model again, which remembers what it was sent."""
ENDED = ("completed", "failed", "cancelled", "interrupted")


@dataclass
class Load:
    """`told` counts answers: "chat ok", "stream ok", "run ok", "file ok", and for what failed "KIND CODE".

    `kept` are texts by session and run ids that were acknowledged. `messages` are those of the errors. `broken` is what
    must never happen: an answer that ends without a word.
    """

    url: str
    key: str
    told: Counter[str] = field(default_factory=Counter)
    kept: list[tuple[str, str]] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    messages: set[str] = field(default_factory=set)
    broken: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def has(self, *told: str) -> bool:
        with self._lock:
            return all(self.told[one] for one in told)

    def forget(self) -> None:
        """Counts anew from here on."""
        with self._lock:
            self.told.clear()
            self.messages.clear()

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=60)

    def chats(self, client: httpx.Client, session: str, number: int) -> None:
        session = f"{session}-{number // TURNS}"
        text = f"{number} {'x' * 2000}"
        body = {"messages": [{"role": "user", "content": text}]}
        answer = client.post("/v1/chat/completions", json=body, headers={"X-Hermes-Session-Id": session})
        if self._note("chat", answer):
            self.kept.append((session, text))

    def streams(self, client: httpx.Client, session: str, number: int) -> None:
        body = {"messages": [{"role": "user", "content": f"{number} {'y' * 2000}"}], "stream": True}
        with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            answer.read()
        if answer.status_code != 200:
            self._note("stream", answer)
            return
        lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
        error = next((json.loads(line)["error"] for line in lines if line.startswith('{"error"')), None)
        with self._lock:
            if error is not None:
                self.told[f"stream cut {error['code']}"] += 1
                self.messages.add(error["message"])
            elif lines[-1] == "[DONE]":
                self.told["stream ok"] += 1
            else:
                self.broken.append(answer.text[-300:])

    def starts(self, client: httpx.Client, session: str, number: int) -> None:
        answer = client.post("/v1/runs", json={"input": f"{number} {'z' * 2000}"})
        if self._note("run", answer):
            self.runs.append(answer.json()["run_id"])

    def counts(self, client: httpx.Client, session: str, number: int) -> None:
        """A run whose model shall carry out something that can be counted: its words are `count NAME`."""
        answer = client.post("/v1/runs", json={"input": f"count {session}_{number}"})
        if self._note("count", answer):
            self.runs.append(answer.json()["run_id"])

    def uploads(self, client: httpx.Client, session: str, number: int) -> None:
        file = {"file": ("a.txt", f"{number}".encode() * 5000)}
        self._note("file", client.post("/v1/files", files=file, data={"purpose": "user_data"}))

    def missing(self) -> list[tuple[str, str]]:
        """What was acknowledged and is not there: messages by session, and ids of runs."""
        with self.client() as client:
            there = {session: _texts_of(client, session) for session in {session for session, _ in self.kept}}
            lost = [("run", run) for run in self.runs if client.get(f"/v1/runs/{run}").status_code != 200]
        return lost + [(session, text) for session, text in self.kept if text not in there[session]]

    def unended(self) -> list[str]:
        """Ids of acknowledged runs that go on, as it seems."""
        with self.client() as client:
            found = [client.get(f"/v1/runs/{run}").raise_for_status().json() for run in self.runs]
        return [run["run_id"] for run in found if run["status"] not in ENDED]

    def _note(self, kind: str, answer: httpx.Response) -> bool:
        error = None if answer.status_code < 300 else answer.json()["error"]
        with self._lock:
            self.told[f"{kind} ok" if error is None else f"{kind} {answer.status_code} {error['code']}"] += 1
            if error is not None:
                self.messages.add(error["message"])
        return error is None

    def _go_on(self, ask: Callable[[httpx.Client, str, int], None], session: str) -> None:
        number = 0
        with self.client() as client:
            while not self._stop.wait(PAUSE_SECONDS):
                number += 1
                try:
                    ask(client, session, number)
                except (httpx.HTTPError, ValueError, KeyError) as error:
                    with self._lock:
                        self.broken.append(f"{ask.__name__}: {error!r}")


def _texts_of(client: httpx.Client, session: str) -> set[str]:
    texts: set[str] = set()
    after = 0
    while True:
        asked: dict[str, str | int] = {"limit": 100, "after": after, "order": "oldest"}
        page = client.get(f"/api/sessions/{session}/messages", params=asked).raise_for_status().json()
        texts.update(message["content"] for message in page["data"])
        if not page["data"]:
            return texts
        after = page["last_id"]


@contextmanager
def load_on(
    url: str, key: str, *, kinds: tuple[str, ...] = ("chats", "streams", "starts", "uploads")
) -> Iterator[Load]:
    """One client of each kind, two of the first; they have ended when the block is left."""
    load = Load(url, key)
    asks = [getattr(load, kind) for kind in (*kinds, kinds[0])]
    threads = [
        threading.Thread(target=load._go_on, args=(ask, f"session-{number}"), daemon=True)
        for number, ask in enumerate(asks)
    ]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load._stop.set()
        for thread in threads:
            thread.join(60)
