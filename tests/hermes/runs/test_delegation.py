"""Runs that a run delegates: whole lists of events of both, side by side, stopped, limited, and after a restart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hermes.core import event as events
from hermes.core.errors import Conflict, UpstreamError
from hermes.core.event import RunEvent
from hermes.core.model import ModelItem, ModelRequest
from hermes.core.run import Ask, Limits, Run, RunStatus
from hermes.core.untrusted import unmarked
from hermes.runs.delegation import DelegationSettings, child_id
from hermes.runs.node import Identity
from hermes.runs.runner import Runner, RunnerSettings
from hermes.store import runs as run_store
from hermes.store import sessions as session_store
from hermes.store.database import Database
from hermes.store.session_list import Listing, list_sessions
from hermes.toolsets.delegation import DelegateTaskTool
from tests.support.database import copy_of, new_url
from tests.support.engine import ask, open_runner
from tests.support.models import ONE_CALL, ScriptedModel, calls, says
from tests.support.tools import EchoTool


class Cast(ScriptedModel):
    """Answers by whom it is asked: `parts` are answers by the task, in order; the parent's is the empty text."""

    def __init__(self, **parts: list[Any]) -> None:
        super().__init__([])
        self.parts = {name.replace("_", " ").strip(): list(answers) for name, answers in parts.items()}
        self.asked_by: list[str] = []

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelItem]:
        said = next(message.text for message in request.messages if message.role == "user")
        who = next(name for name in self.parts if said.startswith(name))
        self.asked_by.append(who)
        self.requests.append(request)
        for item in self.parts[who].pop(0):
            if isinstance(item, BaseException):
                raise item
            if isinstance(item, asyncio.Event):
                await item.wait()
            elif callable(item):
                item()
            else:
                yield item


def delegates(*goals: str, call_id: str = "c1", **more: Any) -> list[ModelItem]:
    arguments = {"tasks": [{"goal": goal, **more} for goal in goals]} if len(goals) > 1 else {"goal": goals[0], **more}
    return calls((call_id, "delegate_task", json.dumps(arguments)))


@asynccontextmanager
async def delegating(model: ScriptedModel, *tools: EchoTool, **options: Any) -> AsyncIterator[Runner]:
    async with open_runner(model, *tools, **options) as runner:
        offered = runner._agent.toolbox.tools  # type: ignore[attr-defined]
        offered["delegate_task"] = DelegateTaskTool(runner.delegation)
        yield runner


async def told(runner: Runner, run_id: str) -> list[RunEvent]:
    kept = [one async for one in runner.follow(run_id)]
    assert [one.seq for one in kept] == list(range(1, len(kept) + 1))
    return [one.event for one in kept]


async def until(runner: Runner, run_id: str, kind: type) -> Any:
    async for one in runner.follow(run_id):
        if isinstance(one.event, kind):
            return one.event
    raise AssertionError(f"the run ended without {kind.__name__}")


def names(happened: list[RunEvent]) -> list[str]:
    return [one.name for one in happened if not isinstance(one, events.MessageDelta)]


def result_of(model: ScriptedModel) -> str:
    """What the parent's model was told by its tool."""
    return unmarked(next(m.text for m in reversed(model.requests[-1].messages) if m.role == "tool"))


async def children_of(runner: Runner, run: Run) -> list[Run]:
    return await runner._database.read(run_store.children, run.id)


USED = {
    "input_tokens": 10,
    "output_tokens": 5,
    "total_tokens": 15,
    "cache_read_tokens": 0,
    "cache_write_tokens": 0,
    "reasoning_tokens": 0,
    "api_calls": 1,
    "cost_usd": None,
}


