"""What tests of several gateways on one database do again and again: start runs, follow them from elsewhere, wait."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from hermes.models.script import Call, Step
from tests.acceptance.conftest import Gateway
from tests.support import waiting

LIVE_SECONDS = 8.0
"""The most that a reader on another node waits for an event. It comes within 0.1 s; a busy machine is given more."""
TAKE_OVER_SECONDS = 20.0
"""The promise is 10, on a machine that has the time to look each second; a busy one is given twice that."""
FINAL = ("completed", "failed", "cancelled", "interrupted")

Data = dict[str, Any]

eventually = partial(waiting.eventually, seconds=20.0)


def start(node: Gateway, text: str = "go", **fields: Any) -> str:
    """The id of the run."""
    answer = node.client.post("/v1/runs", json={"input": text, **fields})
    assert answer.status_code == 202, answer.text
    run_id: str = answer.json()["run_id"]
    return run_id


def run_of(node: Gateway, run_id: str) -> Data:
    run: Data = node.client.get(f"/v1/runs/{run_id}").raise_for_status().json()
    return run


def ended(node: Gateway, run_id: str) -> Data:
    def look() -> Data | None:
        run = run_of(node, run_id)
        return run if run["status"] in FINAL else None

    run: Data = eventually(look)
    return run


def events_of(node: Gateway, run_id: str) -> list[Data]:
    """The whole list; returns when the run has ended."""
    with reading(node, "GET", f"/v1/runs/{run_id}/events") as reader:
        return reader.all()


def names(happened: list[Data]) -> list[str]:
    """Without the text, whose pieces are cut as it comes."""
    return [one["event"] for one in happened if one["event"] != "message.delta"]


def no_gap(happened: list[Data]) -> bool:
    return [one["seq"] for one in happened] == list(range(1, len(happened) + 1))


def text_of(happened: list[Data]) -> str:
    return "".join(one["delta"] for one in happened if one["event"] == "message.delta")


def waits_for(mark: Path, *, says: str = "", when: str | None = None, after_tool: bool | None = None) -> Step:
    """An answer whose command runs until the file is there."""
    command = f"while [ ! -e {mark} ]; do sleep 0.02; done; echo {mark.name}"
    return Step(says, tool_calls=(Call("terminal", {"command": command}),), when=when, after_tool=after_tool)


def at_once(*works: Callable[[], Any]) -> list[Any]:
    with ThreadPoolExecutor(len(works)) as threads:
        gate = threading.Barrier(len(works))

        def run(work: Callable[[], Any]) -> Any:
            gate.wait(10)
            return work()

        return list(threads.map(run, works))


def hermes(node: Gateway, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "hermes", *arguments], env=node.environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def with_key(node: Gateway, key: str) -> httpx.Client:
    return httpx.Client(base_url=node.url, headers={"Authorization": f"Bearer {key}"}, timeout=20)


class Reader:
    """Reads server-sent events in a thread. `seen` are the data of those that came so far, `text` all as it came;
    `problem` is what broke the connection, None when the server ended it.
    """

    def __init__(self, url: str, key: str, method: str, path: str, **request: Any) -> None:
        self.seen: list[Data] = []
        self.text = ""
        self.status = 0
        self.headers: httpx.Headers = httpx.Headers()
        self.problem: Exception | None = None
        self._changed = threading.Condition()
        self._has_ended = False
        headers = {"Authorization": f"Bearer {key}", **request.pop("headers", {})}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=60)
        self._thread = threading.Thread(target=self._read, args=(method, path, request), daemon=True)
        self._thread.start()

    def until(self, is_it: Callable[[Data], Any], seconds: float = LIVE_SECONDS) -> Data:
        """The first one that is it, as soon as it came."""

        def found() -> Data | None:
            return next((one for one in self.seen if is_it(one)), None)

        with self._changed:
            self._changed.wait_for(lambda: found() is not None or self._has_ended, seconds)
            one = found()
        assert one is not None, f"it did not come within {seconds:g} s: {self.status} {self.text} {self.problem!r}"
        return one

    def until_event(self, name: str, seconds: float = LIVE_SECONDS) -> Data:
        return self.until(lambda one: one.get("event") == name, seconds)

    def all(self, seconds: float = 30.0) -> list[Data]:
        """Every event, when the server has ended the stream."""
        self._thread.join(seconds)
        assert self._has_ended, f"it did not end within {seconds:g} s: {self.text}"
        assert self.problem is None, self.problem
        assert self.status == 200, self.text
        return self.seen

    def close(self) -> None:
        self._client.close()
        self._thread.join(5)

    def _read(self, method: str, path: str, request: dict[str, Any]) -> None:
        try:
            with self._client.stream(method, path, **request) as answer:
                self.status, self.headers = answer.status_code, answer.headers
                for line in answer.iter_lines():
                    with self._changed:
                        self.text += line + "\n"
                        if line.startswith("data: {"):
                            self.seen.append(json.loads(line[6:]))
                        self._changed.notify_all()
        except (httpx.HTTPError, httpx.StreamError, OSError, ValueError) as error:
            self.problem = error
        finally:
            with self._changed:
                self._has_ended = True
                self._changed.notify_all()


@contextmanager
def reading(node: Gateway, method: str, path: str, **request: Any) -> Iterator[Reader]:
    reader = Reader(node.url, node.key, method, path, **request)
    try:
        yield reader
    finally:
        reader.close()


def following(node: Gateway, run_id: str, after: int = 0) -> Any:
    """The events of a run as this node gives them."""
    return reading(node, "GET", f"/v1/runs/{run_id}/events", params={"after": after})
