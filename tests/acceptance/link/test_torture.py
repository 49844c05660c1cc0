"""Phones talk and listen while Link and the gateway are killed, stopped and frozen at random: afterwards everything is
there, once and in order.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import httpx
import pytest

from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway
from tests.acceptance.link.phone import FINAL, Phone, Received, deltas, text_of
from tests.acceptance.link.process import LinkProcess
from tests.support import waiting

pytestmark = [pytest.mark.sqlite("Link keeps its data in SQLite"), pytest.mark.slow]

SEED = 6
TALKS = 5
MESSAGES = 10
PAUSE_SECONDS = 4.0
"""At most, between two messages of a talk."""
ROUNDS = 10
WORDS = [f"w{number} " for number in range(50)]


@dataclass
class Talk:
    """One conversation: somebody who sends each message until it is taken, and a reader who comes back when cut off."""

    phone: Phone
    id: str
    said: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    seen: list[Received] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    def send_all(self) -> None:
        chance = random.Random(self.id)
        for number in range(MESSAGES):
            time.sleep(chance.uniform(0, PAUSE_SECONDS))
            text = f"{'Count' if number % 3 == 0 else 'Say'} {self.id[-6:]} {number}"
            while True:
                with suppress(httpx.TransportError):
                    answer = self.phone.client.post(
                        f"/conversations/{self.id}/messages", json={"content": text, "client_message_id": text}
                    )
                    if answer.status_code == 202:
                        break
                    assert answer.status_code == 503, answer.text
                time.sleep(0.1)
            self.said.append(text)
            self.runs.append(answer.json()["run"]["id"])

    def read_all(self) -> None:
        while not self.is_over.is_set():
            with suppress(httpx.TransportError), self.phone.follow(self.id, self.last, events=self.seen) as stream:
                while not stream.is_ended.wait(0.05) and not self.is_over.is_set():
                    pass
            time.sleep(0.05)

    @property
    def last(self) -> int:
        return self.seen[-1].id if self.seen else 0


@pytest.mark.timeout(600)
def test_whatever_is_killed_everything_is_there_once_and_in_order(
    link: LinkProcess, phone: Phone, known_gateway: Gateway, model: ScriptedModelServer
) -> None:
    model.add(
        Step(when="^Count", text=WORDS, delay_ms=30, times=0),
        Step(text="You said: {{user}}", times=0),
    )
    talks = [Talk(phone, phone.conversation()) for _ in range(TALKS)]
    senders = [threading.Thread(target=talk.send_all) for talk in talks]
    readers = [threading.Thread(target=talk.read_all) for talk in talks]
    for thread in (*senders, *readers):
        thread.start()
    chance = random.Random(SEED)
    hardships = misfortunes(link, known_gateway)
    for _ in range(ROUNDS):
        time.sleep(chance.uniform(0.2, 2.0))
        chance.choice(hardships)()
    for thread in senders:
        thread.join(120)
        assert not thread.is_alive()
    for talk in talks:
        waiting.eventually(lambda talk=talk: is_quiet(talk), seconds=120)  # type: ignore[misc]
        talk.is_over.set()
    for thread in readers:
        thread.join(30)

    for talk in talks:
        kept = phone.messages(talk.id, limit=200)
        asked = [one for one in kept if one["role"] == "user"]
        answers = [one for one in kept if one["role"] == "assistant"]
        assert [text_of(one) for one in asked] == talk.said
        assert [one["run_id"] for one in asked] == [one["run_id"] for one in answers] == talk.runs
        assert [(one["status"], text_of(one)) for one in answers] == [
            ("completed", reply_to(text)) for text in talk.said
        ]
        assert [one.id for one in talk.seen] == list(range(1, len(talk.seen) + 1)), "nothing lost and nothing twice"
        ends = Counter(one.data["run_id"] for one in talk.seen if one.type in FINAL)
        assert ends == Counter(talk.runs)
        for one in answers:
            if not any(each.type == "message.updated" and each.data["message_id"] == one["id"] for each in talk.seen):
                assert deltas(talk.seen, one["id"]) == text_of(one)
    usage = phone.get("/statistics/usage", days=2)["usage"]["totals"]
    assert usage["run_count"] == TALKS * MESSAGES
    for log in (link.output, *(path.read_text() for path in (link.home / "logs").glob("*.log*"))):
        assert "Traceback" not in log, log[max(0, log.index("Traceback") - 1000) :][:4000]


def reply_to(text: str) -> str:
    return "".join(WORDS) if text.startswith("Count") else f"You said: {text}"


def is_quiet(talk: Talk) -> bool:
    kept = talk.phone.messages(talk.id, limit=200)
    return all(one["status"] == "completed" for one in kept) and talk.last >= talk.phone.last_seq(talk.id)


def misfortunes(link: LinkProcess, gateway: Gateway) -> list[Callable[[], object]]:
    def link_dies() -> None:
        link.kill()
        link.start()

    def link_is_restarted() -> None:
        assert link.stop() == 0
        link.start()

    def gateway_dies() -> None:
        gateway.kill()
        time.sleep(0.5)
        gateway.start()

    def gateway_is_restarted() -> None:
        gateway.stop()
        gateway.start()

    def gateway_freezes() -> None:
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        gateway.process.send_signal(signal.SIGCONT)

    def both_die() -> None:
        gateway.kill()
        link.kill()
        link.start()
        gateway.start()

    return [link_dies, link_is_restarted, gateway_dies, gateway_is_restarted, gateway_freezes, both_die]
