from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from hermes.core.errors import NoModel, ToolFailed, UpstreamAuth
from hermes.core.event import RunEvent
from hermes.core.message import ImagePart, Message, TextPart
from hermes.core.model import Model, ReasoningDelta
from hermes.core.ports import ToolResult
from hermes.core.run import Usage
from hermes.toolsets.fetch import Fetcher
from hermes.toolsets.paths import Reach
from hermes.toolsets.vision import INSTRUCTIONS, Vision, vision_toolset
from tests.support.media_services import PNG
from tests.support.models import ONE_CALL, ScriptedModel, says

from .conftest import Bench

WAY_OUT = "Name one that does: hermes config set vision.model NAME"


def with_vision(
    bench: Bench, model: ScriptedModel | Callable[[Model | None], Awaitable[Model]], **options: Any
) -> Bench:
    async def given(own: Model | None) -> Model:
        return model  # type: ignore[return-value]

    asks = given if isinstance(model, ScriptedModel) else model
    vision = Vision(model=asks, way_out=WAY_OUT, fetcher=Fetcher(), **options)
    bench.registry.add(vision_toolset(vision, Reach(bench.home)))
    (bench.workdir / "a.png").write_bytes(PNG)
    return bench


async def failure(bench: Bench) -> str:
    with pytest.raises(ToolFailed) as failed:
        await bench.call("vision_analyze", image_url="a.png", question="What?")
    return failed.value.message


async def test_the_picture_is_shown_to_the_model_with_the_question_and_nothing_else(bench: Bench) -> None:
    model = ScriptedModel([[ReasoningDelta("hm"), *says("A red ", "dot.")]])
    result = await with_vision(bench, model).call("vision_analyze", image_url="a.png", question="What?")

    assert result == ToolResult("A red dot.", preview="A red dot.")
    url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    [request] = model.requests
    assert request.messages == (Message("system", INSTRUCTIONS), Message("user", (TextPart("What?"), ImagePart(url))))
    assert (request.tools, request.session_id) == ((), None)


async def test_a_model_that_takes_no_pictures_is_not_asked(bench: Bench) -> None:
    model = ScriptedModel([], takes_images=False)
    assert await failure(with_vision(bench, model)) == f"scripted takes no pictures. {WAY_OUT}"


async def test_what_fails_with_the_model_is_said(bench: Bench) -> None:
    async def none(own: Model | None) -> Model:
        raise NoModel("no language model is connected")

    assert await failure(with_vision(bench, none)) == (
        "The picture could not be looked at: no language model is connected"
    )
    model = ScriptedModel([[UpstreamAuth("openai does not accept OPENAI_API_KEY (401)")], says("")])
    assert await failure(with_vision(bench, model)) == (
        "The picture could not be looked at: openai does not accept OPENAI_API_KEY (401)"
    )
    assert await failure(bench) == ("scripted said nothing about the picture. Ask another way, or try another picture.")


async def test_a_model_that_does_not_answer_is_left(bench: Bench) -> None:
    model = ScriptedModel([[asyncio.Event()]])
    assert await failure(with_vision(bench, model, timeout_seconds=0.05)) == (
        "The model did not answer within 0.05 s (setting vision.timeout)."
    )


async def test_a_long_answer_is_cut_and_says_so(bench: Bench) -> None:
    result = await with_vision(bench, ScriptedModel([says("x" * 30_000)])).call("vision_analyze", image_url="a.png")
    assert len(result.content) < 20_100 and "[… 10,000 characters left out …]" in result.content


@dataclass
class Purse:
    """A `core.ports.Account`."""

    model: Model
    is_empty: bool = False
    used: list[Usage] = field(default_factory=list)

    def may_spend(self) -> bool:
        return not self.is_empty

    async def spent(self, usage: Usage) -> None:
        self.used.append(usage)

    async def happened(self, *what: RunEvent) -> None:
        raise AssertionError(what)


async def test_what_it_used_goes_on_the_runs_account_also_when_it_failed(bench: Bench) -> None:
    own = ScriptedModel([says("red"), [UpstreamAuth("no")]])
    purse = Purse(own)

    async def runs_own(model: Model | None) -> Model:
        assert model is own
        return model

    tool = with_vision(bench, runs_own).tool("vision_analyze")
    context = replace(bench.context(), account=purse)
    arguments = tool.parse('{"image_url": "a.png"}')
    assert (await tool.run(arguments, context)).content == "red"
    with pytest.raises(ToolFailed, match="could not be looked at"):
        await tool.run(arguments, context)
    assert purse.used == [ONE_CALL, Usage(api_calls=1)]
    purse.is_empty = True
    with pytest.raises(ToolFailed, match="reached a limit"):
        await tool.run(arguments, context)
    assert len(own.requests) == 2
