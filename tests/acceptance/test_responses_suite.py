"""What the public acceptance suite of Open Responses checks, against a real gateway: 17 checks over HTTP and WebSocket.

github.com/openresponses/openresponses; the names of the tests are those of its checks. Every answer and every event is
held against the published schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from hermes.models.scripted import Call, ScriptedModelServer, Step
from tests.acceptance.conftest import Gateway, StartGateway
from tests.support.openresponses import check, check_event, check_response, check_stream, needs_schema
from tests.support.responses import read_stream

pytestmark = [needs_schema, pytest.mark.slow]

MODEL = "hermes-agent"
HEART = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAE"
    "hQGAhKmMIQAAAABJRU5ErkJggg=="
)
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather for a location",
    "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
}
TERMINAL = ("response.completed", "response.failed", "response.incomplete")


def message(role: str, content: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content, **fields}


def post(gateway: Gateway, **body: Any) -> dict[str, Any]:
    answer = gateway.client.post("/v1/responses", json={"model": MODEL, **body})
    assert answer.status_code == 200, answer.text
    response: dict[str, Any] = answer.json()
    check_response(response)
    return response


def completed(response: dict[str, Any]) -> bool:
    return response["status"] == "completed" and bool(response["output"])


@contextmanager
def socket(gateway: Gateway) -> Iterator[Connection]:
    url = gateway.base_url.replace("http://", "ws://") + "/responses"
    with connect(url, additional_headers={"Authorization": f"Bearer {gateway.key}"}) as connection:
        yield connection


def turn(connection: Connection, **body: Any) -> tuple[dict[str, Any] | None, str | None]:
    """The final response of one response.create, or the code of its error. All on the way is checked."""
    connection.send(json.dumps({"type": "response.create", "model": MODEL, **body}))
    events = []
    while True:
        event = json.loads(connection.recv(timeout=30))
        if event["type"] == "error":
            check("WebSocketErrorEvent", event)
            return None, event["error"]["code"]
        events.append(event)
        check_event(event)
        if event["type"] in TERMINAL:
            check_stream(events)
            return event["response"], (event["response"]["error"] or {}).get("code")


def test_basic_response(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add("Hello to you")
    assert completed(post(gateway, input=[message("user", "Say hello in exactly 3 words.")]))


def test_assistant_phase(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add("Four.")
    said = [
        message("assistant", "I should answer with the saved number.", phase="commentary"),
        message("assistant", "The number is four.", phase="final_answer"),
        message("user", "Repeat only the number."),
    ]
    response = post(gateway, input=said)
    assert completed(response)
    items = gateway.client.get(f"/v1/responses/{response['id']}/input_items?order=asc").json()["data"]
    assert [item.get("phase") for item in items] == ["commentary", "final_answer", None]


def test_response_output_phase_schema(gateway: Gateway, model: ScriptedModelServer) -> None:
    """The suite checks a fixture of its own here: that the schema takes a phase on the output of our responses."""
    model.add("Four.")
    response = post(gateway, input="Repeat only the number.")
    response["output"][0]["phase"] = "final_answer"
    check_response(response)


def test_streaming_response(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step(text=["1, ", "2, ", "3, 4, 5"]))
    body = {"model": MODEL, "stream": True, "input": [message("user", "Count from 1 to 5.")]}
    answer = gateway.client.post("/v1/responses", json=body)
    events = read_stream(answer.text)
    assert completed(events[-1]["response"])


def test_websocket_response(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add("1, 2, 3")
    with socket(gateway) as connection:
        response, _ = turn(connection, input=[message("user", "Count from 1 to 3.")])
    assert response is not None
    assert completed(response)
    assert gateway.client.get(f"/v1/responses/{response['id']}").json() == response


def test_websocket_sequential_responses(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add("first", "second")
    with socket(gateway) as connection:
        turns = [turn(connection, store=False, input=f"Reply with exactly: {word}") for word in ("first", "second")]
    assert [response and response["output"][0]["content"][0]["text"] for response, _ in turns] == ["first", "second"]


def test_websocket_continuation(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add("OK", "cobalt", "still cobalt")
    with socket(gateway) as connection:
        first, _ = turn(connection, store=False, input="Remember the code word: cobalt.")
        assert first is not None
        second, _ = turn(connection, store=False, previous_response_id=first["id"], input="What is the code word?")
        assert second is not None
        assert completed(second)
        turn(connection, store=False, previous_response_id=second["id"], input="Again?")
    asked = [one["content"] for one in model.requests[-1]["messages"] if one["role"] != "system"]
    assert asked == ["Remember the code word: cobalt.", "OK", "What is the code word?", "cobalt", "Again?"]


def test_websocket_reconnect_store_false_recovery(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add("OK", "recovered")
    with socket(gateway) as connection:
        first, _ = turn(connection, store=False, input="Remember the code word: copper.")
    assert first is not None
    with socket(gateway) as connection:
        lost = turn(connection, store=False, previous_response_id=first["id"], input="Go on.")
        assert lost == (None, "previous_response_not_found")
        response, _ = turn(connection, store=False, input=[message("user", "Start anew.")])
    assert response is not None
    assert completed(response)


def test_websocket_previous_response_not_found(gateway: Gateway) -> None:
    with socket(gateway) as connection:
        told = turn(connection, store=False, previous_response_id="resp_openresponses_missing_1", input="This fails.")
    assert told == (None, "previous_response_not_found")


def test_websocket_failed_continuation_evicts_cache(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add("OK")
    with socket(gateway) as connection:
        first, _ = turn(connection, store=False, input="Remember the code word: ember.")
        assert first is not None
        output = {"type": "function_call_output", "call_id": "call_openresponses_missing", "output": "nothing"}
        failed, code = turn(connection, store=False, previous_response_id=first["id"], input=[output])
        assert (failed, code) == (None, "invalid_request")
        stale = turn(connection, store=False, previous_response_id=first["id"], input="Go on.")
    assert stale == (None, "previous_response_not_found")


def test_websocket_compact_new_chain(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add("The code word is slate.", "compacted")
    said = [
        message("user", [{"type": "input_text", "text": "Remember the compaction code word: slate."}]),
        message("assistant", [{"type": "output_text", "text": "OK."}]),
        message("user", [{"type": "input_text", "text": "Compress this conversation for later continuation."}]),
    ]
    compacted = compact(gateway, input=said)
    with socket(gateway) as connection:
        items = [*compacted["output"], message("user", "Continue from here.")]
        response, _ = turn(connection, store=False, input=items, tools=[])
    assert response is not None
    assert completed(response)
    asked = [one["content"] for one in model.requests[-1]["messages"] if one["role"] != "system"]
    assert len(asked) == 2
    assert "The code word is slate." in asked[0]


def test_system_prompt(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add("Ahoy")
    pirate = message("system", "You are a pirate. Always respond in pirate speak.")
    assert completed(post(gateway, input=[pirate, message("user", "Say hello.")]))
    assert "You are a pirate." in model.requests[-1]["messages"][0]["content"]


def test_tool_calling(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step(tool_calls=(Call("get_weather", {"location": "San Francisco"}),)))
    response = post(gateway, input=[message("user", "What's the weather like?")], tools=[WEATHER])
    assert [item["type"] for item in response["output"]] == ["function_call"]


def test_tool_calling_streaming(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step(tool_calls=(Call("get_weather", {"location": "San Francisco"}),)))
    body = {"model": MODEL, "stream": True, "input": "What's the weather like?", "tools": [WEATHER]}
    events = read_stream(gateway.client.post("/v1/responses", json=body).text)
    assert [event["type"] for event in events[2:6]] == [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
    ]
    assert json.loads(events[5]["item"]["arguments"]) == {"location": "San Francisco"}


def test_image_input(start_gateway: StartGateway, model: ScriptedModelServer) -> None:
    model.add("A red heart.")
    gateway = start_gateway({"model": {"default": "gpt-4o", "provider": "custom", "base_url": model.base_url}})
    parts = [
        {"type": "input_text", "text": "What do you see in this image?"},
        {"type": "input_image", "image_url": HEART},
    ]
    assert completed(post(gateway, input=[message("user", parts)]))
    assert model.requests[-1]["messages"][-1]["content"][1]["image_url"]["url"] == HEART


def test_multi_turn(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add("Alice")
    said = [
        message("user", "My name is Alice."),
        message("assistant", "Hello Alice! Nice to meet you."),
        message("user", "What is my name?"),
    ]
    assert completed(post(gateway, input=said))
    assert [one["role"] for one in model.requests[-1]["messages"]] == ["system", "user", "assistant", "user"]


def compact(gateway: Gateway, **body: Any) -> dict[str, Any]:
    answer = gateway.client.post("/v1/responses/compact", json={"model": MODEL, **body})
    assert answer.status_code == 200, answer.text
    compacted: dict[str, Any] = answer.json()
    check("CompactResource", compacted)
    assert compacted["object"] == "response.compaction"
    assert "compaction" in {item["type"] for item in compacted["output"]}
    return compacted


def test_compact_response(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add("Launch on Tuesday; tell support first.")
    said = [
        message("user", "We agreed to launch on Tuesday and notify support first."),
        message("assistant", "Understood. The launch is Tuesday, with support notified beforehand."),
    ]
    compact(gateway, input=said, prompt_cache_key="openresponses-compact-test")


def test_compact_missing_model(gateway: Gateway) -> None:
    body = {"input": [message("user", "Compact this conversation.")]}
    answer = gateway.client.post("/v1/responses/compact", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")
