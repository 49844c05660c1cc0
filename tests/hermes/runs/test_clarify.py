"""The model asks the person something: events, rows, answers in every way, and what a restart makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hermes.core import event as events
from hermes.core.errors import Conflict, InvalidInput
from hermes.core.event import RunEvent
from hermes.core.run import Ask, Run, RunStatus
from hermes.runs.node import Identity
from hermes.runs.runner import Runner
from hermes.store.database import Database
from hermes.toolsets.clarify import NO_ANSWER, NOBODY, ClarifyTool
from tests.support.clock import FakeClock
from tests.support.database import copy_of, new_url
from tests.support.engine import ask, open_runner
from tests.support.models import ScriptedModel, calls, says

QUESTION = ("c1", "clarify", '{"question": "Which colour?", "choices": ["red", "blue"]}')


def asks(*more: Any) -> ScriptedModel:
    return ScriptedModel([calls(QUESTION), *(more or (says("ok"),))])


@asynccontextmanager
async def asking(model: ScriptedModel, **options: Any) -> AsyncIterator[Runner]:
    async with open_runner(model, **options) as runner:
        runner._agent.toolbox.tools["clarify"] = ClarifyTool(runner.clarifier)  # type: ignore[attr-defined]
        yield runner


async def told(runner: Runner, run: Run) -> list[RunEvent]:
    return [one.event async for one in runner.follow(run.id)]


async def until(runner: Runner, run: Run, kind: type) -> Any:
    async for one in runner.follow(run.id):
        if isinstance(one.event, kind):
            return one.event
    raise AssertionError(f"the run ended without {kind.__name__}")


def heard(model: ScriptedModel) -> str:
    """What the model was told by its tool."""
    return next(m.text for m in reversed(model.requests[-1].messages) if m.role == "tool")


def names(happened: list[RunEvent]) -> list[str]:
    return [one.name for one in happened if not isinstance(one, events.MessageDelta)]


async def test_a_question_waits_for_its_answer_and_both_are_events():
    model, clock = asks(), FakeClock()
    async with asking(model, clock=clock) as runner:
        run = await runner.start(ask())
        question = await until(runner, run, events.ClarifyRequested)
        assert question == events.ClarifyRequested(
            question.clarify_id, "c1", "Which colour?", ("red", "blue"), clock.now() + 60
        )
        assert (await runner.get(run.id, "owner")).status is RunStatus.RUNNING
        [pending] = await runner.pending_clarifications(run.id, "owner")
        assert (pending.id, pending.question, pending.choices) == (
            question.clarify_id,
            "Which colour?",
            ("red", "blue"),
        )
        assert await runner.clarify("owner", run.id, " green ", question.clarify_id, by="phone") == question.clarify_id
        happened = await told(runner, run)
        assert names(happened) == [
            "run.started",
            "tool.started",
            "clarify.request",
            "clarify.responded",
            "tool.completed",
            "run.completed",
        ]
        assert events.ClarifyResponded(question.clarify_id, "green", "phone", "user") in happened
        assert heard(model) == "The user answered: green"
        assert await runner.pending_clarifications(run.id, "owner") == []


async def test_what_is_said_to_the_run_meanwhile_is_the_answer():
    model = asks()
    async with asking(model) as runner:
        run = await runner.start(ask())
        await until(runner, run, events.ClarifyRequested)
        await runner.steer(run.id, "owner", "blue, please", by="phone")
        assert not await runner.has_pending_steer(run.id)
        happened = await told(runner, run)
        [responded] = [one for one in happened if isinstance(one, events.ClarifyResponded)]
        assert (responded.answer, responded.by, responded.outcome) == ("blue, please", "phone", "user")
        assert "run.steered" not in names(happened)
        assert heard(model) == "The user answered: blue, please"


async def test_without_an_answer_in_time_the_model_is_told_so():
    model, clock = asks(), FakeClock()
    async with asking(model, clock=clock) as runner:
        run = await runner.start(ask())
        question = await until(runner, run, events.ClarifyRequested)
        await clock.someone_sleeps(60)
        clock.advance(60)
        happened = await told(runner, run)
        assert events.ClarifyResponded(question.clarify_id, None, None, "timeout") in happened
        [completed] = [one for one in happened if isinstance(one, events.ToolCompleted)]
        assert completed.error == NO_ANSWER == heard(model)


@pytest.mark.parametrize("options", [{"ask": Ask.DENY}, {"ask": Ask.APPROVE}, {"may_clarify": False}])
async def test_where_nobody_can_be_asked_the_model_is_told_at_once(options: dict[str, Any]):
    model = asks()
    async with asking(model, clock=FakeClock()) as runner:
        happened = await told(runner, await runner.start(ask(**options)))
        assert names(happened) == ["run.started", "tool.started", "tool.completed", "run.completed"]
        assert heard(model) == NOBODY


async def test_a_library_without_approvals_may_still_answer_questions():
    async with asking(asks()) as runner:
        run = await runner.start(ask(ask=Ask.DENY, may_clarify=True))
        await until(runner, run, events.ClarifyRequested)
        await runner.clarify("owner", run.id, "red")
        assert names(await told(runner, run))[-1] == "run.completed"


async def test_a_question_is_no_approval():
    async with asking(asks()) as runner:
        run = await runner.start(ask())
        question = await until(runner, run, events.ClarifyRequested)
        assert await runner.pending_approvals(run.id, "owner") == []
        for chosen in (None, question.clarify_id):
            with pytest.raises(Conflict) as refused:
                await runner.answer(run.id, "owner", "deny", approval_id=chosen)
            assert refused.value.code == ("approval_not_active" if chosen is None else "approval_not_pending")
        await runner.clarify("owner", run.id, "red")
        await told(runner, run)


async def test_a_wrong_answer_is_refused_by_what_is_wrong_with_it():
    async with asking(asks()) as runner:
        run = await runner.start(ask())
        await until(runner, run, events.ClarifyRequested)
        with pytest.raises(InvalidInput, match="answer must say something"):
            await runner.clarify("owner", run.id, "  ")
        with pytest.raises(Conflict) as unknown:
            await runner.clarify("owner", run.id, "red", "clar_other")
        await runner.clarify("owner", run.id, "red")
        await told(runner, run)
        with pytest.raises(Conflict) as late:
            await runner.clarify("owner", run.id, "blue")
        assert (unknown.value.code, late.value.code) == ("clarify_not_pending", "clarify_not_active")


async def test_two_questions_of_one_step_are_answered_oldest_first():
    model = ScriptedModel(
        [calls(("a", "clarify", '{"question": "one"}'), ("b", "clarify", '{"question": "two"}')), says("ok")]
    )
    async with asking(model) as runner:
        run = await runner.start(ask())
        while len(waiting := await runner.pending_clarifications(run.id, "owner")) < 2:
            await asyncio.sleep(0)
        assert [await runner.clarify("owner", run.id, text) for text in ("1", "2")] == [one.id for one in waiting]
        await told(runner, run)
        answers = {m.tool_call_id: m.text for m in model.requests[-1].messages if m.role == "tool"}
        by_question = {one.question: text for one, text in zip(waiting, ("1", "2"), strict=True)}
        assert answers == {
            "a": f"The user answered: {by_question['one']}",
            "b": f"The user answered: {by_question['two']}",
        }


async def test_stopping_a_run_that_waits_for_an_answer_ends_it():
    async with asking(asks()) as runner:
        run = await runner.start(ask())
        await until(runner, run, events.ClarifyRequested)
        await runner.stop(run.id, "owner")
        assert names(await told(runner, run))[-1] == "run.cancelled"
        with pytest.raises(Conflict) as late:
            await runner.clarify("owner", run.id, "red")
        assert late.value.code == "clarify_not_active"


@pytest.mark.parametrize("is_answered_meanwhile", [False, True])
async def test_a_question_outlives_its_process_under_its_id(tmp_path: Path, is_answered_meanwhile: bool):
    database = await Database.open(new_url(tmp_path / "state.db"))
    async with asking(asks(), database=database, identity=Identity("gateway")) as runner:
        run = await runner.start(ask(is_durable=True))
        question = await until(runner, run, events.ClarifyRequested)
        if is_answered_meanwhile:
            await runner.drain(0.0)
            await runner.steer(run.id, "owner", "red")
        copied = copy_of(tmp_path / "state.db", tmp_path / "copy.db")
    await database.close()
    model = ScriptedModel([says("ok")])
    there = await Database.open(copied)
    async with asking(model, database=there, identity=Identity("gateway")) as runner:
        await runner.recover()
        if not is_answered_meanwhile:
            while names([one async for one in kept(runner, run)]).count("clarify.request") < 2:
                await asyncio.sleep(0)
            assert [one.id for one in await runner.pending_clarifications(run.id, "owner")] == [question.clarify_id]
            await runner.clarify("owner", run.id, "red", question.clarify_id)
        happened = await told(runner, run)
    await there.close()
    asked = [one.clarify_id for one in happened if isinstance(one, events.ClarifyRequested)]
    assert asked == [question.clarify_id] * (1 if is_answered_meanwhile else 2)
    assert [one.answer for one in happened if isinstance(one, events.ClarifyResponded)] == ["red"]
    assert heard(model) == "The user answered: red"


async def kept(runner: Runner, run: Run) -> AsyncIterator[RunEvent]:
    """What is there by now, of a run that goes on."""
    last = (await runner.get(run.id, "owner")).last_seq
    if last:
        async for one in runner.follow(run.id):
            yield one.event
            if one.seq >= last:
                return
