"""Checks against the public schema of Open Responses, which lies beside the repository, and OpenAI's own types.

What the schema has no word for (mcp_call items, reasoning_text events) is checked by the client's types alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

ROOT = Path(__file__).parents[2]
SCHEMA_FILE = Path(os.environ.get("OPENRESPONSES_SCHEMA") or ROOT.parent / "shared" / "data" / "openresponses.json")

NOT_THERE = f"the schema of Open Responses is not at {SCHEMA_FILE} (OPENRESPONSES_SCHEMA names another place)"
needs_schema = pytest.mark.skipif(not SCHEMA_FILE.exists(), reason=NOT_THERE)

SPOKEN_ELSEWHERE = {
    "response.reasoning_text.delta": "response.reasoning.delta",
    "response.reasoning_text.done": "response.reasoning.done",
}
"""Events that OpenAI's clients know by another name than the schema."""

_events: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def check_response(response: Mapping[str, Any]) -> None:
    check("ResponseResource", _in_its_words(response))
    if response["error"] is None:  # the client's type lists OpenAI's own error codes
        Response.model_validate(response)


def check_event(event: Mapping[str, Any]) -> None:
    """An event of a stream, not an error on a WebSocket."""
    kind = SPOKEN_ELSEWHERE.get(event["type"], event["type"])
    name = _event_names().get(kind)
    if name is not None and event.get("item", {}).get("type") != "mcp_call":
        plain = {**event, "type": kind}
        if "response" in event:
            plain["response"] = _in_its_words(event["response"])
        check(name, plain)
    elif SCHEMA_FILE.exists() and name is None:
        assert kind.startswith("response.mcp_call"), f"{kind} is in no document"
    if "response" in event:
        check_response(event["response"])
    if event["type"] != "error" and event.get("response", {}).get("error") is None:
        _events.validate_python(event)


def check_stream(events: Iterable[Mapping[str, Any]], first: int = 0) -> None:
    """Each event, and that their numbers have no gap."""
    listed = list(events)
    for event in listed:
        check_event(event)
    assert [event["sequence_number"] for event in listed] == list(range(first, first + len(listed)))


def check_input_items(items: Iterable[Mapping[str, Any]]) -> None:
    for item in items:
        if item["type"] != "mcp_call":
            check("ItemField", item)


def check(name: str, value: object) -> None:
    """Against one of the schema's components; nothing is checked where the schema is not there."""
    if not SCHEMA_FILE.exists():
        return
    problems = [
        f"{'/'.join(map(str, error.instance_path))}: {error.message}" for error in _validator(name).iter_errors(value)
    ]
    assert not problems, f"{name}: {problems}"


def _in_its_words(response: Mapping[str, Any]) -> dict[str, Any]:
    """The schema wants null where a response repeats the JSON schema it was asked for, which the public API does."""
    told = {**response, "output": [item for item in response["output"] if item["type"] != "mcp_call"]}
    if told["text"]["format"].get("type") == "json_schema":
        told["text"] = {**told["text"], "format": {**told["text"]["format"], "schema": None}}
    return told


@cache
def _schema() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(SCHEMA_FILE.read_text())
    return loaded


@cache
def _validator(name: str) -> Any:
    whole = {"$ref": f"#/components/schemas/{name}", "components": _schema()["components"]}
    return jsonschema_rs.Draft202012Validator(whole)


@cache
def _event_names() -> dict[str, str]:
    if not SCHEMA_FILE.exists():
        return {}
    schemas = _schema()["components"]["schemas"]
    return {
        schema["properties"]["type"]["enum"][0]: name
        for name, schema in schemas.items()
        if name.endswith("StreamingEvent")
    }
