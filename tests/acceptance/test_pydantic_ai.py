"""pydantic-ai against a real gateway: both of its OpenAI models, its own tools, typed answers, streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.output import NativeOutput
from pydantic_ai.providers.openai import OpenAIProvider

from hermes.models.scripted import Call, ScriptedModelServer, Step
from tests.acceptance.conftest import Gateway

pytestmark = pytest.mark.slow

MODELS = {"chat": OpenAIChatModel, "responses": OpenAIResponsesModel}


class City(BaseModel):
    name: str


@pytest.fixture(params=list(MODELS))
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@asynccontextmanager
async def model_of(gateway: Gateway, kind: str) -> AsyncIterator[Model]:
    async with AsyncOpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0, timeout=30) as client:
        yield MODELS[kind]("hermes-agent", provider=OpenAIProvider(openai_client=client))


def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


def test_its_agent_runs_its_own_tool_and_gets_the_answer(
    gateway: Gateway, model: ScriptedModelServer, kind: str
) -> None:
    model.add(Step(tool_calls=(Call("get_weather", {"city": "Paris"}),)), "It is {{tool}}.")

    async def ask() -> tuple[str, int, int]:
        async with model_of(gateway, kind) as chosen:
            agent = Agent(chosen, instructions="Be brief.", tools=[get_weather])
            result = await agent.run("The weather in Paris?")
            return result.output, result.usage.requests, result.usage.output_tokens

    output, requests, tokens = asyncio.run(ask())
    assert (output, requests) == ("It is sunny in Paris.", 2)
    assert tokens > 0
    assert "Be brief." in str(model.requests[0]["messages"][0])


def test_its_stream_has_the_text_in_pieces_and_both_tools_work_side_by_side(
    gateway: Gateway, model: ScriptedModelServer, kind: str
) -> None:
    """The server runs `terminal`, the client `get_weather`; the package must take only its own for its own."""
    model.add(
        Step(tool_calls=(Call("terminal", {"command": "echo from the server > made"}),)),
        Step(tool_calls=(Call("get_weather", {"city": "Rome"}),)),
        Step(text="It is {{tool}}.", delay_ms=30),  # what comes at once is one piece
    )

    async def ask() -> list[str]:
        async with (
            model_of(gateway, kind) as chosen,
            Agent(chosen, tools=[get_weather]).run_stream("The weather in Rome?") as stream,
        ):
            return [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]

    pieces = asyncio.run(ask())
    assert "".join(pieces) == "It is sunny in Rome."
    assert len(pieces) > 1
    assert (gateway.workdir / "made").read_text() == "from the server\n"


def test_a_typed_answer_asks_the_model_for_its_schema(gateway: Gateway, model: ScriptedModelServer, kind: str) -> None:
    model.add('{"name": "Paris"}')

    async def ask() -> City:
        async with model_of(gateway, kind) as chosen:
            return (await Agent(chosen, output_type=NativeOutput(City)).run("The capital of France?")).output

    assert asyncio.run(ask()) == City(name="Paris")
    assert model.requests[0]["response_format"]["type"] == "json_schema"
    assert model.requests[0]["response_format"]["json_schema"]["schema"]["properties"]["name"]["type"] == "string"


def test_a_conversation_goes_on_by_the_messages_it_keeps(
    gateway: Gateway, model: ScriptedModelServer, kind: str
) -> None:
    model.add("Nice to meet you, Ann.", "You are Ann.")

    async def ask() -> str:
        async with model_of(gateway, kind) as chosen:
            agent = Agent(chosen)
            first = await agent.run("I am Ann.")
            return (await agent.run("Who am I?", message_history=first.all_messages())).output

    assert asyncio.run(ask()) == "You are Ann."
    sent = [(message["role"], message["content"]) for message in model.requests[1]["messages"][-3:]]
    assert sent == [("user", "I am Ann."), ("assistant", "Nice to meet you, Ann."), ("user", "Who am I?")]


def test_a_failed_model_raises_its_error_and_is_never_text(
    gateway: Gateway, model: ScriptedModelServer, kind: str
) -> None:
    model.add(Step(status=401, times=0))

    async def ask() -> None:
        async with model_of(gateway, kind) as chosen:
            await Agent(chosen).run("Hi")

    with pytest.raises(ModelHTTPError) as caught:
        asyncio.run(ask())
    assert caught.value.status_code == 502
    assert "upstream_auth" in str(caught.value.body)