async def test_a_child_is_a_run_of_its_own_and_the_parent_tells_of_it():
    model = Cast(hello=[delegates("count", context="three lines"), says("Done.")], count=[says("There are 3.")])
    async with delegating(model) as runner:
        run = await runner.start(ask(session_id="s1", session_key="visitor"))
        happened = await told(runner, run.id)
        child = child_id(run.id, "c1", 0, 0)
        [completed] = [one for one in happened if isinstance(one, events.SubagentCompleted)]
        assert [one for one in happened if "subagent" in one.name] == [
            events.SubagentStarted(child, "c1", 0, "count"),
            events.SubagentCompleted(child, "c1", 0, "completed", completed.duration, "There are 3.", None, USED),
        ]
        assert names(happened) == [
            "run.started",
            "tool.started",
            "subagent.start",
            "subagent.complete",
            "tool.completed",
            "run.completed",
        ]
        assert result_of(model) == f"## Task 1, sub-agent {child}: completed\nThere are 3."
        kept = await runner.get(child, "owner")
        assert await told(runner, child) == [
            events.RunStarted(kept.session_id, "scripted"),
            events.MessageDelta("There are 3."),
            events.RunCompleted("There are 3.", USED, "stop", "scripted"),
        ]
        session = await runner._database.read(session_store.get, kept.session_id)
        assert session is not None
        assert (session.source, session.parent_session_id, session.session_key) == ("subagent", "s1", "visitor")
        [first] = [request for request in model.requests if request.messages[1].text.startswith("count")]
        assert [(m.role, m.text) for m in first.messages[1:]] == [("user", "count\n\nContext:\nthree lines")]
        assert "You are a sub-agent" in first.messages[0].text


async def test_what_a_child_used_is_its_own_and_shown_beside_the_parents():
    model = Cast(hello=[delegates("a", "b"), says("Done.")], a=[says("1")], b=[says("2")])
    async with delegating(model) as runner:
        run = await runner.start(ask())
        await told(runner, run.id)
        parent = await runner.get(run.id, "owner")
        assert (parent.usage.api_calls, parent.delegated) == (2, ONE_CALL + ONE_CALL)
        assert [(child.parent_run_id, child.usage.api_calls) for child in await children_of(runner, run)] == [
            (run.id, 1),
            (run.id, 1),
        ]


async def test_children_work_side_by_side_and_need_no_place_in_the_line():
    meet = asyncio.Barrier(2)

    async def works(text: str) -> str:
        await meet.wait()
        return text

    echo = calls(("e", "echo", '{"text": "x"}'))
    model = Cast(hello=[delegates("a", "b"), says("Done.")], a=[echo, says("1")], b=[echo, says("2")])
    settings = RunnerSettings(max_running=1)
    async with delegating(model, EchoTool(works=works), settings=settings) as runner:
        run = await runner.start(ask())
        second = await runner.start(ask("hello again", session_id="other"))
        assert second.status is RunStatus.QUEUED
        await runner.stop(second.id, "owner")
        assert names(await told(runner, run.id))[-1] == "run.completed"
        assert result_of(model).count("completed\n") == 2
        assert runner.line.running == runner.line.waiting == 0


async def test_no_more_work_at_once_than_the_setting_says():
    holds = [asyncio.Event(), asyncio.Event()]
    model = Cast(hello=[delegates("a", "b"), says("Done.")], a=[[holds[0], *says("1")]], b=[[holds[1], *says("2")]])
    settings = RunnerSettings(delegation=DelegationSettings(max_children=1))
    async with delegating(model, settings=settings) as runner:
        run = await runner.start(ask())
        first = await until(runner, run.id, events.SubagentStarted)
        while "a" not in model.asked_by:
            await asyncio.sleep(0)
        assert first.goal == "a" and "b" not in model.asked_by
        for hold in holds:
            hold.set()
        happened = [one for one in await told(runner, run.id) if "subagent" in one.name]
        assert [(one.name, one.index) for one in happened] == [  # type: ignore[union-attr]
            ("subagent.start", 0),
            ("subagent.complete", 0),
            ("subagent.start", 1),
            ("subagent.complete", 1),
        ]


async def test_a_child_that_fails_is_told_and_the_others_count():
    model = Cast(
        hello=[delegates("a", "b"), says("Done.")], a=[[UpstreamError("it is gone", is_retryable=False)]], b=[says("2")]
    )
    async with delegating(model) as runner:
        run = await runner.start(ask())
        happened = await told(runner, run.id)
        ended = {one.index: one for one in happened if isinstance(one, events.SubagentCompleted)}
        assert (ended[0].status, ended[0].error, ended[1].error) == ("failed", "it is gone", None)
        [completed] = [one for one in happened if isinstance(one, events.ToolCompleted)]
        assert (completed.error, completed.preview) == (None, "1 of 2 done")
        assert "failed (it is gone)" in result_of(model) and result_of(model).endswith("completed\n2")


