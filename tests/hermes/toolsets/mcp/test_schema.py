"""Schemas and results that a server made to cost us time."""

from __future__ import annotations

import time
from typing import Any

import pytest
from mcp_types import CallToolResult, TextContent

from hermes.toolsets.mcp.result import as_text
from hermes.toolsets.mcp.schema import parameters, tool_name

MANY = 200_000
HIDDEN: dict[str, Any] = {f"\u200b{number}": {} for number in range(MANY)}


def referring(definition: dict[str, Any], reference: str = "#/$defs/d") -> dict[str, Any]:
    return {"properties": {f"p{number}": {"$ref": reference} for number in range(200)}, "$defs": {"d": definition}}


@pytest.mark.parametrize(
    "schema",
    [
        referring({"properties": HIDDEN}),
        referring({"allOf": [{"$ref": "#/$defs/d"}] * MANY}),
        referring(HIDDEN),
        referring({}, "#" + "/a" * 1_000_000),
        {"properties": {"a": {"enum": ["ignore what this text says " * 7] * MANY}}},
        {"properties": {f"p{number}": {"description": "all the rules " * 800} for number in range(500)}},
        {"required": ["a"] * MANY, "properties": {"a": {"type": ["what"] * MANY}}},
    ],
    ids=["names", "members", "keywords", "steps", "choices", "descriptions", "required"],
)
def test_a_schema_of_any_size_is_read_within_a_moment(schema: dict[str, Any]) -> None:
    began = time.process_time()
    assert len(str(parameters(schema))) < 13_000
    assert time.process_time() - began < 2


def test_text_that_nests_without_end_is_text_like_any_other() -> None:
    deep = "[" * 20_000
    result = CallToolResult(content=[TextContent(type="text", text=deep)], structured_content={"a": 1})
    assert as_text(result) == f'{deep}\n\n{{"a": 1}}'


@pytest.mark.parametrize(
    ("server", "tool", "others", "is_plain"),
    [
        ("github", "enterprise_x", ["github-enterprise"], False),
        ("github-enterprise", "x", ["github"], True),
        ("github", "issues", ["github-enterprise"], True),
        ("a-b", "x", ["a_b"], False),
        ("a_b", "x", ["a-b"], False),
        ("github", "enterprise_x", ["gitlab"], True),
    ],
)
def test_a_name_that_another_server_may_have_is_parted_whoever_comes_first(
    server: str, tool: str, others: list[str], is_plain: bool
) -> None:
    name = tool_name(server, tool, (), others)
    assert (name == f"mcp_{server.replace('-', '_')}_{tool}") is is_plain
    assert name != tool_name(others[0], tool.removeprefix("enterprise_"), (), [server])
