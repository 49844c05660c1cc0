"""The built-in model itself: 1.2 GB of wheels, some minutes. `make test-embedded` runs this, `make test` does not.

The floors are below what was measured (docs/embedded-model.md): they tell a broken prompt from a bad day.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from hermes.core.message import Message
from hermes.core.model import ModelRequest, TextDelta, ToolSpec
from hermes.models.embedded import EMBEDDED, EmbeddedModel, missing
from hermes.models.embedded.parts import assemble, cache_folder
from tests.embedded import tasks
from tests.embedded.score import scored
from tests.embedded.workbench import TOOLS, answer

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.timeout(3600),
    pytest.mark.asyncio(loop_scope="module"),
]

WEATHER = ToolSpec(
    "get_weather",
    "The weather of a city.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
)

STRANGE_PARAMETERS: tuple[dict[str, Any], ...] = (
    {},
    {"type": "object"},
    {"type": "object", "properties": {}, "additionalProperties": False},
    {"type": "object", "properties": {"when": {"type": "string", "format": "date-time", "pattern": "(?=a)b"}}},
    {"type": "object", "properties": {"n": {"type": "integer", "minimum": 9, "maximum": 3}}, "required": ["n"]},
    {"type": "object", "properties": {"x": {"oneOf": [{"type": "string"}, {"const": 1}]}}, "required": ["x"]},
    {"type": "object", "properties": {"x": {"not": {"type": "null"}}}, "required": ["x", "unnamed"]},
    {"type": "object", "properties": {"x": {"type": "array", "uniqueItems": True, "items": {"enum": ["a", "b"]}}}},
    {"type": "object", "properties": {"x": {"type": "strng"}, "y": True, "z": {}}, "required": ["x", "y", "z"]},
    {
        "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
        "properties": {"tree": {"$ref": "#/$defs/node"}, "free": {"type": "object"}},
        "required": ["tree"],
        "if": {},
        "then": {},
        "dependentRequired": {"tree": ["free"]},
    },
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncIterator[EmbeddedModel]:
    if (error := missing(EMBEDDED)) is not None:
        pytest.fail(error.message)
    model = EmbeddedModel(EMBEDDED)
    try:
        await model.warm(TOOLS)
        yield model
    finally:
        await model.close()


async def test_single_requests(model: EmbeddedModel) -> None:
    met, _ = await scored(model, tasks.SINGLE, max_steps=1)
    assert met >= len(tasks.SINGLE) - 5


async def test_tasks_of_several_steps(model: EmbeddedModel) -> None:
    met, _ = await scored(model, tasks.SEVERAL, max_steps=8)
    assert met >= len(tasks.SEVERAL) - 8


async def test_it_calls_a_tool_that_it_has_never_seen(model: EmbeddedModel) -> None:
    question = Message("user", "What is the weather in Ulm?")
    _, done = await answer(model, ModelRequest((question,), (*TOOLS, WEATHER), tool_choice="get_weather"))
    (call,) = done.tool_calls
    assert call.name == "get_weather"
    assert json.loads(call.arguments)["city"].startswith("Ulm")


@pytest.mark.parametrize("parameters", STRANGE_PARAMETERS, ids=lambda each: json.dumps(each)[:40])
async def test_every_schema_of_a_client_makes_a_grammar(model: EmbeddedModel, parameters: dict[str, Any]) -> None:
    """llguidance ignores what it cannot compile: then text comes that is no call, and that is an UpstreamRejected."""
    strange = ToolSpec("strange", "Does something.", parameters)
    question = Message("user", "Do it: a, today.")
    request = ModelRequest((question,), (strange,), tool_choice="required", params={"max_tokens": 60})
    _, done = await answer(model, request)
    assert done.finish_reason in ("tool_calls", "length")
    assert [call.name for call in done.tool_calls] in (["strange"], [])


async def test_an_answer_can_be_held_to_a_schema(model: EmbeddedModel) -> None:
    schema = {
        "type": "object",
        "properties": {"country": {"type": "string"}, "capital": {"type": "string"}},
        "required": ["country", "capital"],
    }
    params = {"response_format": {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}}
    text, _ = await answer(model, ModelRequest((Message("user", "The capital of Italy?"),), params=params))
    assert json.loads(text)["capital"] == "Rome"


async def test_leaving_a_stream_frees_the_model(model: EmbeddedModel) -> None:
    request = ModelRequest((Message("user", "Write a long story about a lighthouse."),))

    async def read(started: asyncio.Event) -> None:
        async for item in model.stream(request):
            if isinstance(item, TextDelta):
                started.set()

    started = asyncio.Event()
    task = asyncio.create_task(read(started))
    await asyncio.wait_for(started.wait(), 300)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert model._server is not None
    before = time.monotonic()
    await model._server.ask("/slots/0?action=save", {"filename": "probe.saving"})  # waits until the slot is idle
    assert time.monotonic() - before < 20  # the story would go on for a minute
    (cache_folder() / "slots" / "probe.saving").unlink()


async def test_a_slot_file_that_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    """llama.cpp aborts on one. Without tools, so that the prefix is short."""
    whole = await asyncio.to_thread(assemble, EMBEDDED)
    for name in (whole.name, f"{whole.name}.checked"):
        (tmp_path / name).symlink_to(whole.with_name(name))
    for _ in range(2):
        model = EmbeddedModel(EMBEDDED, tmp_path)
        try:
            text, _ = await answer(model, ModelRequest((Message("user", "What is 2 + 2?"),)))
            assert "4" in text
        finally:
            await model.close()
        (kept,) = (tmp_path / "slots").glob("*.slot")
        with kept.open("rb+") as file:
            file.truncate(kept.stat().st_size // 2)
