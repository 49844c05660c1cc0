"""langchain-openai against a real gateway: chat and responses, tools of the client's, streams."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from hermes.models.scripted import Call, ScriptedModelServer, Step
from tests.acceptance.conftest import Gateway

pytestmark = pytest.mark.slow


class City(BaseModel):
    """A city."""

    name: str


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


@pytest.fixture(params=["chat", "responses"])
def client(request: pytest.FixtureRequest, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> ChatOpenAI:
    monkeypatch.setenv("LANGSMITH_TRACING", "false")  # nothing is sent to its maker
    monkeypatch.setenv("LANGCHAIN_TRACING_V2", "false")
    return ChatOpenAI(
        model="hermes-agent",
        base_url=gateway.base_url,
        api_key=SecretStr(gateway.key),
        max_retries=0,
        timeout=30,
        use_responses_api=request.param == "responses",
        output_version="v1",
    )


def test_an_answer_has_text_and_usage(client: ChatOpenAI, model: ScriptedModelServer) -> None:
    model.add("Hello there")
    answer = client.invoke("Hi")
    assert answer.text == "Hello there"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["total_tokens"] > 0


def test_a_tool_of_the_clients_is_called_and_answered(client: ChatOpenAI, model: ScriptedModelServer) -> None:
    model.add(Step(tool_calls=(Call("get_weather", {"city": "Paris"}),)), "It is {{tool}}.")
    asking = client.bind_tools([get_weather])
    question = HumanMessage("The weather in Paris?")
    first = asking.invoke([question])
    assert isinstance(first, AIMessage)
    assert [(call["name"], call["args"]) for call in first.tool_calls] == [("get_weather", {"city": "Paris"})]
    result = get_weather.invoke(first.tool_calls[0])
    assert isinstance(result, ToolMessage)
    assert asking.invoke([question, first, result]).text == "It is sunny in Paris."


def test_a_stream_adds_up_and_both_tools_work_side_by_side(
    client: ChatOpenAI, gateway: Gateway, model: ScriptedModelServer
) -> None:
    """The server runs `terminal`, the client `get_weather`; the package must take only its own for its own."""
    model.add(
        Step(tool_calls=(Call("terminal", {"command": "echo from the server > made"}),)),
        Step(text="I look.", tool_calls=(Call("get_weather", {"city": "Rome"}),)),
        Step(text="It is {{tool}}.", delay_ms=30),  # what comes at once is one piece
    )
    asking = client.bind_tools([get_weather])
    messages: list[Any] = [HumanMessage("The weather in Rome?")]
    first = added([chunk for chunk in asking.stream(messages) if isinstance(chunk, AIMessageChunk)])
    assert [(call["name"], call["args"]) for call in first.tool_calls] == [("get_weather", {"city": "Rome"})]
    assert (gateway.workdir / "made").read_text() == "from the server\n"
    messages += [first, get_weather.invoke(first.tool_calls[0])]
    chunks = [chunk for chunk in asking.stream(messages) if isinstance(chunk, AIMessageChunk)]
    assert added(chunks).text == "It is sunny in Rome."
    assert sum(bool(chunk.text) for chunk in chunks) > 1


def test_a_typed_answer_is_parsed(client: ChatOpenAI, model: ScriptedModelServer) -> None:
    model.add('{"name": "Paris"}')
    asking = client.with_structured_output(City, method="json_schema")
    assert asking.invoke("The capital of France?") == City(name="Paris")
    assert model.requests[0]["response_format"]["type"] == "json_schema"


def added(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return whole