async def test_a_call_whose_only_child_fails_is_an_error():
    model = Cast(hello=[delegates("a"), says("Done.")], a=[[UpstreamError("it is gone", is_retryable=False)]])
    async with delegating(model) as runner:
        run = await runner.start(ask())
        [completed] = [one for one in await told(runner, run.id) if isinstance(one, events.ToolCompleted)]
        assert completed.error is not None and "it is gone" in completed.error


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [("{}", "give either goal or tasks"), ('{"goal": "a", "tasks": [{"goal": "b"}]}', "give either goal or tasks")],
)
async def test_wrong_arguments_are_named(arguments: str, problem: str):
    model = Cast(hello=[calls(("c1", "delegate_task", arguments)), says("Done.")])
    async with delegating(model) as runner:
        await told(runner, (await runner.start(ask())).id)
        assert problem in result_of(model)


async def test_a_child_may_not_delegate_ask_or_remember():
    model = Cast(hello=[delegates("a"), says("Done.")], a=[says("1")])
    hidden = [EchoTool(name) for name in ("memory", "clarify", "cronjob")]
    async with delegating(model, EchoTool(), *hidden) as runner:
        await told(runner, (await runner.start(ask())).id)
        [mine] = [r for r in model.requests if r.messages[1].text == "a"]
        assert {tool.name for tool in mine.tools} == {"echo"}


async def test_stopping_the_parent_ends_its_children():
    model = Cast(hello=[delegates("a", "b")], a=[[asyncio.Event()]], b=[[asyncio.Event()]])
    async with delegating(model) as runner:
        run = await runner.start(ask())
        while len(model.asked_by) < 3:
            await asyncio.sleep(0)
        await runner.stop(run.id, "owner")
        assert names(await told(runner, run.id))[-1] == "run.cancelled"
        assert [child.status for child in await children_of(runner, run)] == [RunStatus.CANCELLED] * 2
        assert runner.active == 0


async def test_a_parent_whose_time_is_over_ends_its_children():
    model = Cast(hello=[delegates("a")], a=[[asyncio.Event()]])
    async with delegating(model) as runner:
        run = await runner.start(ask(limits=Limits(max_seconds=0.2)))
        happened = await told(runner, run.id)
        assert isinstance(happened[-1], events.RunCompleted) and happened[-1].finish_reason == "length"
        assert [child.status for child in await children_of(runner, run)] == [RunStatus.CANCELLED]


async def test_a_child_that_is_stopped_by_itself_is_told_to_the_parent():
    model = Cast(hello=[delegates("a"), says("Done.")], a=[[asyncio.Event()]])
    async with delegating(model) as runner:
        run = await runner.start(ask())
        child = await until(runner, run.id, events.SubagentStarted)
        await runner.stop(child.subagent_id, "owner")
        assert names(await told(runner, run.id))[-1] == "run.completed"
        assert "cancelled (it was stopped)" in result_of(model)


async def test_the_children_share_what_the_parent_has_left():
    both = asyncio.Event()
    model = Cast(
        hello=[delegates("a", "b"), delegates("c", call_id="c2"), says("Done.")],
        a=[[both, *says("1")]],
        b=[[both, *says("2")]],
        c=[says("never")],
    )
    async with delegating(model) as runner:
        run = await runner.start(ask(limits=Limits(max_tokens=60)))
        while len(model.asked_by) < 3:  # who ended before the other began would give its part back
            await asyncio.sleep(0)
        both.set()
        happened = await told(runner, run.id)
        asked = {
            r.messages[1].text: r.params.get("max_tokens", 0) for r in model.requests if r.messages[1].text in "abc"
        }
        assert sorted(asked.values()) == [22, 23]  # what 60 - 15 leaves; nothing for the third
        warned = [one.message for one in happened if isinstance(one, events.Warned)]
        assert any("max_tokens=60" in message for message in warned)
        assert (await runner.get(run.id, "owner")).usage.total_tokens == 30


