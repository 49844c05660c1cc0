from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from hermes.core.errors import (
    NoModel,
    StreamCut,
    UpstreamAuth,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnreachable,
)
from hermes.core.message import Message
from hermes.core.model import ModelDone, ModelItem, ModelRequest, ModelRetried, ReasoningDelta, TextDelta
from hermes.core.run import Usage
from hermes.models.retry import ResilientModel, RetryPolicy
from tests.support.models import ONE_CALL, ScriptedModel, says

ASK = ModelRequest((Message("user", "hi"),))


@dataclass
class Waiting:
    """A clock whose waits are over at once, and are kept."""

    waits: list[float] = field(default_factory=list)

    def now(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


def failing(message: str = "down", wait: float | None = None) -> UpstreamError:
    return UpstreamError(message, status=503, retry_after_seconds=wait)


def limited(wait: float | None) -> UpstreamRateLimited:
    return UpstreamRateLimited("slow down", status=429, retry_after_seconds=wait)


async def run(
    *models: ScriptedModel, chance: float = 1.0, policy: RetryPolicy | None = None
) -> tuple[list[ModelItem], list[float], UpstreamError | NoModel | None]:
    """The items, the waits, and what was raised in the end."""
    clock = Waiting()
    model = ResilientModel(models, clock=clock, chance=lambda: chance, policy=policy)
    items: list[ModelItem] = []
    try:
        async for item in model.stream(ASK):
            items.append(item)
    except (UpstreamError, NoModel) as exc:
        return items, clock.waits, exc
    return items, clock.waits, None


async def test_an_answer_passes_through_untouched() -> None:
    model = ScriptedModel([says("a", "b")])
    assert await run(model) == ([*says("a", "b")], [], None)
    assert model.requests == [ASK]


@pytest.mark.parametrize(
    "error",
    [failing("down"), UpstreamUnreachable("down"), limited(None), StreamCut("down"), UpstreamError("down")],
)
async def test_a_failure_before_the_first_word_is_tried_again(error: UpstreamError) -> None:
    items, waits, raised = await run(ScriptedModel([[error], says("a")]))
    assert items == [ModelRetried(error.message, 2, 0.5, "scripted"), *says("a")]
    assert (waits, raised) == ([0.5], None)


async def test_the_waits_double_are_random_and_end() -> None:
    model = ScriptedModel([[failing()]] * 9)
    items, waits, raised = await run(model, policy=RetryPolicy(tries=9))
    assert waits == [0.5, 1, 2, 4, 8, 8, 8, 8]
    assert items == [ModelRetried("down", number + 2, wait, "scripted") for number, wait in enumerate(waits)]
    assert raised is not None
    assert raised.message == "down"
    assert (await run(ScriptedModel([[failing()]] * 3), chance=0.25))[1] == [0.125, 0.25]


async def test_three_tries_are_made_and_the_last_error_is_raised() -> None:
    model = ScriptedModel([[failing("one")], [failing("two")], [failing("three")]])
    items, _, raised = await run(model)
    assert items == [ModelRetried("one", 2, 0.5, "scripted"), ModelRetried("two", 3, 1.0, "scripted")]
    assert raised is not None
    assert (raised.message, len(model.requests)) == ("three", 3)


async def test_what_the_server_asks_for_is_waited() -> None:
    items, waits, raised = await run(ScriptedModel([[limited(7)], [limited(0.1)], says("a")]))
    assert items == [
        ModelRetried("slow down", 2, 7, "scripted"),
        ModelRetried("slow down", 3, 1.0, "scripted"),
        *says("a"),
    ]
    assert (waits, raised) == ([7, 1.0], None)


async def test_a_wait_that_is_too_long_is_not_made() -> None:
    items, waits, raised = await run(ScriptedModel([[limited(31)]]))
    assert (items, waits) == ([], [])
    assert isinstance(raised, UpstreamRateLimited)
    assert raised.retry_after_seconds == 31


async def test_a_wait_that_is_too_long_goes_to_the_next_model() -> None:
    other = ScriptedModel([[TextDelta("b"), ModelDone("stop", usage=ONE_CALL)]], name="other")
    items, waits, raised = await run(ScriptedModel([[limited(31)]]), other)
    assert items == [
        ModelRetried("slow down", 2, 0.0, "other"),
        TextDelta("b"),
        ModelDone("stop", usage=ONE_CALL, model="other"),
    ]
    assert (waits, raised) == ([], None)


async def test_the_next_model_gets_its_own_tries() -> None:
    first = ScriptedModel([[failing("a1")], [failing("a2")], [failing("a3")]], name="a")
    second = ScriptedModel([[failing("b1")], [TextDelta("b"), ModelDone("stop", usage=ONE_CALL)]], name="b")
    items, waits, raised = await run(first, second)
    assert items == [
        ModelRetried("a1", 2, 0.5, "a"),
        ModelRetried("a2", 3, 1.0, "a"),
        ModelRetried("a3", 4, 0.0, "b"),
        ModelRetried("b1", 5, 0.5, "b"),
        TextDelta("b"),
        ModelDone("stop", usage=ONE_CALL, model="b"),
    ]
    assert (waits, raised) == ([0.5, 1.0, 0.5], None)


async def test_when_all_fail_the_first_models_error_names_the_others() -> None:
    first = ScriptedModel([[limited(60)]], name="a")
    second = ScriptedModel([[UpstreamAuth("bad key", status=401)]], name="b")
    third = ScriptedModel([[NoModel("not installed")]], name="c")
    items, _, raised = await run(first, second, third)
    assert items == [ModelRetried("slow down", 2, 0.0, "b"), ModelRetried("bad key", 3, 0.0, "c")]
    assert isinstance(raised, UpstreamRateLimited)
    assert raised.message == str(raised) == "slow down; then b: bad key; then c: not installed"
    assert raised.retry_after_seconds == 60


@pytest.mark.parametrize(
    ("error", "is_asked"),
    [
        (UpstreamAuth("bad key", status=401), True),
        (UpstreamRejected("no such model", status=404), True),
        (UpstreamRejected("no credit", status=402), True),
        (UpstreamRateLimited("no credit", status=429, is_retryable=False), True),
        (NoModel("not installed"), True),
        (UpstreamRejected("temperature is too high", status=400, param="temperature"), False),
        (UpstreamRejected("wrong", status=422), False),
        (UpstreamRejected("too long", status=400, code="context_length_exceeded"), False),
        (UpstreamError("too long", status=500, code="context_length_exceeded", is_retryable=False), False),
    ],
)
async def test_another_model_is_asked_only_where_it_may_answer(error: UpstreamError, is_asked: bool) -> None:
    other = ScriptedModel([says("b")], name="other")
    items, waits, raised = await run(ScriptedModel([[error]]), other)
    assert waits == []
    if is_asked:
        assert (items, raised) == ([ModelRetried(error.message, 2, 0.0, "other"), *says("b")], None)
    else:
        assert (items, raised, other.requests) == ([], error, [])


async def test_nothing_is_asked_again_once_text_was_shown() -> None:
    cut = StreamCut("broke off")
    other = ScriptedModel([says("b")])
    items, waits, raised = await run(ScriptedModel([[TextDelta("a"), cut]]), other)
    assert (items, waits, raised, other.requests) == ([TextDelta("a")], [], cut, [])


async def test_a_break_after_nothing_but_reasoning_is_tried_again() -> None:
    items, _, raised = await run(ScriptedModel([[ReasoningDelta("hm"), StreamCut("broke off")], says("a")]))
    assert items == [ReasoningDelta("hm"), ModelRetried("broke off", 2, 0.5, "scripted"), *says("a")]
    assert raised is None


async def test_an_answer_is_priced_for_the_model_that_gave_it() -> None:
    def cost(provider: str, model: str, usage: Usage) -> float | None:
        return {"a": None, "b": 0.5}[model] if (provider, usage) == ("test", ONE_CALL) else 9.0

    first = ScriptedModel([[limited(60)], says("a"), says("a", usage=replace(ONE_CALL, cost_usd=0.1))], "a")
    model = ResilientModel([first, ScriptedModel([says("b")], "b")], clock=Waiting(), cost=cost)
    last = [[item async for item in model.stream(ASK)][-1] for _ in range(3)]
    assert [item.usage.cost_usd for item in last if isinstance(item, ModelDone)] == [0.5, None, 0.1]


async def test_a_retry_that_the_model_made_itself_passes_through() -> None:
    own = ModelRetried("restarted", 2, 0.0, "scripted")
    assert (await run(ScriptedModel([[own, *says("a")]])))[0] == [own, *says("a")]


async def test_it_looks_like_its_first_model_and_closes_all() -> None:
    closed: list[str] = []

    class Closing(ScriptedModel):
        async def close(self) -> None:
            closed.append(self.name)

    model = ResilientModel([Closing([], "a", "p", 9, False, False), Closing([], "b")])
    assert (model.name, model.provider, model.context_length) == ("a", "p", 9)
    assert (model.takes_images, model.takes_audio) == (False, False)
    await model.close()
    assert closed == ["a", "b"]
