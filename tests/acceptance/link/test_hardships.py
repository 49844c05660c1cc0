"""What happens around a run: questions that outlive Link, deletion, cancels in bad moments, a gateway that drains or
freezes.
"""

from __future__ import annotations

import signal
import time

import pytest

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway
from tests.acceptance.link.conftest import StartLink
from tests.acceptance.link.phone import Phone, deltas, refused, text_of
from tests.acceptance.link.process import LinkProcess, tell_link
from tests.support import waiting

pytestmark = [pytest.mark.sqlite("Link keeps its data in SQLite"), pytest.mark.slow]

WORDS = [f"w{number} " for number in range(80)]
SCRIPT = (
    Step(when="^Clean", after_tool=False, tool_calls=(Call("terminal", {"command": "rm -rf build"}),)),
    Step(when="^Clean", after_tool=True, text="The folder is clean."),
    Step(when="^Count", text=WORDS, delay_ms=25, times=0),
    Step(when="without end", text=["on and "] * 3000, delay_ms=20, times=0),
    Step(times=0, text="You said: {{user}}"),
)


@pytest.fixture(autouse=True)
def script(model: ScriptedModelServer) -> None:
    model.add(*SCRIPT)


def test_a_question_waits_while_link_is_gone(link: LinkProcess, phone: Phone, known_gateway: Gateway) -> None:
    build = known_gateway.workdir / "build"
    build.mkdir()
    conversation = phone.conversation()
    with phone.follow(conversation) as stream:
        sent = phone.send(conversation, "Clean it")
        asked = stream.until_type("approval.requested").payload["approval_id"]
        link.kill()
    assert build.exists()
    link.start()
    with phone.follow(conversation, stream.last) as rest:
        phone.post(f"/conversations/{conversation}/approvals/{asked}/approve", {"scope": "once"})
        assert rest.until_end(sent["run"]["id"]).type == "run.completed"
    asks = [one for one in stream.events + rest.events if one.type == "approval.requested"]
    assert len(asks) == 1
    assert not build.exists()


def test_a_question_that_nobody_answers_is_a_no_in_time(start_gateway: StartGateway, start_link: StartLink) -> None:
    gateway = start_gateway({"approvals": {"timeout": 1}})
    tell_link(gateway)
    (gateway.workdir / "build").mkdir()
    phone = start_link(gateway.home).phone()
    conversation = phone.conversation()
    with phone.follow(conversation) as stream:
        sent = phone.send(conversation, "Clean it")
        asked = stream.until_type("approval.requested").payload["approval_id"]
        resolved = stream.until_type("approval.resolved").payload
        stream.until_end(sent["run"]["id"])
    assert (resolved["approval_id"], resolved["decision"]) == (asked, "deny")
    late = phone.client.post(f"/conversations/{conversation}/approvals/{asked}/approve", json={})
    assert refused(late) == (409, "approval_resolved")
    assert (gateway.workdir / "build").exists()


def test_deleting_a_conversation_stops_its_agent_and_tells_its_readers(
    phone: Phone, model: ScriptedModelServer
) -> None:
    conversation = phone.conversation()
    with phone.follow(conversation) as stream, phone.follow() as all_of_them:
        phone.send(conversation, "Talk without end")
        phone.send(conversation, "and this never")
        stream.until_type("message.delta")
        before = model.disconnects
        phone.delete(f"/conversations/{conversation}")
        stream.until_type("conversation.deleted")
        all_of_them.until_type("conversation.deleted")
        assert stream.is_ended.wait(5)
    waiting.eventually(lambda: model.disconnects > before, seconds=10)
    assert refused(phone.client.get(f"/conversations/{conversation}/messages")) == (404, "conversation_not_found")
    assert not any("never" in str(request["messages"][-1]) for request in model.requests)


