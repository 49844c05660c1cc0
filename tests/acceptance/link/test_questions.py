"""The agent wants to know something of the person, who has a phone: a real gateway, also over a restart of Link."""

from __future__ import annotations

import pytest

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.link.phone import Phone, refused
from tests.acceptance.link.process import LinkProcess

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

QUESTION = Call("clarify", {"question": "Which colour?", "choices": ["red", "blue"]}, id="call_1")


def test_any_device_tells_the_agent_what_it_wants_to_know(
    link: LinkProcess, phone: Phone, model: ScriptedModelServer
) -> None:
    model.add(Step(after_tool=False, tool_calls=(QUESTION,)), Step(after_tool=True, text="I heard: {{tool}}"))
    talk, tablet = phone.conversation(), link.phone("Tablet", scope="chat")
    with phone.follow(talk) as stream:
        sent = phone.send(talk, "Paint it")
        asked = stream.until_type("question.asked").payload
    assert (asked["question"], asked["choices"]) == ("Which colour?", ["red", "blue"])
    link.kill()
    link.start()

    path = f"/conversations/{talk}/runs/{sent['run']['id']}/answer"
    with phone.follow(talk, phone.last_seq(talk)) as stream:
        told = tablet.post(path, {"question_id": asked["question_id"], "answer": "green"})
        assert (told["run_id"], told["answer"]) == (sent["run"]["id"], "green")
        answered = stream.until_type("question.answered").payload
        assert answered == {"question_id": asked["question_id"], "answer": "green", "outcome": "user"}
        stream.until_end(sent["run"]["id"])
    assert "green" in phone.text(talk, sent["assistant_message"]["id"])
    again = phone.client.post(path, json={"question_id": asked["question_id"], "answer": "red"})
    assert refused(again) == (409, "question_answered")