async def test_a_child_has_steps_of_its_own():
    echo = calls(("e", "echo", '{"text": "x"}'))
    model = Cast(hello=[delegates("a"), says("Done.")], a=[echo, echo])
    settings = RunnerSettings(delegation=DelegationSettings(max_steps=2))
    async with delegating(model, EchoTool(), settings=settings) as runner:
        await told(runner, (await runner.start(ask())).id)
        assert "completed (it stopped at a limit before it was done)" in result_of(model)


DANGER = calls(("e", "echo", '{"text": "rm -r x"}'))


@pytest.mark.parametrize("at_child", [False, True])
async def test_a_childs_dangerous_call_is_asked_and_answered_at_the_parent(at_child: bool):
    model = Cast(hello=[delegates("a"), says("Done.")], a=[DANGER, says("1")])
    tool = EchoTool(is_dangerous=True)
    async with delegating(model, tool) as runner:
        run = await runner.start(ask())
        asked = await until(runner, run.id, events.ApprovalRequested)
        child = child_id(run.id, "c1", 0, 0)
        assert (asked.subagent_id, asked.tool_call_id, asked.command) == (child, "c1", "rm -r x")
        for one in (run.id, child):
            [pending] = await runner.pending_approvals(one, "owner")
            assert pending.question.id == asked.approval_id
            assert (await runner.get(one, "owner")).status is RunStatus.WAITING_FOR_APPROVAL
        assert await runner.answer(child if at_child else run.id, "owner", "once", by="phone") == 1
        happened = await told(runner, run.id)
        assert tool.ran == ["rm -r x"]
        assert names(happened) == [
            "run.started",
            "tool.started",
            "subagent.start",
            "approval.request",
            "approval.responded",
            "subagent.complete",
            "tool.completed",
            "run.completed",
        ]
        assert names(await told(runner, child)) == [
            "run.started",
            "tool.started",
            "approval.request",
            "approval.responded",
            "tool.completed",
            "run.completed",
        ]
        with pytest.raises(Conflict):
            await runner.answer(run.id, "owner", "once")


async def test_a_child_that_is_stopped_while_it_asks_leaves_no_open_question():
    model = Cast(hello=[delegates("a"), says("Done.")], a=[DANGER])
    async with delegating(model, EchoTool(is_dangerous=True)) as runner:
        run = await runner.start(ask())
        asked = await until(runner, run.id, events.ApprovalRequested)
        await runner.stop(asked.subagent_id, "owner")
        happened = await told(runner, run.id)
        assert events.ApprovalResponded(asked.approval_id, "deny", None, "policy") in happened
        assert names(happened)[-1] == "run.completed"


async def test_a_child_is_hidden_from_lists_and_goes_with_its_parents_session():
    model = Cast(hello=[delegates("a"), says("Done.")], a=[says("1")])
    async with delegating(model) as runner:
        run = await runner.start(ask(session_id="s1"))
        await told(runner, run.id)
        database = runner._database

        async def listed(**options: Any) -> list[str]:
            return [one.source for one in await database.read(list_sessions, "owner", Listing(**options))]

        assert (await listed(), sorted(await listed(include_children=True))) == (["test"], ["subagent", "test"])
        await database.write(session_store.delete, "s1")
        assert await listed(include_children=True) == []


@asynccontextmanager
async def killed(
    tmp_path: Path, model: Cast, *tools: EchoTool, settings: RunnerSettings | None = None
) -> AsyncIterator[tuple[Runner, list[str]]]:
    """A durable run, and where to put the names of tasks whose children are asked before the kill."""
    database = await Database.open(new_url(tmp_path / "state.db"))
    async with delegating(model, *tools, database=database, identity=Identity("gateway"), settings=settings) as runner:
        yield runner, []
        copy_of(tmp_path / "state.db", tmp_path / "copy.db")
    await database.close()