def test_a_cancelled_message_of_the_queue_is_never_said(phone: Phone, model: ScriptedModelServer) -> None:
    conversation = phone.conversation()
    with phone.follow(conversation) as stream:
        first = phone.send(conversation, "Count to eighty")
        second = phone.send(conversation, "This is never said")
        third = phone.send(conversation, "This is")
        phone.post(f"/conversations/{conversation}/runs/{second['run']['id']}/cancel")
        stream.until_end(third["run"]["id"])
    assert [one["status"] for one in phone.messages(conversation) if one["role"] == "assistant"] == [
        "completed",
        "cancelled",
        "completed",
    ]
    assert phone.text(conversation, first["assistant_message"]["id"]) == "".join(WORDS)
    assert not any("never said" in str(request["messages"][-1]) for request in model.requests)
    again = phone.client.post(f"/conversations/{conversation}/runs/{second['run']['id']}/cancel", json={})
    assert refused(again) == (409, "run_not_active")


def test_a_cancel_holds_although_the_gateway_dies_with_it(
    phone: Phone, known_gateway: Gateway, model: ScriptedModelServer
) -> None:
    conversation = phone.conversation()
    with phone.follow(conversation) as stream:
        sent = phone.send(conversation, "Talk without end")
        stream.until_type("message.delta")
        known_gateway.kill()
        answer = phone.client.post(f"/conversations/{conversation}/runs/{sent['run']['id']}/cancel", json={})
        assert answer.status_code in {200, 503}, answer.text
        known_gateway.start()
        if answer.status_code == 503:
            phone.post(f"/conversations/{conversation}/runs/{sent['run']['id']}/cancel")
        assert stream.until_end(sent["run"]["id"], seconds=60).type == "run.cancelled"
    assert phone.ask(conversation, "Still there?") == "You said: Still there?"


@pytest.mark.timeout(240)
def test_a_gateway_that_is_restarted_in_order_goes_on_with_its_runs(phone: Phone, known_gateway: Gateway) -> None:
    conversation = phone.conversation()
    with phone.follow(conversation) as stream:
        sent = phone.send(conversation, "Count to eighty")
        stream.until_type("message.delta")
        known_gateway.stop(signal.SIGTERM)
        known_gateway.start()
        stream.until_end(sent["run"]["id"], seconds=60)
    assert [one.id for one in stream.events] == list(range(1, len(stream.events) + 1))
    assert phone.text(conversation, sent["assistant_message"]["id"]) == "".join(WORDS)


def test_a_frozen_gateway_is_told_as_offline_and_its_run_goes_on_when_it_thaws(
    phone: Phone, known_gateway: Gateway
) -> None:
    assert known_gateway.process is not None
    conversation = phone.conversation()
    with phone.follow(conversation) as stream:
        sent = phone.send(conversation, "Count to eighty")
        stream.until_type("message.delta")
        known_gateway.process.send_signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            assert phone.get("/status")["api_server"]["state"] == "offline"
            assert time.monotonic() - began < 10
            phone.get("/conversations")
        finally:
            known_gateway.process.send_signal(signal.SIGCONT)
        stream.until_end(sent["run"]["id"], seconds=60)
    answer = sent["assistant_message"]["id"]
    assert phone.text(conversation, answer) == deltas(stream.events, answer) == "".join(WORDS)


def test_a_title_is_the_same_in_the_session_of_the_gateway(phone: Phone, known_gateway: Gateway) -> None:
    conversation = phone.conversation()
    phone.ask(conversation, "What is the capital of Portugal?")
    made = waiting.eventually(lambda: phone.get("/conversations")["conversations"][0]["title"], seconds=10)
    phone.patch(f"/conversations/{conversation}/title", {"title": "Lisbon"})

    def titles() -> set[str]:
        listed = known_gateway.client.get("/api/sessions").json()
        return {str(one.get("title")) for one in listed.get("data", listed.get("sessions", []))}

    assert waiting.eventually(lambda: "Lisbon" in titles(), seconds=10)
    phone.ask(conversation, "And of Spain?")
    assert phone.get("/conversations")["conversations"][0]["title"] == "Lisbon" != made
    said = [text_of(one) for one in phone.messages(conversation)]
    assert len(said) == 4
