"""Link and the gateway are killed with -9 at many moments: no message is lost or doubled, and every run ends."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from contextlib import suppress
from functools import partial

import httpx
import pytest

from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway
from tests.acceptance.link.phone import FINAL, Phone, Received, deltas, ok, refused, text_of
from tests.acceptance.link.process import LinkProcess, tell_link
from tests.support import waiting

pytestmark = [pytest.mark.sqlite("Link keeps its data in SQLite"), pytest.mark.slow]

WORDS = [f"w{number} " for number in range(60)]
WHOLE = "".join(WORDS)
SLOW = Step(when="^Count", text=WORDS, delay_ms=25, times=0)
QUICK = Step(times=0, text="You said: {{user}}")

MOMENTS = (1, 2, 3, 4, 6, 9, 14, 20, 40)
"""How many events were seen when the process is killed."""


@pytest.mark.timeout(300)
def test_link_is_killed_at_many_moments_of_an_answer(
    link: LinkProcess, phone: Phone, model: ScriptedModelServer
) -> None:
    model.add(SLOW, QUICK)
    for moment in MOMENTS:
        conversation, asked = phone.conversation(), f"Count for moment {moment}"
        with phone.follow(conversation) as stream:
            sent = phone.send(conversation, asked)
            for _ in range(moment):
                stream.until(lambda one: True)
            link.kill()
            stream.is_ended.wait(10)
        link.start()
        seen = list(stream.events) + rest_of(phone, conversation, stream.last, sent["run"]["id"])

        whole_list(seen)
        answer = phone.message(conversation, sent["assistant_message"]["id"])
        assert (answer["status"], text_of(answer)) == ("completed", WHOLE), f"moment {moment}"
        assert deltas(seen, answer["id"]) == WHOLE, f"moment {moment}"
        assert [one["role"] for one in phone.messages(conversation)] == ["user", "assistant"]
        assert times_asked(model, asked) == 1, f"moment {moment}"
    assert phone.get("/statistics/usage", days=1)["usage"]["totals"]["run_count"] == len(MOMENTS)


@pytest.mark.timeout(300)
def test_messages_sent_while_link_dies_are_there_once_and_in_order(
    link: LinkProcess, phone: Phone, model: ScriptedModelServer
) -> None:
    """A client that sends each message again until it has an answer, as phones do."""
    model.add(QUICK)
    conversation = phone.conversation()
    said = [f"message {number}" for number in range(40)]
    first: dict[str, str] = {}

    def send_all() -> None:
        for text in said:
            while True:
                with suppress(httpx.TransportError):
                    answer = phone.client.post(
                        f"/conversations/{conversation}/messages", json={"content": text, "client_message_id": text}
                    )
                    assert answer.status_code == 202, answer.text
                    first[text] = answer.json()["run"]["id"]
                    break
                time.sleep(0.05)

    def has_sent(count: int) -> bool:
        return len(first) >= count

    sender = threading.Thread(target=send_all)
    sender.start()
    for count in (5, 12, 20, 31):
        waiting.eventually(partial(has_sent, count), seconds=60)
        link.kill()
        link.start()
    sender.join(60)
    waiting.eventually(lambda: all(one["status"] == "completed" for one in all_of(phone, conversation)), seconds=90)

    kept = all_of(phone, conversation)
    assert [text_of(one) for one in kept if one["role"] == "user"] == said
    assert [text_of(one) for one in kept if one["role"] == "assistant"] == [f"You said: {text}" for text in said]
    assert [one["run_id"] for one in kept if one["role"] == "user"] == [first[text] for text in said]
    assert {text: times_asked(model, text) for text in said} == dict.fromkeys(said, 1)
    with phone.follow(conversation) as stream:
        stream.until_end(first[said[-1]])
    whole_list(stream.events)
    ends = Counter(one.data["run_id"] for one in stream.events if one.type in FINAL)
    assert ends == Counter(first.values())


@pytest.mark.timeout(300)
def test_the_gateway_is_killed_at_many_moments_of_an_answer(
    link: LinkProcess, phone: Phone, known_gateway: Gateway, model: ScriptedModelServer
) -> None:
    """It goes on with its runs at its next start, and Link with them."""
    model.add(SLOW, QUICK)
    for moment in (1, 3, 6, 14, 30):
        conversation = phone.conversation()
        with phone.follow(conversation) as stream:
            sent = phone.send(conversation, f"Count for moment {moment}")
            for _ in range(moment):
                stream.until(lambda one: True)
            known_gateway.kill()
            known_gateway.start()
            stream.until_end(sent["run"]["id"], seconds=60)
        whole_list(stream.events)
        answer = phone.message(conversation, sent["assistant_message"]["id"])
        assert (answer["status"], text_of(answer)) == ("completed", WHOLE), f"moment {moment}: {answer['error']}"
        assert phone.ask(conversation, "And now?") == "You said: And now?"


def test_both_are_killed_and_the_queue_goes_on(
    link: LinkProcess, phone: Phone, known_gateway: Gateway, model: ScriptedModelServer
) -> None:
    model.add(SLOW, QUICK)
    conversation = phone.conversation()
    with phone.follow(conversation) as stream:
        runs = [phone.send(conversation, text)["run"] for text in ("Count", "second", "third")]
        stream.until_type("message.delta")
        link.kill()
        known_gateway.kill()
    assert [one["status"] for one in runs[1:]] == ["queued", "queued"]
    known_gateway.start()
    link.start()
    seen = list(stream.events) + rest_of(phone, conversation, stream.last, runs[-1]["id"])
    whole_list(seen)
    kept = phone.messages(conversation)
    assert [text_of(one) for one in kept if one["role"] == "user"] == ["Count", "second", "third"]
    assert [text_of(one) for one in kept if one["role"] == "assistant"] == [
        WHOLE,
        "You said: second",
        "You said: third",
    ]


def test_while_the_gateway_is_down_only_agent_work_is_refused(
    link: LinkProcess, phone: Phone, known_gateway: Gateway, model: ScriptedModelServer
) -> None:
    model.add(SLOW, QUICK)
    conversation = phone.conversation(title="Trip")
    with phone.follow(conversation) as stream:
        first = phone.send(conversation, "Count")
        stream.until_type("message.delta")
        queued = phone.send(conversation, "after that")
        known_gateway.kill()
        waiting.eventually(lambda: phone.get("/status")["api_server"]["state"] == "offline", seconds=20)

        other = phone.conversation()
        answer = phone.client.post(f"/conversations/{other}/messages", json={"content": "hello"})
        assert refused(answer) == (503, "hermes_api_server_unavailable")
        for path in ("/models", "/profiles/default/cron-jobs"):
            assert refused(phone.client.get(path)) == (503, "hermes_api_server_unavailable")
        assert refused(phone.client.post("/runs", json={"input": "a"})) == (503, "hermes_api_server_unavailable")
        assert phone.messages(other) == []
        phone.patch(f"/conversations/{conversation}/title", {"title": "Journey"})
        assert phone.get("/conversations/search", q="Journey")["conversations"][0]["id"] == conversation
        for path in ("/devices", "/profiles", "/statistics", "/statistics/usage", "/logs", "/conversations"):
            phone.get(path)
        link.phone("Tablet")

        known_gateway.start()
        stream.until_end(first["run"]["id"], seconds=60)
        stream.until_end(queued["run"]["id"], seconds=60)
    assert phone.text(conversation, first["assistant_message"]["id"]) == WHOLE
    assert phone.text(conversation, queued["assistant_message"]["id"]) == "You said: after that"
    assert phone.get("/status")["api_server"]["state"] == "online"


def test_a_gateway_with_another_key_is_told_as_unauthorized_with_the_mend(
    link: LinkProcess, phone: Phone, known_gateway: Gateway, model: ScriptedModelServer
) -> None:
    model.add(QUICK)
    right = known_gateway.key
    known_gateway.stop()
    known_gateway.environ["API_SERVER_KEY"] = "another-key-" + "x" * 32
    known_gateway.start()
    told = waiting.eventually(
        lambda: (found := phone.get("/status")["api_server"])["state"] == "unauthorized" and found, seconds=20
    )
    assert told["issue"] and ".env" in told["issue"] and right not in json.dumps(told)
    known_gateway.key = known_gateway.environ["API_SERVER_KEY"]
    tell_link(known_gateway)
    waiting.eventually(lambda: phone.get("/status")["api_server"]["state"] == "online", seconds=20)
    assert phone.ask(phone.conversation(), "hello") == "You said: hello"


def rest_of(phone: Phone, conversation: str, after: int, run: str) -> list[Received]:
    """What comes behind `after`, to the end of the run. There may be nothing left of it."""
    with phone.follow(conversation, after) as stream:
        state = phone.messages(conversation, limit=200)
        if any(one["run_id"] == run and one["status"] in {"queued", "streaming"} for one in state):
            stream.until_end(run, seconds=60)
        last = phone.last_seq(conversation)
        waiting.eventually(lambda: stream.last >= last, seconds=20)
    return stream.events


def whole_list(events: list[Received]) -> None:
    assert [one.id for one in events] == list(range(1, len(events) + 1)), "nothing lost and nothing twice"
    assert [one.data["seq"] for one in events] == [one.id for one in events]


def all_of(phone: Phone, conversation: str) -> list[dict]:
    """Every message, page by page."""
    found: list[dict] = []
    before: dict[str, str] = {}
    while True:
        page = ok(phone.client.get(f"/conversations/{conversation}/messages", params={"limit": 25, **before}))
        found = page["messages"] + found
        if not page["page"]["has_more_before"]:
            return found
        before = {"before": page["page"]["oldest_message_id"]}


def times_asked(model: ScriptedModelServer, text: str) -> int:
    """How often the model was asked for an answer to it."""
    count = 0
    for request in model.requests:
        last = [one for one in request["messages"] if one["role"] == "user"][-1]["content"]
        said = last if isinstance(last, str) else "".join(part.get("text", "") for part in last)
        count += said.strip() == text
    return count