async def test_after_a_kill_finished_children_are_not_run_again_and_open_ones_go_on(tmp_path: Path):
    first = Cast(
        hello=[delegates("a", "b")], a=[says("1")], b=[calls(("e", "echo", '{"text": "x"}')), [asyncio.Event()]]
    )
    async with killed(tmp_path, first, EchoTool()) as (runner, _):
        run = await runner.start(ask(is_durable=True))
        await until(runner, run.id, events.SubagentCompleted)
        while first.asked_by.count("b") < 2:
            await asyncio.sleep(0)
    second = Cast(hello=[says("Done.")], b=[says("2")])
    there = await Database.open(new_url(tmp_path / "copy.db"))
    tool = EchoTool()
    async with delegating(second, tool, database=there, identity=Identity("gateway")) as runner:
        await runner.recover()
        happened = await told(runner, run.id)
        children = await children_of(runner, run)
        lists = {child.id: names(await told(runner, child.id)) for child in children}
        delegated = (await runner.get(run.id, "owner")).delegated
    await there.close()
    a, b = (child_id(run.id, "c1", 0, index) for index in (0, 1))
    before, after = names(happened)[:5], names(happened)[5:]
    assert before[:2] == ["run.started", "tool.started"]  # then a and b, side by side
    assert sorted(before[2:]) == ["subagent.complete", "subagent.start", "subagent.start"]
    assert after == ["run.resumed", "subagent.complete", "tool.completed", "run.completed"]
    assert lists[a] == ["run.started", "run.completed"]
    assert lists[b] == ["run.started", "tool.started", "tool.completed", "run.resumed", "run.completed"]
    assert (tool.ran, second.asked_by) == ([], ["b", "hello"])
    assert result_of(second).endswith(f"{b}: completed\n2") and "completed\n1" in result_of(second)
    assert delegated is not None and delegated.api_calls == 3


async def test_a_childs_question_is_asked_again_at_both_after_a_kill(tmp_path: Path):
    first = Cast(hello=[delegates("a")], a=[DANGER])
    async with killed(tmp_path, first, EchoTool(is_dangerous=True)) as (runner, _):
        run = await runner.start(ask(is_durable=True))
        asked = await until(runner, run.id, events.ApprovalRequested)
    second = Cast(hello=[says("Done.")], a=[says("1")])
    there = await Database.open(new_url(tmp_path / "copy.db"))
    tool = EchoTool(is_dangerous=True)
    async with delegating(second, tool, database=there, identity=Identity("gateway")) as runner:
        await runner.recover()
        while not await runner.pending_approvals(run.id, "owner"):
            await asyncio.sleep(0)
        assert await runner.answer(run.id, "owner", "once", approval_id=asked.approval_id) == 1
        happened = await told(runner, run.id)
    await there.close()
    assert tool.ran == ["rm -r x"]
    assert [one.approval_id for one in happened if isinstance(one, events.ApprovalRequested)] == [asked.approval_id] * 2
    assert names(happened)[-1] == "run.completed"


async def test_the_children_of_a_run_that_cannot_go_on_are_cancelled_at_the_start(tmp_path: Path):
    first = Cast(hello=[delegates("a")], a=[[asyncio.Event()]])
    async with killed(tmp_path, first) as (runner, _):
        run = await runner.start(ask())
        while "a" not in first.asked_by:
            await asyncio.sleep(0)
    there = await Database.open(new_url(tmp_path / "copy.db"))
    async with delegating(Cast(), database=there, identity=Identity("gateway")) as runner:
        recovered = await runner.recover()
        assert (recovered.resumed, recovered.interrupted) == (0, 1)
        assert (await runner.get(run.id, "owner")).status is RunStatus.INTERRUPTED
        [child] = await children_of(runner, run)
        assert child.status is RunStatus.CANCELLED
        final = (await told(runner, child.id))[-1]
    await there.close()
    assert isinstance(final, events.RunCancelled) and final.reason == "the run that delegated it has ended"


