"""Nodes behind a proxy are restarted one after the other, under load: no request fails, no run is lost or doubled."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartNodes
from tests.support import waiting
from tests.support.proxy import LOOK_SECONDS, Proxy

CADDYFILE = Path(__file__).parents[2] / "deploy" / "Caddyfile"
DRAIN_DELAY_SECONDS = 3 * LOOK_SECONDS
DRAIN_DELAY_BEHIND_CADDY_SECONDS = 3.0
"""It looks once a second."""
DRAIN_TIMEOUT_SECONDS = 3.0
LONG_SECONDS = 9.0
"""Longer than a node that stops waits for a run: another one has to go on with it."""
TURNS_BETWEEN = 12
"""So many more answers have come before the next node is restarted."""
DEADLINE_SECONDS = 60

eventually = partial(waiting.eventually, seconds=DEADLINE_SECONDS)


@dataclass
class Load:
    """Clients that talk until `is_over`. `outputs`: what the run of each request should have said; `failed`: what no
    client should ever see.
    """

    url: str
    key: str
    outputs: list[str] = field(default_factory=list)
    tool_tokens: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)
    cut_streams: int = 0
    is_over: threading.Event = field(default_factory=threading.Event)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        ways: list[Callable[[httpx.Client, str], None]] = [
            self.chat,
            self.streamed_chat,
            self.session_chat,
            self.run,
            self.run_with_a_tool,
            self.long_run,
            self.long_run,
            self.background_response,
        ]
        self._threads = [threading.Thread(target=self._talk, args=(way,)) for way in ways]
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        self.is_over.set()
        for thread in self._threads:
            thread.join(DEADLINE_SECONDS)
        assert not any(thread.is_alive() for thread in self._threads), "a client hangs"

    @property
    def turns(self) -> int:
        return self.answered.total()

    def chat(self, client: httpx.Client, token: str) -> None:
        output = self._expect(f"Noted: {token}")
        answer = _ok(client.post("/v1/chat/completions", json=_messages(token)))
        assert answer.json()["choices"][0]["message"]["content"] == output, answer.text

    def streamed_chat(self, client: httpx.Client, token: str) -> None:
        output = self._expect(f"Noted: {token}")
        with client.stream("POST", "/v1/chat/completions", json={**_messages(token), "stream": True}) as answer:
            text = "".join(_ok(answer).iter_text())
        pieces = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
        said = "".join(piece["choices"][0]["delta"].get("content") or "" for piece in pieces if piece["choices"])
        assert (said, "[DONE]" in text) == (output, True), text

    def session_chat(self, client: httpx.Client, token: str) -> None:
        client.headers["X-Hermes-Session-Id"] = f"session-of-{threading.get_ident()}"
        self.chat(client, token)

    def run(self, client: httpx.Client, token: str) -> None:
        self._whole_run(client, token, f"Noted: {token}")

    def run_with_a_tool(self, client: httpx.Client, token: str) -> None:
        """Its command leaves a line each time it is run."""
        self.tool_tokens.append(token)
        self._whole_run(client, f"tool {token}", f"Written: tool {token}")

    def long_run(self, client: httpx.Client, token: str) -> None:
        self._whole_run(client, f"long {token}", f"At length: long {token}")

    def background_response(self, client: httpx.Client, token: str) -> None:
        output = self._expect(f"Noted: {token}")
        body = {"input": token, "background": True}
        made = _ok(client.post("/v1/responses", json=body)).json()

        def told() -> Any:
            answer = _ok(client.get(f"/v1/responses/{made['id']}")).json()
            return answer if answer["status"] not in ("queued", "in_progress") else None

        response = eventually(told)
        whole = [item for item in response["output"] if item["status"] == "completed"]  # not what a stop cut off
        text = "".join(part["text"] for item in whole for part in item.get("content", ()))
        assert (response["status"], text) == ("completed", output), response

    def begin_at(self, node_url: str) -> str:
        """A run that lasts longer than the node that has it: its id."""
        token = f"token-{next(self._numbers)}"
        self._expect(f"At length: long {token}")
        with httpx.Client(base_url=node_url, headers={"Authorization": f"Bearer {self.key}"}, timeout=30) as client:
            return str(_ok(client.post("/v1/runs", json={"input": f"long {token}"})).json()["run_id"])

    def follow_to_its_end(self, run_id: str) -> None:
        with httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=30) as client:
            names = [event["event"] for event in self._follow(client, run_id)]
        assert (names.count("run.resumed"), names[-1]) == (1, "run.completed"), names

    def _expect(self, output: str) -> str:
        self.outputs.append(output)
        return output

    def _whole_run(self, client: httpx.Client, text: str, output: str) -> None:
        self._expect(output)
        run_id = _ok(client.post("/v1/runs", json={"input": text})).json()["run_id"]
        events = self._follow(client, run_id)
        numbers = [event["seq"] for event in events]
        assert numbers == list(range(1, len(numbers) + 1)), f"{run_id}: gaps or doubles in {numbers}"
        assert (events[-1]["event"], events[-1].get("output")) == ("run.completed", output), events

    def _follow(self, client: httpx.Client, run_id: str) -> list[dict[str, Any]]:
        """To its final event, over as many connections as that takes."""
        events: list[dict[str, Any]] = []
        while not events or events[-1]["event"] not in ("run.completed", "run.failed", "run.interrupted"):
            headers = {"Last-Event-ID": str(events[-1]["seq"])} if events else {}
            with suppress(httpx.RemoteProtocolError), client.stream("GET", _events(run_id), headers=headers) as answer:
                for line in _ok(answer).iter_lines():
                    if line.startswith("data: {"):
                        told = json.loads(line[6:])
                        if "event" in told:
                            events.append(told)
                        else:
                            assert told["error"]["code"] == "gateway_draining", told
                            self.cut_streams += 1
        return events

    def _talk(self, way: Callable[[httpx.Client, str], None]) -> None:
        with httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=30) as client:
            while not self.is_over.is_set():
                token = f"token-{next(self._numbers)}"
                try:
                    way(client, token)
                except (AssertionError, httpx.HTTPError, KeyError, ValueError) as error:
                    self.failed.append(f"{way.__name__} {token}: {error!r}")
                self.answered[way.__name__] += 1


@contextmanager
def own_proxy(nodes: list[str]) -> Iterator[str]:
    with Proxy(nodes) as proxy:
        yield proxy.url


@contextmanager
def caddy(nodes: list[str]) -> Iterator[str]:
    """The real one, with the very file that deploy/ ships."""
    program = shutil.which("caddy")
    if program is None:
        pytest.skip("caddy is not installed: the proxy of the tests stands in for it")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    variables = {"HERMES_SITE": url, "HERMES_NODES": " ".join(node.removeprefix("http://") for node in nodes)}
    arguments = [program, "run", "--config", str(CADDYFILE), "--adapter", "caddyfile"]
    process = subprocess.Popen(arguments, env={**os.environ, **variables}, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: _is_up(url))
        yield url
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("front", [own_proxy, caddy])
def test_restarting_each_node_in_turn_fails_no_request_and_loses_no_run(
    front: Any, start_nodes: StartNodes, model: ScriptedModelServer, tmp_path: Path
) -> None:
    written = tmp_path / "written"
    _script(model, written)
    delay = DRAIN_DELAY_BEHIND_CADDY_SECONDS if front is caddy else DRAIN_DELAY_SECONDS
    settings = {"drain_delay": delay, "drain_timeout": DRAIN_TIMEOUT_SECONDS, "max_concurrent_runs": 64}
    kept = {"keep_chains": 10_000}  # a fast machine makes more than are kept by default
    nodes = start_nodes(2, {"api_server": settings, "approvals": {"mode": "off"}, "responses": kept})
    with front([node.url for node in nodes]) as url:
        load = Load(url, nodes[0].key)
        load.start()
        try:
            for node in nodes:
                _more_turns(load, TURNS_BETWEEN)
                handed_over = load.begin_at(node.url)
                _restart(node)
                load.follow_to_its_end(handed_over)
            _more_turns(load, TURNS_BETWEEN)
        finally:
            load.finish()
        assert load.failed == []
        runs = _all_runs(url, nodes[0].key)
    assert {run["status"] for run in runs} == {"completed"}
    assert sorted(run["output"] for run in runs) == sorted(load.outputs), "a run is lost, or there twice"
    assert sorted(written.read_text().split()) == sorted(load.tool_tokens), "a tool ran twice, or not at all"


def _script(model: ScriptedModelServer, written: Path) -> None:
    command = f"echo {{{{1}}}} >> {written}"
    model.add(
        Step("Written: {{user}}", after_tool=True),
        Step(when=r"^tool (\S+)$", tool_calls=(Call("terminal", {"command": command}),)),
        Step("At length: {{user}}", when=r"^long ", first_delay_ms=LONG_SECONDS * 1000),
        Step("Noted: {{user}}", delay_ms=20, times=0),
    )


def _restart(node: Gateway) -> None:
    assert node.stop() == 0, node.errors
    node.start()
    eventually(lambda: _is_up(node.url))


def _more_turns(load: Load, count: int) -> None:
    before = load.turns
    eventually(lambda: load.turns >= before + count or load.failed)


def _all_runs(url: str, key: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30) as client:
        while True:
            params: dict[str, str | int] = {"limit": 100, **({"cursor": cursor} if cursor else {})}
            page = _ok(client.get("/v1/runs", params=params)).json()
            found += page["data"]
            cursor = page.get("next_cursor")
            if not cursor:
                return found


def _is_up(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}/health", timeout=2).status_code == 200
    return False


def _ok(answer: httpx.Response) -> httpx.Response:
    if answer.status_code >= 400:
        answer.read()
        raise AssertionError(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}")
    return answer


def _messages(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def _events(run_id: str) -> str:
    return f"/v1/runs/{run_id}/events"
