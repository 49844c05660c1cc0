"""The clients of the responses API against a real gateway: `openai` for Python, and what the frameworks make of our
own events.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import pytest
from agents import Agent, ModelSettings, OpenAIResponsesModel, RunConfig, Runner, set_tracing_disabled
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai.models.openai import OpenAIResponsesModel as PydanticModel
from pydantic_ai.providers.openai import OpenAIProvider

from hermes.models.scripted import Call, ScriptedModelServer, Step
from tests.acceptance.conftest import Gateway

pytestmark = pytest.mark.slow

MODEL = "hermes-agent"
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
DEADLINE_SECONDS = 20.0


class City(BaseModel):
    name: str


@pytest.fixture
def client(gateway: Gateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0, timeout=30) as made:
        yield made


def test_a_response_has_text_and_usage_and_can_be_read_again(client: OpenAI, model: ScriptedModelServer) -> None:
    model.add("Hello there")
    response = client.responses.create(model=MODEL, input="Hi", instructions="Be brief.", metadata={"a": "b"})
    assert (response.output_text, response.status, response.metadata) == ("Hello there", "completed", {"a": "b"})
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens > 0
    assert client.responses.retrieve(response.id) == response
    items = client.responses.input_items.list(response.id)
    assert [item.type for item in items] == ["message"]
    client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError) as gone:
        client.responses.retrieve(response.id)
    assert gone.value.code == "response_not_found"


def test_a_chain_goes_on_by_id_and_by_the_name_of_a_conversation(client: OpenAI, model: ScriptedModelServer) -> None:
    model.add("Nice to meet you, Ann.", "You are Ann.", "Yes", "Still Ann.")
    first = client.responses.create(model=MODEL, input="I am Ann.")
    second = client.responses.create(model=MODEL, input="Who am I?", previous_response_id=first.id)
    assert (second.output_text, second.previous_response_id) == ("You are Ann.", first.id)
    client.responses.create(model=MODEL, input="Remember me", conversation="meeting")
    last = client.responses.create(model=MODEL, input="Do you?", conversation="meeting")
    assert last.output_text == "Still Ann."
    assert [m["content"] for m in model.requests[-1]["messages"][1:]] == ["Remember me", "Yes", "Do you?"]


def test_the_streaming_helper_gathers_text_reasoning_and_the_servers_tools(
    client: OpenAI, gateway: Gateway, model: ScriptedModelServer
) -> None:
    model.add(
        Step(reasoning="I should look.", text="Let me look.", tool_calls=(Call("terminal", {"command": "echo hi"}),)),
        Step(text=["Do", "ne."]),
    )
    for items in ("function_call", "mcp_call"):
        if items == "mcp_call":
            model.add(Step(tool_calls=(Call("terminal", {"command": "echo hi"}),)), Step(text=["Do", "ne."]))
        with client.responses.stream(model=MODEL, input="Hi", extra_headers={"X-Hermes-Tool-Items": items}) as stream:
            events = list(stream)
            final = stream.get_final_response()
        assert final.output_text.endswith("Done.")
        kinds = [item.type for item in final.output]
        assert items in kinds
        assert [event.sequence_number for event in events] == list(range(len(events)))
        again = client.responses.retrieve(final.id)
        assert [item.to_dict()["id"] for item in again.output] == [item.to_dict()["id"] for item in final.output]
        assert again.output_text == final.output_text


def test_a_stream_is_taken_up_where_it_broke_off(client: OpenAI, model: ScriptedModelServer) -> None:
    model.add(Step(text=[f"{number} " for number in range(20)], delay_ms=5))
    seen = []
    with client.responses.create(model=MODEL, input="Count", background=True, stream=True) as stream:
        for event in stream:
            seen.append(event)
            if event.type == "response.output_text.delta":
                break
    response_id = seen[0].response.id  # type: ignore[union-attr]
    rest = client.responses.retrieve(response_id, stream=True, starting_after=seen[-1].sequence_number)
    seen += list(rest)
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    deltas = [event.delta for event in seen if event.type == "response.output_text.delta"]
    assert "".join(deltas) == client.responses.retrieve(response_id).output_text


def test_a_response_in_the_background_is_polled_and_can_be_cancelled(
    client: OpenAI, model: ScriptedModelServer
) -> None:
    model.add(Step(text=["Slow"], first_delay_ms=300), Step(text=["Never"], first_delay_ms=60_000))
    response = client.responses.create(model=MODEL, input="Hi", background=True)
    assert response.status in ("queued", "in_progress")
    deadline = time.monotonic() + DEADLINE_SECONDS
    while response.status in ("queued", "in_progress") and time.monotonic() < deadline:
        response = client.responses.retrieve(response.id)
    assert response.output_text == "Slow"
    running = client.responses.create(model=MODEL, input="Hi", background=True)
    assert client.responses.cancel(running.id).status == "cancelled"
    assert client.responses.retrieve(running.id).status == "cancelled"


def test_a_clients_tool_is_called_and_its_output_goes_on(client: OpenAI, model: ScriptedModelServer) -> None:
    model.add(Step(tool_calls=(Call("get_weather", {"city": "Paris"}),)), "It is {{tool}}.")
    first = client.responses.create(model=MODEL, input="The weather in Paris?", tools=[WEATHER])  # type: ignore[list-item]
    (call,) = [item for item in first.output if item.type == "function_call"]
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    second = client.responses.create(model=MODEL, input=[output], previous_response_id=first.id)
    assert second.output_text == "It is sunny."


def test_a_typed_answer_is_parsed(client: OpenAI, model: ScriptedModelServer) -> None:
    model.add('{"name": "Paris"}')
    response = client.responses.parse(model=MODEL, input="The capital of France?", text_format=City)
    assert response.output_parsed == City(name="Paris")
    assert model.requests[0]["response_format"]["json_schema"]["schema"]["properties"]["name"]["type"] == "string"


def test_errors_are_the_classes_of_the_package(client: OpenAI, model: ScriptedModelServer) -> None:
    model.add(Step(status=401, times=0))
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model=MODEL, input=[])
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model=MODEL, input="x", previous_response_id="resp_none")
    with pytest.raises(openai.InternalServerError) as failed:
        client.responses.create(model=MODEL, input="x")
    assert failed.value.code == "upstream_auth"
    with client.responses.create(model=MODEL, input="x", stream=True) as stream:
        last = list(stream)[-1]
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert str(last.response.error.code) == "upstream_auth"


def test_the_stream_of_the_python_client_asks_and_goes_on(
    client: OpenAI, gateway: Gateway, model: ScriptedModelServer
) -> None:
    folder = dangerous(gateway, model)
    with client.responses.stream(model=MODEL, input="Clean up") as stream:
        for event in stream:
            asked = (event.model_extra or {}).get("hermes", {})
            if asked.get("event") == "approval.request":
                client.post(f"/runs/{asked['run_id']}/approval", body={"choice": "once"}, cast_to=httpx.Response)
        assert stream.get_final_response().output_text == "Deleted."
    assert not folder.exists()


def test_the_stream_of_openai_agents_goes_on_through_an_approval(gateway: Gateway, model: ScriptedModelServer) -> None:
    folder = dangerous(gateway, model)
    set_tracing_disabled(True)

    async def ask() -> str:
        async with AsyncOpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0, timeout=30) as client:
            chosen = OpenAIResponsesModel(model=MODEL, openai_client=client)
            agent = Agent(name="a", model=chosen)
            agent.model_settings = ModelSettings(extra_headers={"X-Hermes-Tool-Items": "mcp_call"})
            result = Runner.run_streamed(agent, "Clean up", run_config=RunConfig(tracing_disabled=True))
            async for _ in result.stream_events():
                pass
            return str(result.final_output)

    with answering(gateway):
        assert asyncio.run(ask()) == "Deleted."
    assert not folder.exists()


def test_the_stream_of_pydantic_ai_goes_on_through_an_approval(gateway: Gateway, model: ScriptedModelServer) -> None:
    folder = dangerous(gateway, model)

    async def ask() -> str:
        headers = {"X-Hermes-Tool-Items": "mcp_call"}
        async with AsyncOpenAI(
            base_url=gateway.base_url, api_key=gateway.key, max_retries=0, timeout=30, default_headers=headers
        ) as client:
            agent = PydanticAgent(PydanticModel(MODEL, provider=OpenAIProvider(openai_client=client)))
            async with agent.run_stream("Clean up") as result:
                return str(await result.get_output())

    with answering(gateway):
        assert asyncio.run(ask()) == "Deleted."
    assert not folder.exists()


def dangerous(gateway: Gateway, model: ScriptedModelServer) -> Any:
    folder = gateway.workdir / "old"
    folder.mkdir()
    model.add(Step(tool_calls=(Call("terminal", {"command": "rm -rf old"}),)), "Deleted.")
    return folder


@contextmanager
def answering(gateway: Gateway) -> Iterator[None]:
    """Somebody who allows the first thing that is asked."""

    def allow() -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        with httpx.Client(base_url=gateway.url, headers={"Authorization": f"Bearer {gateway.key}"}) as client:
            while time.monotonic() < deadline:
                for run in client.get("/v1/runs", params={"status": "waiting_for_approval"}).json()["data"]:
                    client.post(f"/v1/runs/{run['run_id']}/approval", json={"choice": "once"})
                    return

    person = threading.Thread(target=allow)
    person.start()
    yield
    person.join()