async def test_a_run_that_is_parked_parks_its_children(tmp_path: Path):
    first = Cast(hello=[delegates("a", "b")], a=[[asyncio.Event()]], b=[DANGER])
    database = await Database.open(new_url(tmp_path / "state.db"))
    tool = EchoTool(is_dangerous=True)
    async with delegating(first, tool, database=database, identity=Identity("gateway")) as runner:
        run = await runner.start(ask(is_durable=True))
        await until(runner, run.id, events.ApprovalRequested)
        while "a" not in first.asked_by:
            await asyncio.sleep(0)
    second = Cast(hello=[says("Done.")], a=[says("1")], b=[says("2")])
    async with delegating(second, tool, database=database, identity=Identity("gateway")) as runner:
        await runner.recover()
        while not await runner.pending_approvals(run.id, "owner"):
            await asyncio.sleep(0)
        await runner.answer(run.id, "owner", "once")
        assert names(await told(runner, run.id))[-1] == "run.completed"
        children = await children_of(runner, run)
        assert [(child.status, child.resumed) for child in children] == [(RunStatus.COMPLETED, 1)] * 2
    await database.close()


async def test_a_child_that_was_deleted_is_not_run_again_after_a_kill(tmp_path: Path):
    first = Cast(hello=[delegates("a", "b")], a=[says("1")], b=[[asyncio.Event()]])
    async with killed(tmp_path, first) as (runner, _):
        run = await runner.start(ask(is_durable=True))
        await until(runner, run.id, events.SubagentCompleted)
        while "b" not in first.asked_by:
            await asyncio.sleep(0)
        [ended] = [child for child in await children_of(runner, run) if child.status.is_final]
        await runner._database.write(session_store.delete, ended.session_id)
    second = Cast(hello=[says("Done.")], b=[says("2")])
    there = await Database.open(new_url(tmp_path / "copy.db"))
    async with delegating(second, database=there, identity=Identity("gateway")) as runner:
        await runner.recover()
        assert names(await told(runner, run.id))[-1] == "run.completed"
        assert [child.id for child in await children_of(runner, run)] == [child_id(run.id, "c1", 0, 1)]
    await there.close()
    assert "cancelled (its session was deleted)" in result_of(second) and result_of(second).endswith("completed\n2")


async def test_after_a_kill_what_open_children_were_given_is_not_given_again(tmp_path: Path):
    first = Cast(hello=[delegates("a", "b", "c")], a=[says("1")], b=[[asyncio.Event()]])
    settings = RunnerSettings(delegation=DelegationSettings(max_children=1))
    async with killed(tmp_path, first, settings=settings) as (runner, _):
        run = await runner.start(ask(is_durable=True, limits=Limits(max_tokens=100)))
        await until(runner, run.id, events.SubagentCompleted)
        while "b" not in first.asked_by:
            await asyncio.sleep(0)
    c_is_asked = asyncio.Event()  # what b does not need it would give back
    second = Cast(hello=[says("Done.")], b=[[c_is_asked, *says("2")]], c=[[c_is_asked.set, *says("3")]])
    there = await Database.open(new_url(tmp_path / "copy.db"))
    settings = RunnerSettings(delegation=DelegationSettings(max_children=3))
    async with delegating(second, database=there, identity=Identity("gateway"), settings=settings) as runner:
        await runner.recover()
        await told(runner, run.id)
    await there.close()
    given = {one.messages[1].text: one.params.get("max_tokens") for one in (*first.requests, *second.requests)}
    assert given == {"hello": 40, "a": 28, "b": 35, "c": 35}  # of 100, and 15 for each call of a model


async def test_an_id_that_the_model_uses_again_is_another_call():
    model = Cast(hello=[delegates("a"), delegates("b"), says("Done.")], a=[says("1")], b=[says("2")])
    async with delegating(model) as runner:
        run = await runner.start(ask())
        await told(runner, run.id)
        assert {child.id for child in await children_of(runner, run)} == {
            child_id(run.id, "c1", count, 0) for count in (0, 1)
        }


async def test_where_nobody_is_asked_the_child_asks_nobody():
    model = Cast(hello=[delegates("a"), says("Done.")], a=[says("1")])
    async with delegating(model) as runner:
        run = await runner.start(ask(ask=Ask.DENY))
        while not runner._active or len(runner._active) < 2:
            await asyncio.sleep(0)
        [child] = [one for one in runner._active.values() if one.run.id != run.id]
        assert (child.request.ask, child.request.may_clarify) == (Ask.DENY, False)
        await told(runner, run.id)
