"""The `openai-agents` package against a real gateway: both of its models, its own function tools, streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from agents import (
    Agent,
    Model,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    RunResult,
    RunResultStreaming,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from openai.types.responses import ResponseTextDeltaEvent

from hermes.models.scripted import Call, ScriptedModelServer, Step
from tests.acceptance.conftest import Gateway

pytestmark = pytest.mark.slow

QUIET = RunConfig(tracing_disabled=True)
MODELS = {"chat": OpenAIChatCompletionsModel, "responses": OpenAIResponsesModel}


@pytest.fixture(autouse=True)
def no_tracing() -> Iterator[None]:
    """The package sends its traces to its maker unless it is told not to."""
    set_tracing_disabled(True)
    yield
    set_tracing_disabled(False)


@pytest.fixture(params=list(MODELS))
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@asynccontextmanager
async def model_of(gateway: Gateway, kind: str) -> AsyncIterator[Model]:
    async with AsyncOpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0, timeout=30) as client:
        yield MODELS[kind](model="hermes-agent", openai_client=client)


@function_tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


def agent_of(model: Model) -> Agent[None]:
    return Agent(name="walker", instructions="Be brief.", model=model, tools=[get_weather])


def test_its_agent_runs_its_own_tool_and_gets_the_answer(
    gateway: Gateway, model: ScriptedModelServer, kind: str
) -> None:
    model.add(Step(tool_calls=(Call("get_weather", {"city": "Paris"}),)), "It is {{tool}}.")

    async def ask() -> RunResult:
        async with model_of(gateway, kind) as chosen:
            return await Runner.run(agent_of(chosen), "The weather in Paris?", run_config=QUIET)

    result = asyncio.run(ask())
    assert result.final_output == "It is sunny in Paris."
    assert [type(item).__name__ for item in result.new_items] == [
        "ToolCallItem",
        "ToolCallOutputItem",
        "MessageOutputItem",
    ]
    usage = result.context_wrapper.usage
    assert usage.requests == 2
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens > 0
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

    async def ask() -> tuple[RunResultStreaming, list[str]]:
        async with model_of(gateway, kind) as chosen:
            result = Runner.run_streamed(agent_of(chosen), "The weather in Rome?", run_config=QUIET)
            pieces = [
                event.data.delta
                async for event in result.stream_events()
                if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent)
            ]
            return result, pieces

    result, pieces = asyncio.run(ask())
    assert result.final_output == "It is sunny in Rome."
    assert "".join(pieces) == result.final_output
    assert len(pieces) > 1
    assert (gateway.workdir / "made").read_text() == "from the server\n"


def test_a_conversation_goes_on_by_the_list_it_keeps(gateway: Gateway, model: ScriptedModelServer, kind: str) -> None:
    model.add("Nice to meet you, Ann.", "You are Ann.")

    async def ask() -> str:
        async with model_of(gateway, kind) as chosen:
            first = await Runner.run(agent_of(chosen), "I am Ann.", run_config=QUIET)
            history = [*first.to_input_list(), {"role": "user", "content": "Who am I?"}]
            second = await Runner.run(agent_of(chosen), history, run_config=QUIET)  # type: ignore[arg-type]
            return str(second.final_output)

    assert asyncio.run(ask()) == "You are Ann."
    sent = [(message["role"], message["content"]) for message in model.requests[1]["messages"][1:]]
    assert sent == [("user", "I am Ann."), ("assistant", "Nice to meet you, Ann."), ("user", "Who am I?")]


def test_a_conversation_goes_on_by_the_id_of_the_last_response(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add("Nice to meet you, Ann.", "You are Ann.")

    async def ask() -> str:
        async with model_of(gateway, "responses") as chosen:
            first = await Runner.run(agent_of(chosen), "I am Ann.", run_config=QUIET)
            second = await Runner.run(
                agent_of(chosen), "Who am I?", previous_response_id=first.last_response_id, run_config=QUIET
            )
            return str(second.final_output)

    assert asyncio.run(ask()) == "You are Ann."
    sent = [(message["role"], message["content"]) for message in model.requests[1]["messages"][1:]]
    assert sent == [("user", "I am Ann."), ("assistant", "Nice to meet you, Ann."), ("user", "Who am I?")]
