"""A model that a phone adds is the one that answers, with its key and its effort; the gateway goes on running."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway
from tests.acceptance.link.phone import Phone
from tests.acceptance.link.process import LinkProcess

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

MODELS = "/model-configs"
KEY = "sk-of-the-second-one"


def asked(model: ScriptedModelServer) -> tuple[Any, Any, Any]:
    body, headers = model.requests[-1], model.received[-1].headers
    return body["model"], headers.get("authorization"), body.get("reasoning_effort")


def test_a_model_from_the_phone_answers_next(phone: Phone, model: ScriptedModelServer, known_gateway: Gateway) -> None:
    model.add(Step(text="The first.", times=0))
    conversation = phone.conversation()
    with ScriptedModelServer([Step(text="The second.", times=0)]) as second:
        assert phone.ask(conversation, "who are you?") == "The first."
        body = {
            "id": "second",
            "provider": "custom",
            "base_url": second.base_url,
            "api_key": KEY,
            "reasoning_effort": "high",
            "context_length": 54_321,
            "set_default": True,
        }
        saved = phone.post(MODELS, body)
        assert (saved["defaultModel"], saved["requiresGatewayReload"]) == ("second", False)

        assert phone.ask(conversation, "and now?") == "The second."
        assert asked(second) == ("second", f"Bearer {KEY}", "high")
        stats = phone.get("/conversations")["conversations"][0]["stats"]
        assert (stats["model"], stats["context_window"]) == ("second", 54_321)

        phone.post(MODELS, {"id": "second", "provider": "custom", "reasoning_effort": "low"})
        phone.ask(conversation, "a little less")
        assert asked(second)[2] == "low"

        # the one that was is a name of its own now, for a conversation or for all
        other = phone.conversation(model="scripted")
        assert phone.ask(other, "who are you?") == "The first."
        phone.patch(f"{MODELS}/defaults", {"task_model_id": "scripted"})
        assert phone.ask(conversation, "and now?") == "The first."
        phone.client.request("DELETE", MODELS, json={"model_id": "second"}).raise_for_status()
        assert KEY not in (known_gateway.home / ".env").read_text()
        count = len(second.received)
        assert phone.ask(conversation, "still there?") == "The first."
        assert len(second.received) == count


def test_two_phones_that_add_at_once_lose_nothing(link: LinkProcess) -> None:
    phones = [link.phone(f"Phone {number}") for number in range(3)]

    def add(number: int) -> None:
        body = {
            "id": f"m{number}",
            "provider": "custom",
            "base_url": f"http://127.0.0.1:9/{number}",
            "api_key": f"k{number}",
        }
        phones[number % 3].post(MODELS, body)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(add, range(12)))
    found = {model["id"]: model for model in phones[0].get(MODELS)["models"]}
    assert set(found) == {"scripted", *(f"m{number}" for number in range(12))}
    assert {model["credentialState"] for name, model in found.items() if name != "scripted"} == {"configured"}
