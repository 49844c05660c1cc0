"""/openapi.json: made from the table, whole, and as true as the code it is made from."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from hermes.agent.messages import from_openai
from hermes.api.chat import parameters as chat_parameters
from hermes.api.chat.documentation import ChatRequest
from hermes.api.documented import Answer, Query, Shape, documented
from hermes.api.errors import RULES
from hermes.api.pages.openapi import build, documentation_of, operation_id
from hermes.api.pages.openapi_parts import ANSWERS_WITH_THE_RUN, MAY_DETACH, READS_ON, STARTS_A_RUN, TAKES_A_SESSION
from hermes.api.routes import ADMIN, READ, ROUTES, ApiRoute
from hermes.api.services import Services
from hermes.core.errors import InvalidInput
from tests.support.api import Server


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    return build("1.2.3", ROUTES)


class Body(Shape):
    name: str = Field(description="what it is called")
    count: int | None = None


class Filter(Query):
    limit: int | None = Field(default=None, ge=1, description="how many")


class Told(Answer):
    id: str


@documented(body=Body, query=Filter, answer=Told, status=201, errors=("session_exists",), is_body_optional=True)
async def create(request: Request, services: Services) -> Response:
    """Make a `thing`.

    More about it.
    """
    return Response()


@documented(media_type="text/event-stream")
async def follow(request: Request, services: Services) -> Response:
    """Follow it."""
    return Response()


def test_a_route_is_what_its_documentation_says() -> None:
    told = build("1", [ApiRoute("POST", "/things/{thing_id}", create, ADMIN, "thing_create")])
    operation = told["paths"]["/things/{thing_id}"]["post"]
    assert (operation["operationId"], operation["summary"]) == ("thing_create", "Make a thing")
    assert operation["description"] == "More about it.\n\nA key with the scope `admin`."
    assert operation["security"] == [{"bearer": []}, {"x-api-key": []}]
    assert operation["x-hermes-scope"] == "admin"
    assert [(one["name"], one["in"], one["schema"]["type"]) for one in operation["parameters"]] == [
        ("thing_id", "path", "string"),
        ("limit", "query", "integer"),
    ]
    assert "required" not in operation["requestBody"]
    assert operation["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Body"}
    good = operation["responses"]["201"]
    assert good["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Told"}
    conflict = operation["responses"]["409"]
    assert conflict["x-hermes-codes"] == ["session_exists"]
    assert conflict["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorEnvelope"}
    assert set(operation["responses"]) == {
        *("201", "400", "401", "403", "408", "409", "413", "415", "421", "429", "500", "503")
    }
    assert told["components"]["schemas"]["Told"]["additionalProperties"] is False
    assert told["components"]["securitySchemes"]["bearer"] == {"type": "http", "scheme": "bearer"}


def test_a_stream_is_described_by_its_events() -> None:
    told = build("1", [ApiRoute("GET", "/things", follow, READ, "things", is_stream=True)])
    good = told["paths"]["/things"]["get"]["responses"]["200"]
    assert list(good["content"]) == ["text/event-stream"]
    assert good["content"]["text/event-stream"]["itemSchema"]["type"] == "object"


def test_a_code_that_no_table_knows_cannot_be_documented() -> None:
    @documented(errors=("no_such_code",))
    async def handler(request: Request, services: Services) -> Response:
        """Nothing."""
        return Response()

    with pytest.raises(KeyError, match="no_such_code"):
        build("1", [ApiRoute("GET", "/things", handler, READ, "things")])


def test_every_route_is_in_the_document_under_its_own_id(whole: dict[str, Any]) -> None:
    listed = {
        (method.upper(), path): operation["operationId"]
        for path, methods in whole["paths"].items()
        for method, operation in methods.items()
    }
    assert listed == {(r.method, r.path): operation_id(r) for r in ROUTES if r.method != "WEBSOCKET"}
    assert len(set(listed.values())) == len(listed)


def test_a_websocket_is_told_in_words(whole: dict[str, Any]) -> None:
    for route in ROUTES:
        if route.method == "WEBSOCKET":
            assert f"WebSocket: `{route.path}`." in whole["info"]["description"]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_has_a_summary_and_is_documented(route: ApiRoute) -> None:
    summary = (route.resolve().__doc__ or "").strip().partition("\n")[0]
    assert summary
    assert len(summary) < 140
    assert route.method == "WEBSOCKET" or documentation_of(route) is not None


def test_the_kinds_of_routes_are_names_of_the_table() -> None:
    kinds = STARTS_A_RUN | ANSWERS_WITH_THE_RUN | TAKES_A_SESSION | MAY_DETACH | READS_ON
    assert kinds <= {route.name for route in ROUTES}


def test_every_reference_leads_somewhere_and_nothing_of_fastapi_is_left(whole: dict[str, Any]) -> None:
    found: set[str] = set()

    def look(value: object) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                found.add(value["$ref"])
            for inner in value.values():
                look(inner)
        elif isinstance(value, list):
            for inner in value:
                look(inner)

    look(whole)
    for reference in found:
        _, _, kind, name = reference.split("/", 3)
        assert name in whole["components"][kind]
    assert "HTTPValidationError" not in json.dumps(whole)


def test_every_documented_code_is_in_the_table_of_errors(whole: dict[str, Any]) -> None:
    for methods in whole["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                for code in answer.get("x-hermes-codes", ()):
                    assert RULES[code].status == int(status)


async def test_it_is_served_to_an_admin_and_made_once(server: Server) -> None:
    first = await server.client.get("/openapi.json")
    assert (first.status_code, first.headers["content-type"]) == (200, "application/json")
    assert first.json()["info"]["version"] == "1.2.3"
    assert (await server.client.get("/openapi.json")).content == first.content


def test_a_start_imports_no_fastapi_and_makes_no_model_of_the_document() -> None:
    code = (
        "import sys, hermes.api.app; "
        "print([m for m in sys.modules if m.startswith('fastapi') or m.endswith('_documentation')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


# --- the hot route parses by hand: its model must say the same ---

text = st.sampled_from(["", "hello", " "])
parts = st.sampled_from(
    [
        {"type": "text", "text": "hello"},
        {"type": "text"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "ftp://a.example/b"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "ogg"}},
        {"type": "file", "file": {"file_data": "AAAA", "filename": "a.txt"}},
        {"type": "refusal", "refusal": "no"},
        {"type": "video"},
        "text",
    ]
)
calls = st.sampled_from(
    [
        None,
        [],
        [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        [{"id": "c", "type": "custom", "function": {"name": "f"}}],
        [{"id": "", "function": {"name": "f"}}],
        [{"id": "c", "function": {"name": "f", "arguments": {}}}],
        "none",
    ]
)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool", "function", 1])},
        optional={
            "content": st.one_of(st.none(), text, st.lists(parts, max_size=2), st.just(1)),
            "tool_calls": calls,
            "tool_call_id": st.sampled_from([None, "", "c", 1]),
            "name": st.sampled_from([None, "ann", 1]),
            "refusal": st.sampled_from([None, "no", 1]),
            "reasoning_content": st.sampled_from([None, "hm", 1]),
        },
    ),
    max_size=3,
)


@given(messages)
def test_the_model_of_messages_takes_what_the_route_takes(sent: list[dict[str, Any]]) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(ChatRequest.model_fields["messages"].rebuild_annotation())
    try:
        from_openai(sent)
        was_taken = True
    except InvalidInput:
        was_taken = False
    try:
        adapter.validate_python(sent, strict=True)
        is_in_model = True
    except ValidationError:
        is_in_model = False
    assert is_in_model == was_taken or not _model_knows(sent)


def _model_knows(sent: list[dict[str, Any]]) -> bool:
    """Fields that a role has not are looked at by neither, or by one: they change nothing."""
    extra = {
        "tool_calls": "assistant",
        "refusal": "assistant",
        "reasoning_content": "assistant",
        "tool_call_id": "tool",
    }
    return not any(name in message and message["role"] != role for message in sent for name, role in extra.items())


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("temperature", [0, 2, 1.5, 2.1, -0.1, "1", True]),
        ("top_p", [0, 1, 1.1, None]),
        ("max_tokens", [1, 0, 2**31 - 1, 2**31, 1.5, "1"]),
        ("max_completion_tokens", [1, 0]),
        ("stop", ["a", ["a"], ["a"] * 17, [1], 1]),
        ("seed", [0, -(2**63), 2**63 - 1, 2**63, "0"]),
        ("presence_penalty", [-2, 2, 3]),
        ("frequency_penalty", [-2, 2, -3]),
        ("reasoning_effort", ["low", "", "x" * 257, 1]),
        ("reasoning", [{"effort": "low"}, {}, {"effort": 1}, "low"]),
        ("response_format", [{"type": "text"}, {"type": "json_schema"}, {"type": "xml"}, {}, "text"]),
        ("response_format", [{"type": "json_schema", "json_schema": {"name": "a", "strict": 1}}]),
        ("response_format", [{"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}]),
        ("parallel_tool_calls", [True, "true", 1]),
        ("metadata", [{"a": "b"}, {"a": 1}, []]),
        ("user", ["ann", "", 1]),
    ],
)
def test_the_model_of_parameters_takes_what_the_route_takes(field: str, values: list[Any]) -> None:
    for value in values:
        try:
            chat_parameters.model_params({field: value})
            was_taken = True
        except InvalidInput:
            was_taken = False
        try:
            ChatRequest.model_validate({"messages": [], field: value})
            is_in_model = True
        except ValidationError:
            is_in_model = False
        assert is_in_model == was_taken, (field, value)


def test_every_parameter_that_is_acted_on_is_documented() -> None:
    without_effect = {"prompt_cache_key", "safety_identifier", "functions", "function_call"}
    assert set(ChatRequest.model_fields) == chat_parameters.KNOWN - without_effect
