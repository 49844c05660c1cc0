"""A copy of the database at any moment is what a killed process leaves: a new one goes on from it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hermes.core import event as events
from hermes.core.errors import NoModel
from hermes.core.event import KeptEvent, RunEvent
from hermes.core.model import TextDelta, ToolSpec
from hermes.core.run import Run, RunStatus
from hermes.runs.runner import Runner
from hermes.store import events as event_store
from hermes.store import sessions as session_store
from hermes.store import started_calls
from hermes.store.database import Database
from tests.support.database import copy_of, new_url
from tests.support.engine import ask, open_runner
from tests.support.models import ONE_CALL, ScriptedModel, calls, says
from tests.support.tools import EchoTool

ANSWERS = {
    0: calls(("a", "write", '{"text": "one"}'), ("b", "read", '{"text": "two"}'), text="First this."),
    1: says("Done", "."),
}
LOST = "[no result: the call was interrupted before it finished; whether it took effect is unknown]"


@dataclass
class Machine:
    """A model that answers by what was said to it, so that a resumed run is asked what is left; tools that count."""

    model: ScriptedModel = field(default_factory=lambda: ScriptedModel([_answer] * 9))
    write: EchoTool = field(default_factory=lambda: EchoTool("write", is_idempotent=False))
    read: EchoTool = field(default_factory=lambda: EchoTool("read"))

    @asynccontextmanager
    async def open(self, path: Path) -> AsyncIterator[tuple[Runner, Database]]:
        database = await Database.open(new_url(path))
        try:
            async with open_runner(self.model, self.write, self.read, database=database) as runner:
                yield runner, database
        finally:
            await database.close()


def _answer(request: Any) -> Any:
    said = sum(1 for message in request.messages if message.role == "assistant")
    return ANSWERS[said]


def copy(path: Path, to: Path) -> Path:
    copy_of(path, to)
    return to


async def follow(runner: Runner, run_id: str) -> list[RunEvent]:
    return [kept.event async for kept in runner.follow(run_id)]


def text_of(happened: Sequence[KeptEvent]) -> str:
    """As a projection that knows the whole list shows it: without what was lost."""
    void = [(one.event.void_after, one.seq) for one in happened if isinstance(one.event, events.RunResumed)]
    return "".join(
        one.event.delta
        for one in happened
        if isinstance(one.event, events.MessageDelta) and not any(after < one.seq < end for after, end in void)
    )


async def test_a_run_goes_on_from_a_copy_taken_at_any_of_its_events(tmp_path: Path):
    copies: list[Path] = []
    first = Machine()
    async with first.open(tmp_path / "state.db") as (runner, _):
        run = await runner.start(ask(is_durable=True))
        copies.append(copy(tmp_path / "state.db", tmp_path / "copy0.db"))
        async for kept in runner.follow(run.id):
            copies.append(copy(tmp_path / "state.db", tmp_path / f"copy{kept.seq}.db"))
    seen: set[tuple[str, int]] = set()
    for path in copies:
        seen.add(await check_resumed(path, run.id))
    assert {kind for kind, _ in seen} >= {"open"}, "no copy was taken in the middle"


async def check_resumed(path: Path, run_id: str) -> tuple[str, int]:
    second = Machine()
    before = Database.open_now(new_url(path))
    own = [k.message for k in before.read_now(session_store.messages_of_run, session_of(before, run_id), run_id)]
    kept_before = before.read_now(event_store.after, run_id, 0, 1000)
    marked = before.read_now(started_calls.of_run, run_id)
    before.close_now()
    has_result = {message.tool_call_id for message in own if message.role == "tool"}
    was_open = not kept_before or not isinstance(kept_before[-1].event, events.RunCompleted)
    async with second.open(path) as (runner, database):
        recovered = await runner.recover()
        assert (recovered.resumed, recovered.interrupted) == (int(was_open), 0)
        happened = [kept async for kept in runner.follow(run_id)]
        run = await runner.get(run_id, "owner")
        history = await database.read(session_store.history, run.session_id)
    assert [one.seq for one in happened] == list(range(1, len(happened) + 1))
    assert happened[: len(kept_before)] == kept_before
    assert (run.status, run.output, run.resumed) == (RunStatus.COMPLETED, "Done.", int(was_open))
    assert text_of(happened) == "First this.Done."
    assert [(m.role, m.tool_call_id) for m in sorted(history, key=lambda m: m.tool_call_id or "")] == [
        ("user", None),
        ("assistant", None),
        ("assistant", None),
        ("tool", "a"),
        ("tool", "b"),
    ]
    results = {message.tool_call_id: message.content for message in history if message.role == "tool"}
    is_lost = "a" in marked and "a" not in has_result
    assert results == {"a": LOST if is_lost else "echo: one", "b": "echo: two"}
    assert second.write.ran == ([] if is_lost or "a" in has_result else ["one"])
    assert second.read.ran == ([] if "b" in has_result else ["two"])
    assert len(second.model.requests) == 2 - sum(m.role == "assistant" for m in own)
    assert (run.usage.input_tokens, run.usage.api_calls) == (20, 2)
    return ("open" if was_open else "ended", len(kept_before))


def session_of(database: Database, run_id: str) -> str:
    from hermes.store import runs as run_store

    run = database.read_now(run_store.get, run_id)
    assert run is not None
    return run.session_id


async def test_a_call_that_was_running_is_told_as_unknown_and_not_run_again(tmp_path: Path):
    running = asyncio.Event()

    async def hang(text: str) -> str:
        running.set()
        await asyncio.Event().wait()
        return text

    first = Machine(write=EchoTool("write", is_idempotent=False, works=hang))
    async with first.open(tmp_path / "state.db") as (runner, _):
        run = await runner.start(ask(is_durable=True))
        await running.wait()
        copied = copy(tmp_path / "state.db", tmp_path / "copy.db")
    second = Machine()
    async with second.open(copied) as (runner, database):
        await runner.recover()
        happened = await follow(runner, run.id)
        history = await database.read(session_store.history, run.session_id)
    told = [one for one in happened if isinstance(one, events.ToolCompleted) and one.tool_call_id == "a"]
    assert [(one.error, one.duration) for one in told] == [(LOST, told[0].duration)]
    assert second.write.ran == []
    assert [m.content for m in history if m.tool_call_id == "a"] == [LOST]


async def test_a_question_that_waited_is_asked_again_under_its_id_and_its_answer_runs_the_call(tmp_path: Path):
    first = Machine(write=EchoTool("write", is_dangerous=True, is_idempotent=False))
    async with first.open(tmp_path / "state.db") as (runner, _):
        run = await runner.start(ask(is_durable=True))
        asked = await first_of(runner, run.id, events.ApprovalRequested)
        copied = copy(tmp_path / "state.db", tmp_path / "copy.db")
    second = Machine(write=EchoTool("write", is_dangerous=True, is_idempotent=False))
    async with second.open(copied) as (runner, _):
        await runner.recover()
        reading = asyncio.ensure_future(follow(runner, run.id))
        while not await runner.pending_approvals(run.id, "owner"):
            await asyncio.sleep(0)
        assert await runner.answer(run.id, "owner", "once", approval_id=asked.approval_id) == 1
        happened = await reading
    names = [one.name for one in happened if not isinstance(one, events.MessageDelta | events.ToolCompleted)]
    assert names == [
        "run.started",
        "tool.started",
        "tool.started",
        "approval.request",
        "run.resumed",
        "approval.request",
        "approval.responded",
        "run.completed",
    ]
    assert second.write.ran == ["one"]


async def test_an_answer_that_was_given_holds_after_the_restart(tmp_path: Path):
    running = asyncio.Event()

    async def hang(text: str) -> str:
        running.set()
        await asyncio.Event().wait()
        return text

    # The reader hangs, and the writer's question is answered while the step is open: the copy is taken before it runs.
    first = Machine(write=EchoTool("write", is_dangerous=True, is_idempotent=False, works=hang))
    async with first.open(tmp_path / "state.db") as (runner, database):
        run = await runner.start(ask(is_durable=True))
        asked = await first_of(runner, run.id, events.ApprovalRequested)
        await runner.answer(run.id, "owner", "once", approval_id=asked.approval_id)
        await running.wait()
        await database.write(started_calls.forget, run.id, "a")  # as if the kill came just before the mark
        copied = copy(tmp_path / "state.db", tmp_path / "copy.db")
    second = Machine(write=EchoTool("write", is_dangerous=True, is_idempotent=False))
    async with second.open(copied) as (runner, _):
        await runner.recover()
        happened = await follow(runner, run.id)
    assert [one.name for one in happened].count("approval.request") == 1
    assert second.write.ran == ["one"]


async def first_of(runner: Runner, run_id: str, kind: type[Any]) -> Any:
    async for kept in runner.follow(run_id):
        if isinstance(kept.event, kind):
            return kept.event
    raise AssertionError(f"no {kind.__name__}")


async def test_what_was_said_to_a_run_and_not_heard_is_heard_after_the_restart(tmp_path: Path):
    half = asyncio.Event()
    first = Machine(model=ScriptedModel([[TextDelta("Half"), half]]))
    async with first.open(tmp_path / "state.db") as (runner, _):
        run = await runner.start(ask(is_durable=True))
        await first_of(runner, run.id, events.MessageDelta)
        await runner.steer(run.id, "owner", "rather that")
        copied = copy(tmp_path / "state.db", tmp_path / "copy.db")
    second = Machine(model=ScriptedModel([says("That.")]))
    async with second.open(copied) as (runner, database):
        await runner.recover()
        happened = [kept async for kept in runner.follow(run.id)]
        history = await database.read(session_store.history, run.session_id)
    assert [one.event.name for one in happened] == [
        "run.started",
        "message.delta",
        "run.resumed",
        "run.steered",
        "message.delta",
        "run.completed",
    ]
    assert text_of(happened) == "That."
    assert [(m.role, m.content) for m in history] == [
        ("user", "hello"),
        ("user", "rather that"),
        ("assistant", "That."),
    ]
    async with Machine().open(copied) as (runner, database):
        assert await database.read(_steers, run.id) == []


def _steers(conn: Any, run_id: str) -> list[str]:
    from hermes.store import steers

    return [text for _, text in steers.waiting(conn, run_id)]


async def test_runs_that_waited_in_line_go_on_in_their_order(tmp_path: Path):
    never = asyncio.Event()
    first = Machine(model=ScriptedModel([[never]]))
    async with first.open(tmp_path / "state.db") as (runner, _):
        runs: list[Run] = []
        for text in ("one", "two", "three"):
            request = replace(ask(text, is_durable=True), session_id="mine", may_wait_forever=True)
            runs.append(await runner.start(request))
        copied = copy(tmp_path / "state.db", tmp_path / "copy.db")
    second = Machine(model=ScriptedModel([says("1"), says("2"), says("3")]))
    async with second.open(copied) as (runner, database):
        assert (await runner.recover()).resumed == 3
        lists = [[one.name for one in await follow(runner, run.id)] for run in runs]
        history = await database.read(session_store.history, "mine")
    assert lists == [
        ["run.started", "run.resumed", "message.delta", "run.completed"],
        ["run.started", "message.delta", "run.completed"],
        ["run.started", "message.delta", "run.completed"],
    ]
    assert [m.content for m in history] == ["one", "1", "two", "2", "three", "3"]


async def test_a_run_of_a_plain_chat_is_interrupted_and_keeps_what_was_said(tmp_path: Path):
    first = Machine(model=ScriptedModel([[TextDelta("Half"), asyncio.Event()]]))
    async with first.open(tmp_path / "state.db") as (runner, _):
        run = await runner.start(ask())
        await first_of(runner, run.id, events.MessageDelta)
        copied = copy(tmp_path / "state.db", tmp_path / "copy.db")
    async with Machine().open(copied) as (runner, _):
        recovered = await runner.recover()
        assert (recovered.resumed, recovered.interrupted) == (0, 1)
        assert (await runner.get(run.id, "owner")).output == "Half"
        assert [one.name for one in await follow(runner, run.id)] == ["run.started", "message.delta", "run.interrupted"]


@pytest.mark.parametrize("kept", [{}, {"messages": []}, {"messages": [["user"]], "toolsets": None}])
async def test_a_run_whose_request_another_version_kept_is_interrupted(tmp_path: Path, kept: dict[str, Any]):
    first = Machine(model=ScriptedModel([[TextDelta("Half"), asyncio.Event()]]))
    async with first.open(tmp_path / "state.db") as (runner, database):
        run = await runner.start(ask(is_durable=True))
        await first_of(runner, run.id, events.MessageDelta)
        await database.write(_set_request, run.id, kept)
    async with Machine().open(tmp_path / "state.db") as (runner, _):
        assert (await runner.recover()).interrupted == 1
        assert [one.name for one in await follow(runner, run.id)][-1] == "run.interrupted"


def _set_request(conn: Any, run_id: str, request: dict[str, Any]) -> None:
    statement = sa.text("UPDATE runs SET request = :request WHERE id = :id")
    conn.execute(statement, {"request": json.dumps(request), "id": run_id})


async def test_a_run_that_was_being_stopped_is_cancelled(tmp_path: Path):
    running, stopping = asyncio.Event(), asyncio.Event()

    async def slow(text: str) -> str:
        running.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await stopping.wait()
            raise
        return text

    first = Machine(read=EchoTool("read", works=slow))
    async with first.open(tmp_path / "state.db") as (runner, _):
        run = await runner.start(ask(is_durable=True))
        await running.wait()
        await runner.stop(run.id, "owner")
        copied = copy(tmp_path / "state.db", tmp_path / "copy.db")
        stopping.set()
    async with Machine().open(copied) as (runner, _):
        assert (await runner.recover()).interrupted == 1
        assert (await runner.get(run.id, "owner")).status is RunStatus.CANCELLED


async def test_what_was_lost_is_not_said_again_behind_the_answer_that_was_given_anew(tmp_path: Path):
    running = asyncio.Event()

    async def hang(text: str) -> str:
        running.set()
        await asyncio.Event().wait()
        return text

    first = Machine(model=ScriptedModel([[TextDelta("Half"), asyncio.Event()]]))
    async with first.open(tmp_path / "state.db") as (runner, _):
        run = await runner.start(ask(is_durable=True))
        await first_of(runner, run.id, events.MessageDelta)
        copied = copy(tmp_path / "state.db", tmp_path / "copy.db")
    second = Machine(read=EchoTool("read", works=hang))
    async with second.open(copied) as (runner, database):
        await runner.recover()
        await running.wait()
        await runner.stop(run.id, "owner")
        await follow(runner, run.id)
        history = await database.read(session_store.history, run.session_id)
        assert (await runner.get(run.id, "owner")).output is None
    assert [m.text for m in history if m.role == "assistant"] == ["First this."]


async def test_what_a_plain_chat_has_used_is_known_when_it_breaks_off(tmp_path: Path):
    running = asyncio.Event()

    async def hang(text: str) -> str:
        running.set()
        await asyncio.Event().wait()
        return text

    first = Machine(read=EchoTool("read", works=hang))
    async with first.open(tmp_path / "state.db") as (runner, _):
        run = await runner.start(ask())
        await running.wait()
        copied = copy(tmp_path / "state.db", tmp_path / "copy.db")
    async with Machine().open(copied) as (runner, database):
        assert (await runner.recover()).interrupted == 1
        session = await database.read(session_store.get, run.session_id)
        assert session is not None
        assert (await runner.get(run.id, "owner")).usage == session.usage == ONE_CALL


async def test_a_clean_stop_parks_a_durable_run_and_the_next_start_goes_on(tmp_path: Path):
    first = Machine(model=ScriptedModel([[TextDelta("Half"), asyncio.Event()]]))
    async with first.open(tmp_path / "state.db") as (runner, _):
        run = await runner.start(ask(is_durable=True))
        await first_of(runner, run.id, events.MessageDelta)
    second = Machine(model=ScriptedModel([says("Whole.")]))
    async with second.open(tmp_path / "state.db") as (runner, _):
        assert (await runner.recover()).resumed == 1
        names = [one.name for one in await follow(runner, run.id)]
    assert names == ["run.started", "message.delta", "run.resumed", "message.delta", "run.completed"]


async def test_a_client_tool_that_was_called_is_told_once(tmp_path: Path):
    theirs = ToolSpec("theirs", "", {"type": "object"})
    model = ScriptedModel([calls(("a", "write", '{"text": "one"}'), ("c", "theirs", "{}"))])
    copies: list[Path] = []
    first = Machine(model=model)
    async with first.open(tmp_path / "state.db") as (runner, _):
        run = await runner.start(ask(is_durable=True, client_tools=(theirs,)))
        async for kept in runner.follow(run.id):
            copies.append(copy(tmp_path / "state.db", tmp_path / f"copy{kept.seq}.db"))
    for path in copies[:-1]:
        second = Machine(model=ScriptedModel([calls(("a", "write", '{"text": "one"}'), ("c", "theirs", "{}"))]))
        async with second.open(path) as (runner, _):
            await runner.recover()
            happened = await follow(runner, run.id)
        assert [one.name for one in happened].count("tool.client_call") == 1
        assert isinstance(happened[-1], events.RunCompleted)
        assert happened[-1].finish_reason == "tool_calls"


async def test_a_run_whose_model_is_gone_fails_and_says_so(tmp_path: Path):
    first = Machine(model=ScriptedModel([[TextDelta("Half"), asyncio.Event()]]))
    async with first.open(tmp_path / "state.db") as (runner, _):
        run = await runner.start(ask(is_durable=True))
        await first_of(runner, run.id, events.MessageDelta)
    second = Machine(model=ScriptedModel([[NoModel("no model answers")]]))
    async with second.open(tmp_path / "state.db") as (runner, _):
        await runner.recover()
        happened = await follow(runner, run.id)
    assert isinstance(happened[-1], events.RunFailed)
    assert happened[-1].error["code"] == "no_model"


@pytest.mark.parametrize("is_durable", [True, False])
async def test_a_finished_run_leaves_nothing_to_resume(tmp_path: Path, is_durable: bool):
    async with Machine().open(tmp_path / "state.db") as (runner, database):
        run = await runner.start(ask(is_durable=is_durable))
        await follow(runner, run.id)
        kept = await runner.get(run.id, "owner")
        assert (kept.request, await database.read(started_calls.of_run, run.id)) == ({}, set())
        recovered = await runner.recover()
        assert (recovered.resumed, recovered.interrupted) == (0, 0)
