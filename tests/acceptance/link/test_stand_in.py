"""Link in front of another server that speaks the API server's interface, without sessions on runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.link.conftest import StartLink
from tests.acceptance.link.phone import Phone, refused
from tests.support import waiting
from tests.support.link_stand_in import Ask, Fail, LinkStandIn, Wait, say

pytestmark = [pytest.mark.sqlite("Link keeps its data in SQLite"), pytest.mark.slow]


class Other:
    """The stand-in, in a thread of its own, and the home that leads Link to it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.server = LinkStandIn()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def do(self, action: Callable[[], Awaitable[Any]]) -> Any:
        async def act() -> Any:
            return await action()

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result(20)

    def start(self) -> None:
        self.do(self.server.start)
        self.server.write_env(self.home)
        self.home.chmod(0o700)

    def close(self) -> None:
        self.do(self.server.stop)
        self.do(self.server.forget)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def started(self) -> list[Any]:
        """The bodies of the runs that were asked for."""
        return [body for method, path, body in list(self.server.asked) if (method, path) == ("POST", "/v1/runs")]


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Other]:
    found = Other(tmp_path / "other-home")
    found.start()
    yield found
    found.close()


@pytest.fixture
def phone(other: Other, start_link: StartLink) -> Phone:
    return start_link(other.home).phone()


def test_a_conversation_goes_on_by_its_history(other: Other, phone: Phone) -> None:
    conversation = phone.conversation()
    assert phone.ask(conversation, "My name is Ada") == "Hello there"
    assert phone.ask(conversation, "What is my name?") == "Hello there"
    second = next(body for body in other.started() if "What is my name?" in str(body["input"]))
    history = [(one["role"], one["content"]) for one in second["conversation_history"]]
    assert history == [("user", "My name is Ada"), ("assistant", "Hello there")]
    usage = phone.get("/statistics/usage", days=1)["usage"]["totals"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["run_count"]) == (14, 6, 2)


def test_its_questions_are_answered(other: Other, phone: Phone) -> None:
    other.server.scripts = [(Ask(), say("Done"))]
    conversation = phone.conversation()
    with phone.follow(conversation) as stream:
        sent = phone.send(conversation, "remove it")
        asked = stream.until_type("approval.requested").payload
        assert "rm -rf build" in str(asked["command"])
        phone.post(f"/conversations/{conversation}/approvals/{asked['approval_id']}/approve", {"scope": "session"})
        stream.until_end(sent["run"]["id"])
    [run] = other.server.runs.values()
    assert list(run.choices.values()) == ["session"]


def test_what_fails_says_why_and_the_next_message_works(other: Other, phone: Phone) -> None:
    other.server.scripts = [(say("Half"), Fail("the model is gone"))]
    conversation = phone.conversation()
    with phone.follow(conversation) as stream:
        sent = phone.send(conversation, "hello")
        assert stream.until_end(sent["run"]["id"]).type == "run.failed"
    failed = phone.message(conversation, sent["assistant_message"]["id"])
    assert failed["status"] == "failed" and "the model is gone" in failed["error"]["message"]
    assert phone.ask(conversation, "again") == "Hello there"


def test_a_run_that_it_forgot_ends_as_failed(other: Other, phone: Phone) -> None:
    """As where a server keeps its runs in memory and is started anew."""
    other.server.scripts = [(say("Half"), Wait())]
    conversation = phone.conversation()
    with phone.follow(conversation) as stream:
        sent = phone.send(conversation, "hello")
        queued = phone.send(conversation, "and this")
        stream.until_type("message.delta")
        other.do(other.server.stop)
        other.do(other.server.forget)
        other.do(other.server.start)
        assert stream.until_end(sent["run"]["id"], seconds=60).type == "run.failed"
        assert stream.until_end(queued["run"]["id"], seconds=60).type == "run.completed"
    failed = phone.message(conversation, sent["assistant_message"]["id"])
    assert failed["status"] == "failed" and failed["error"]["message"]


def test_cancel_stops_it(other: Other, phone: Phone) -> None:
    other.server.scripts = [(say("Half"), Wait())]
    conversation = phone.conversation()
    with phone.follow(conversation) as stream:
        sent = phone.send(conversation, "hello")
        stream.until_type("message.delta")
        phone.post(f"/conversations/{conversation}/runs/{sent['run']['id']}/cancel")
        assert stream.until_end(sent["run"]["id"]).type == "run.cancelled"
    assert [run.is_stopped for run in other.server.runs.values()] == [True]


def test_its_direct_runs_are_relayed_and_counted_also_when_nobody_reads(other: Other, phone: Phone) -> None:
    run = phone.post("/runs", {"input": "hello"})["run_id"]
    waiting.eventually(lambda: phone.get("/statistics/usage", days=1)["usage"]["totals"]["run_count"] == 1, seconds=20)
    with phone.client.stream("GET", f"/runs/{run}/events") as answer:
        text = "".join(answer.iter_text())
    assert "run.completed" in text
    assert refused(phone.client.post("/runs/run_nothing/cancel", json={})) == (404, "run_not_found")
