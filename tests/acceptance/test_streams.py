"""Every stream of a real gateway: cut off at random bytes and joined again, many at once, and clients that break off.

A row of STREAMS is one stream: how it begins, and how a client that was cut off goes on with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import socket as socket_module
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, make_gateway

DEADLINE_SECONDS = 30.0
MOST_CUTS = 6

WORDS = [f"wörd{number} 👋 " for number in range(40)]
SCRIPT = (
    Step(when="^go", after_tool=False, reasoning="Let me see.", tool_calls=(Call("terminal", {"command": "echo hi"}),)),
    Step(when="^go", after_tool=True, text=WORDS, delay_ms=4),
    Step(when="^quick", text="You said {{user}}.", delay_ms=1),
)


@dataclass(frozen=True)
class Sent:
    """One server-sent event. `data` is parsed where it is JSON."""

    event: str | None
    id: str | None
    data: Any


@dataclass(frozen=True)
class Ask:
    method: str
    path: str
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stream:
    """`begin` gives the first request; its argument is a word of this test's own. `again` is what a client sends that
    has seen some events and was cut off: it gets the rest (`goes_on`), or the stream from its beginning.
    `again` with nothing seen is asked when the cut came before the first event. `content` is what two readings of one
    stream have in common to the letter.
    """

    begin: Callable[[Gateway, str], Ask]
    again: Callable[[Ask, Sequence[Sent]], Ask]
    content: Callable[[Sequence[Sent]], Any] = lambda seen: list(seen)
    goes_on: bool = True


def run_events(gateway: Gateway, word: str) -> Ask:
    run_id = gateway.client.post("/v1/runs", json={"input": f"go {word}"}).raise_for_status().json()["run_id"]
    return Ask("GET", f"/v1/runs/{run_id}/events")


def by_last_event_id(first: Ask, seen: Sequence[Sent]) -> Ask:
    return Ask("GET", first.path, headers={"Last-Event-ID": str(seen[-1].id)} if seen else {})


def by_after(first: Ask, seen: Sequence[Sent]) -> Ask:
    return Ask("GET", first.path + (f"?after={seen[-1].id}" if seen else ""))


def the_same_again(first: Ask, seen: Sequence[Sent]) -> Ask:
    return first


def chat(gateway: Gateway, word: str) -> Ask:
    body = {"messages": [{"role": "user", "content": f"go {word}"}], "stream": True}
    return Ask("POST", "/v1/chat/completions", body, {"Idempotency-Key": word})


def chat_content(seen: Sequence[Sent]) -> Any:
    """Ids, text and tool progress; where the text is cut into chunks may differ."""
    text, named = "", []
    ids = {one.data["id"] for one in seen if one.data != "[DONE]"}
    for one in seen:
        if one.event is not None:
            named.append((one.event, one.data["tool"], one.data["status"]))
        elif one.data != "[DONE]":
            for choice in one.data["choices"]:
                text += choice["delta"].get("content") or ""
    return {"ids": ids, "text": text, "named": named, "end": [one.data for one in seen if one.data == "[DONE]"]}


def response(gateway: Gateway, word: str, **fields: Any) -> Ask:
    return Ask("POST", "/v1/responses", {"input": f"go {word}", "stream": True, **fields}, {"Idempotency-Key": word})


def background_response(gateway: Gateway, word: str) -> Ask:
    return response(gateway, word, background=True)


def by_starting_after(first: Ask, seen: Sequence[Sent]) -> Ask:
    numbered = [one for one in seen if one.data != "[DONE]"]
    if not numbered:
        return first
    response_id = numbered[0].data["response"]["id"]
    last = numbered[-1].data["sequence_number"]
    return Ask("GET", f"/v1/responses/{response_id}?stream=true&starting_after={last}")


def session_stream(gateway: Gateway, word: str) -> Ask:
    gateway.client.post("/api/sessions", json={"id": word}).raise_for_status()
    return Ask("POST", f"/api/sessions/{word}/chat/stream", {"message": f"go {word}"}, {"Idempotency-Key": word})


def session_content(seen: Sequence[Sent]) -> Any:
    """Without the numbers: text that was gathered otherwise is cut into other deltas."""
    text = "".join(one.data["delta"] for one in seen if one.event == "assistant.delta")
    rest = [
        (one.event, one.data.get("tool_call_id"), one.data.get("output"))
        for one in seen
        if one.event not in ("assistant.delta", "reasoning.delta")
    ]
    return {"text": text, "rest": rest, "runs": {one.data["run_id"] for one in seen}}


STREAMS: dict[str, Stream] = {
    "run events, Last-Event-ID": Stream(run_events, by_last_event_id),
    "run events, after": Stream(run_events, by_after),
    "chat, Idempotency-Key": Stream(chat, the_same_again, chat_content, goes_on=False),
    "response, starting_after": Stream(response, by_starting_after),
    "background response, starting_after": Stream(background_response, by_starting_after),
    "session stream, Idempotency-Key": Stream(session_stream, the_same_again, session_content, goes_on=False),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, module_database: str | None) -> Iterator[Gateway]:
    with ScriptedModelServer(SCRIPT, records=False) as model:
        gateway = make_gateway(tmp_path_factory.mktemp("streams"), model, database_url=module_database).start()
        yield gateway
        assert gateway.stop() == 0
        assert "Traceback" not in gateway.errors
        gateway.close()


@pytest.fixture
def gateway(shared: Gateway) -> Iterator[Gateway]:
    yield shared
    idle(shared)  # whatever a test did, all places are free again


def idle(gateway: Gateway) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (health := gateway.client.get("/health/detailed").json())["active_agents"] or health["queued_runs"]:
        assert time.monotonic() < deadline, health
        time.sleep(0.02)


def parsed(text: bytes) -> list[Sent]:
    """The whole events of it: what came behind the last empty line was cut in the middle and is not one."""
    found = []
    for block in text.split(b"\n\n")[:-1]:
        lines = [line for line in block.decode().split("\n") if line and not line.startswith(":")]
        fields = dict(line.split(": ", 1) for line in lines)
        if "data" in fields:
            data = fields["data"]
            found.append(Sent(fields.get("event"), fields.get("id"), data if data == "[DONE]" else json.loads(data)))
    return found


def read(gateway: Gateway, ask: Ask, at_most: int | None = None) -> tuple[list[Sent], bool]:
    """Its events up to a byte, where the connection is cut, and whether it ended before that."""
    text = b""
    with gateway.client.stream(ask.method, ask.path, json=ask.body, headers=ask.headers) as answer:
        assert answer.status_code == 200, answer.read()
        for piece in answer.iter_raw():
            text += piece
            if at_most is not None and len(text) >= at_most:
                return parsed(text[:at_most]), False
    return parsed(text), True


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_is_cut_and_joined_again_is_the_whole_list_once(gateway: Gateway, name: str, seed: int) -> None:
    stream, chance = STREAMS[name], random.Random(f"{name}{seed}")
    first = stream.begin(gateway, f"{name.split(',')[0].replace(' ', '-')}-{seed}")
    seen: list[Sent] = []
    readings: list[list[Sent]] = []
    ask, has_ended, cuts = first, False, 0
    while not has_ended:
        at_most = chance.randint(1, 4000) if cuts < MOST_CUTS else None
        got, has_ended = read(gateway, ask, at_most)
        cuts += not has_ended
        readings.append(got)
        seen = [*seen, *got] if stream.goes_on else got
        ask = stream.again(first, seen)
    assert cuts
    whole, _ = read(gateway, stream.again(first, []) if name.startswith("run") else again_from_the_start(first, seen))
    assert stream.content(seen) == stream.content(whole)
    if not stream.goes_on:
        for part in readings:
            said, all_of_it = stream.content(part)["text"], stream.content(whole)["text"]
            assert all_of_it.startswith(said)
    assert "".join(WORDS) in json.dumps([one.data for one in whole], ensure_ascii=False) or not stream.goes_on


def again_from_the_start(first: Ask, seen: Sequence[Sent]) -> Ask:
    """The whole stream, read anew when all is over."""
    if first.path == "/v1/responses":
        return Ask("GET", f"/v1/responses/{seen[0].data['response']['id']}?stream=true")
    return first


def test_a_session_stream_that_was_cut_can_be_read_on_as_the_events_of_its_run(gateway: Gateway) -> None:
    first = session_stream(gateway, "reread")
    seen, has_ended = read(gateway, first, 2500)
    assert not has_ended
    run_id = seen[0].data["run_id"]
    events, _ = read(gateway, Ask("GET", f"/v1/runs/{run_id}/events"))
    assert [one.data["seq"] for one in events] == list(range(1, len(events) + 1))
    whole = "".join(one.data["delta"] for one in events if one.data["event"] == "message.delta")
    assert whole == "".join(WORDS)
    assert whole.startswith(session_content(seen)["text"])
    assert events[-1].data["event"] == "run.completed"


@pytest.mark.parametrize("seed", range(3))
def test_a_response_on_a_websocket_that_was_cut_is_read_on_behind_the_last_event_seen(
    gateway: Gateway, seed: int
) -> None:
    chance = random.Random(seed)
    headers = {"Authorization": f"Bearer {gateway.key}", "X-Hermes-Detach": "true"}
    seen = []
    with connect(gateway.url.replace("http://", "ws://") + "/v1/responses", additional_headers=headers) as socket:
        socket.send(json.dumps({"type": "response.create", "input": f"go socket {seed}"}))
        for _ in range(chance.randint(1, 30)):
            seen.append(Sent(None, None, json.loads(socket.recv(timeout=DEADLINE_SECONDS))))
        socket.socket.shutdown(socket_module.SHUT_RDWR)  # no closing handshake: the line is dead
    first = Ask("POST", "/v1/responses")
    rest, _ = read(gateway, by_starting_after(first, seen))
    whole, _ = read(gateway, again_from_the_start(first, seen))
    assert [one.data for one in (*seen, *rest)] == [one.data for one in whole]


async def follow(client: httpx.AsyncClient, run_id: str) -> list[Any]:
    text = (await client.get(f"/v1/runs/{run_id}/events")).raise_for_status().content
    return [one.data for one in parsed(text)]


def client_of(gateway: Gateway) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=200)
    headers = {"Authorization": f"Bearer {gateway.key}"}
    return httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=DEADLINE_SECONDS, limits=limits)


async def test_32_streams_at_once_are_each_whole(gateway: Gateway) -> None:
    async with client_of(gateway) as client:

        async def one(number: int) -> list[Sent]:
            body = {"messages": [{"role": "user", "content": f"go {number}"}], "stream": True}
            answer = await client.post("/v1/chat/completions", json=body)
            assert answer.status_code == 200, answer.text
            return parsed(answer.content)

        answers = await asyncio.gather(*(one(number) for number in range(32)))
    contents = [chat_content(answer) for answer in answers]
    assert {content["text"] for content in contents} == {"".join(WORDS)}
    assert all(content["end"] == ["[DONE]"] for content in contents)
    assert len({next(iter(content["ids"])) for content in contents}) == 32


async def test_ten_readers_of_one_run_that_come_at_different_times_get_the_same_list(gateway: Gateway) -> None:
    async with client_of(gateway) as client:
        run_id = (await client.post("/v1/runs", json={"input": "go"})).json()["run_id"]

        async def reader(number: int) -> list[Any]:
            while (run := (await client.get(f"/v1/runs/{run_id}")).json())["last_seq"] < number * 3:
                if run["finished_at"] is not None:
                    break
            return await follow(client, run_id)

        lists = await asyncio.gather(*(reader(number) for number in range(10)))
        late = await follow(client, run_id)
    assert [one["seq"] for one in late] == list(range(1, len(late) + 1))
    assert all(one == late for one in lists)
    assert "".join(one["delta"] for one in late if one["event"] == "message.delta") == "".join(WORDS)


async def test_50_runs_on_5_sessions_are_all_done_in_the_order_they_came_in_each(gateway: Gateway) -> None:
    async with client_of(gateway) as client:

        async def fill(session: int) -> list[str]:
            started = []
            for number in range(10):
                body = {"input": f"quick {number}", "session_id": f"queue-{session}"}
                started.append((await client.post("/v1/runs", json=body)).raise_for_status().json()["run_id"])
            return started

        sessions = await asyncio.gather(*(fill(session) for session in range(5)))
        followed = await asyncio.gather(*(follow(client, run_id) for started in sessions for run_id in started))
        for events in followed:
            assert [one["seq"] for one in events] == list(range(1, len(events) + 1))
            assert events[-1]["event"] == "run.completed"
        for session, started in enumerate(sessions):
            listed = (await client.get(f"/v1/runs?session_id=queue-{session}&limit=200")).json()["data"]
            runs = {run["run_id"]: run for run in listed}
            assert [run["run_id"] for run in listed] == started[::-1]
            outputs = [runs[run_id]["output"] for run_id in started]
            assert outputs == [f"You said quick {number}." for number in range(10)]
            spans = [(runs[run_id]["started_at"], runs[run_id]["finished_at"]) for run_id in started]
            assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


BODIES: dict[str, Any] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "quick"}], "stream": True},
    "/v1/responses": {"input": "quick", "stream": True},
    "/v1/runs": {"input": "quick"},
    "/api/sessions": {"title": "cut"},
    "/v1/files": {"no": "file"},
}


@pytest.mark.parametrize("seed", range(4))
def test_clients_that_break_off_in_the_middle_leave_nothing_behind(gateway: Gateway, seed: int) -> None:
    """Requests cut at any byte: of the head, of the body, or while the answer comes."""
    chance = random.Random(seed)
    host, _, port = gateway.url.removeprefix("http://").rpartition(":")
    before = connections(gateway)
    for _ in range(25):
        path = chance.choice(list(BODIES))
        body = json.dumps(BODIES[path]).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {gateway.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode()
        request = head + body
        with socket_module.create_connection((host, int(port)), timeout=DEADLINE_SECONDS) as connection:
            connection.sendall(request[: chance.randint(0, len(request))])
            if chance.random() < 0.3:
                connection.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    connection.recv(chance.randint(1, 400))
            if chance.random() < 0.5:  # RST instead of FIN
                connection.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    idle(gateway)
    assert gateway.client.get("/health").status_code == 200
    assert "Traceback" not in gateway.errors + log_of(gateway)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while connections(gateway) > before + 1:
        assert time.monotonic() < deadline, "connections stayed open"
        time.sleep(0.05)


def connections(gateway: Gateway) -> int:
    """How many sockets the gateway has open."""
    count = 0
    for link in Path(f"/proc/{gateway.pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            count += str(link.readlink()).startswith("socket:")
    return count


def log_of(gateway: Gateway) -> str:
    return "".join(path.read_text() for path in (gateway.home / "logs").glob("*.log"))
