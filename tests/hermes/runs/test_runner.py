"""The engine on a database in memory: whole event lists, and what is kept in the end."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from hermes.agent.marks import marked
from hermes.core import event as events
from hermes.core.errors import (
    Busy,
    Conflict,
    Draining,
    HermesError,
    InvalidInput,
    NotFound,
    UpstreamAuth,
    UpstreamRateLimited,
)
from hermes.core.event import RunEvent
from hermes.core.message import AudioPart, ImagePart, Message, ToolCall
from hermes.core.model import TextDelta, ToolSpec
from hermes.core.run import IdempotencyClaim, Run, RunStatus
from hermes.runs.runner import Runner, RunnerSettings
from hermes.store import runs as run_store
from hermes.store import sessions as session_store
from hermes.store.database import Database
from hermes.store.schema import events as events_table
from hermes.store.statement import Statement
from tests.support.clock import FakeClock
from tests.support.database import copy_of, new_url
from tests.support.engine import ask, open_runner
from tests.support.models import ScriptedModel, calls, says
from tests.support.tools import EchoTool


async def told(runner: Runner, run: Run) -> list[RunEvent]:
    kept = [one async for one in runner.follow(run.id)]
    assert [one.seq for one in kept] == list(range(1, len(kept) + 1))
    return [one.event for one in kept]


async def until(runner: Runner, run: Run, kind: type) -> Any:
    async for one in runner.follow(run.id):
        if isinstance(one.event, kind):
            return one.event
    raise AssertionError(f"the run ended without {kind.__name__}")


async def said(runner: Runner, session_id: str) -> list[Message]:
    return await runner.log._database.read(session_store.history, session_id)


def usage(api_calls: int) -> dict[str, Any]:
    return {
        "input_tokens": 10 * api_calls,
        "output_tokens": 5 * api_calls,
        "total_tokens": 15 * api_calls,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
        "api_calls": api_calls,
        "cost_usd": None,
    }


async def test_a_run_is_its_events_its_messages_and_its_record():
    async with open_runner(ScriptedModel([says("Hi.")])) as runner:
        run = await runner.start(ask(session_id="s1"))
        assert await told(runner, run) == [
            events.RunStarted("s1", "scripted"),
            events.MessageDelta("Hi."),
            events.RunCompleted("Hi.", usage(1), "stop", "scripted"),
        ]
        kept = await runner.get(run.id, "owner")
        assert (kept.status, kept.output, kept.finish_reason) == (RunStatus.COMPLETED, "Hi.", "stop")
        assert (kept.usage.api_calls, kept.last_seq, kept.last_event) == (1, 3, "run.completed")
        assert await said(runner, "s1") == [Message("user", "hello"), Message("assistant", "Hi.")]


async def test_the_next_run_of_a_session_knows_what_was_said():
    model = ScriptedModel([says("Hi."), says("You said hello.")])
    async with open_runner(model) as runner:
        await told(runner, await runner.start(ask(session_id="s1")))
        await told(runner, await runner.start(ask("what did I say?", session_id="s1")))
        assert [message.text for message in model.requests[1].messages[1:]] == ["hello", "Hi.", "what did I say?"]


async def test_a_resent_history_is_used_and_not_stored_again():
    model = ScriptedModel([says("Blue.")])
    history = (Message("user", "my colour is blue"), Message("assistant", "Noted."))
    async with open_runner(model) as runner:
        run = await runner.start(ask("which?", history=history, is_stateless=True))
        await told(runner, run)
        assert model.requests[0].messages[1:3] == history
        assert await said(runner, run.session_id) == [Message("user", "which?"), Message("assistant", "Blue.")]


async def test_runs_of_a_session_go_one_after_another_and_keep_their_order():
    hold = asyncio.Event()
    model = ScriptedModel([[TextDelta("1"), hold, *says("!")], says("2"), says("3")])
    async with open_runner(model) as runner:
        runs = [await runner.start(ask(f"q{n}", session_id="s")) for n in (1, 2, 3)]
        assert [run.status for run in runs] == [RunStatus.RUNNING, RunStatus.QUEUED, RunStatus.QUEUED]
        await until(runner, runs[0], events.MessageDelta)
        assert (len(model.requests), runner.active, runner.queued) == (1, 3, 2)
        hold.set()
        for run in runs:
            await told(runner, run)
        assert [message.text for message in await said(runner, "s")] == ["q1", "1!", "q2", "2", "q3", "3"]


async def test_a_run_that_is_stopped_as_its_turn_comes_is_cancelled():
    hold = asyncio.Event()
    database = await Database.open(new_url())
    async with open_runner(ScriptedModel([[hold, *says("1")]]), database=database) as runner:
        first, second = [await runner.start(ask(f"q{n}", session_id="s")) for n in (1, 2)]
        await database.write(run_store.set_status, second.id, RunStatus.STOPPING, 1.0)  # a stop, at its first half
        hold.set()
        await told(runner, first)
        while runner.queued:  # its turn has come
            await asyncio.sleep(0.001)
        with pytest.raises(Conflict):  # of two stops one counts
            await runner.stop(second.id, "owner")
        assert [event.name for event in await told(runner, second)] == ["run.cancelled"]
    await database.close()


async def test_sessions_run_side_by_side():
    meet = asyncio.Barrier(2)

    async def works(text: str) -> str:
        await meet.wait()
        return text

    tool = EchoTool(works=works)
    model = ScriptedModel([calls(("1", "echo", '{"text": "a"}'))] * 2 + [says("ok")] * 2)
    async with open_runner(model, tool) as runner:
        runs = [await runner.start(ask(session_id=name)) for name in ("a", "b")]
        ends = [(await told(runner, run))[-1] for run in runs]
        assert [type(end) for end in ends] == [events.RunCompleted] * 2


async def test_a_failed_model_fails_the_run_with_its_code_and_keeps_the_question():
    model = ScriptedModel([[UpstreamRateLimited("slow down", status=429, retry_after_seconds=7)]])
    async with open_runner(model) as runner:
        run = await runner.start(ask(session_id="s"))
        error = {"message": "slow down", "code": "upstream_rate_limited", "upstream_status": 429, "retry_after": 7}
        assert (await told(runner, run))[1:] == [events.RunFailed(error, usage(0))]
        assert (await runner.get(run.id, "owner")).error == error
        assert await said(runner, "s") == [Message("user", "hello")]


async def test_what_was_said_before_the_model_broke_off_stays():
    model = ScriptedModel([[TextDelta("I thi"), UpstreamAuth("key expired")]])
    async with open_runner(model) as runner:
        run = await runner.start(ask(session_id="s"))
        assert [type(event) for event in await told(runner, run)] == [
            events.RunStarted,
            events.MessageDelta,
            events.RunFailed,
        ]
        assert await said(runner, "s") == [Message("user", "hello"), Message("assistant", "I thi")]


async def test_a_fault_of_our_own_is_told_without_its_inside():
    async with open_runner(ScriptedModel([[RuntimeError("secret path /x")]])) as runner:
        end = (await told(runner, await runner.start(ask())))[-1]
        assert isinstance(end, events.RunFailed)
        assert end.error["code"] == "internal_error" and "secret" not in end.error["message"]


async def test_stop_ends_the_model_call_with_one_event_and_frees_the_place():
    model = ScriptedModel([[TextDelta("I thi"), asyncio.Event()], says("next")])
    async with open_runner(model) as runner:
        run = await runner.start(ask(session_id="s"))
        await until(runner, run, events.MessageDelta)
        await runner.stop(run.id, "owner")
        assert await told(runner, run) == [
            events.RunStarted("s", "scripted"),
            events.MessageDelta("I thi"),
            events.RunCancelled("stopped by the user", usage(0)),
        ]
        with pytest.raises(Conflict) as refused:
            await runner.stop(run.id, "owner")
        assert refused.value.code == "run_not_active"
        assert (await runner.get(run.id, "owner")).status is RunStatus.CANCELLED
        assert isinstance((await told(runner, await runner.start(ask(session_id="s"))))[-1], events.RunCompleted)


async def test_a_run_can_be_stopped_while_it_waits_in_line():
    hold = asyncio.Event()
    model = ScriptedModel([[hold, *says("first")]])
    async with open_runner(model) as runner:
        first, second = [await runner.start(ask(session_id="s")) for _ in range(2)]
        await runner.stop(second.id, "owner")
        assert await told(runner, second) == [events.RunCancelled("stopped by the user", usage(0))]
        hold.set()
        assert isinstance((await told(runner, first))[-1], events.RunCompleted)


async def test_who_waits_too_long_is_told_so():
    hold = asyncio.Event()
    settings = RunnerSettings(max_running=1, queue_timeout_seconds=0.01)
    async with open_runner(ScriptedModel([[hold, *says("first")]]), settings=settings) as runner:
        first = await runner.start(ask())
        end = (await told(runner, await runner.start(ask())))[-1]
        assert isinstance(end, events.RunFailed) and end.error["code"] == "rate_limit_exceeded"
        hold.set()
        await told(runner, first)


async def test_a_full_line_refuses_and_keeps_nothing():
    hold = asyncio.Event()
    settings = RunnerSettings(max_running=1, max_waiting=0)
    async with open_runner(ScriptedModel([[hold, *says("first")]]), settings=settings) as runner:
        first = await runner.start(ask())
        with pytest.raises(Busy):
            await runner.start(ask(session_id="never"))
        assert await said(runner, "never") == []
        hold.set()
        await told(runner, first)


async def test_an_idempotency_key_gives_the_first_run_again_and_another_body_is_refused():
    model = ScriptedModel([says("once")])
    claim = IdempotencyClaim("key-1", "body-a")
    async with open_runner(model) as runner:
        first = await runner.start(ask(idempotency=claim))
        joined = await runner.start(ask(idempotency=claim))
        assert (joined.id, joined.is_replay, first.is_replay) == (first.id, True, False)
        await told(runner, first)
        again = await runner.start(ask(idempotency=claim))
        assert (again.id, again.output) == (first.id, "once")
        with pytest.raises(Conflict) as refused:
            await runner.start(ask(idempotency=IdempotencyClaim("key-1", "body-b")))
        assert refused.value.code == "idempotency_key_conflict"
        other = ScriptedModel([])
        assert other.requests == [] and len(model.requests) == 1


async def test_a_foreign_run_and_a_foreign_session_are_as_unknown_as_none():
    async with open_runner(ScriptedModel([says("mine")])) as runner:
        run = await runner.start(ask(session_id="s"))
        await told(runner, run)
        for call in (runner.get, runner.stop, runner.pending_approvals):
            with pytest.raises(NotFound):
                await call(run.id, "somebody")
        with pytest.raises(NotFound):
            await runner.answer(run.id, "somebody", "once")
        with pytest.raises(NotFound) as refused:
            await runner.start(ask(session_id="s", owner="somebody"))
        assert refused.value.code == "session_not_found"


def dangerous() -> tuple[ScriptedModel, EchoTool]:
    model = ScriptedModel([calls(("c1", "echo", '{"text": "rm -r x"}')), says("ok")])
    return model, EchoTool(is_dangerous=True)


async def test_an_approval_waits_for_its_answer_and_both_are_events():
    model, tool = dangerous()
    clock = FakeClock()
    async with open_runner(model, tool, clock=clock) as runner:
        run = await runner.start(ask())
        question = await until(runner, run, events.ApprovalRequested)
        assert (await runner.get(run.id, "owner")).status is RunStatus.WAITING_FOR_APPROVAL
        [pending] = await runner.pending_approvals(run.id, "owner")
        assert (pending.question.id, pending.question.command) == (question.approval_id, "rm -r x")
        assert question.expires_at == clock.now() + 60
        assert await runner.answer(run.id, "owner", "approve", approval_id=question.approval_id, by="owner") == 1
        kinds = [event.name for event in await told(runner, run)]
        assert kinds == [
            "run.started",
            "tool.started",
            "approval.request",
            "approval.responded",
            "tool.completed",
            "message.delta",
            "run.completed",
        ]
        assert tool.ran == ["rm -r x"]
        with pytest.raises(Conflict) as late:
            await runner.answer(run.id, "owner", "once", approval_id=question.approval_id)
        assert late.value.code == "approval_not_active"


async def test_an_unanswered_approval_is_a_denial_that_says_time_out():
    model, tool = dangerous()
    clock = FakeClock()
    async with open_runner(model, tool, clock=clock) as runner:
        run = await runner.start(ask())
        question = await until(runner, run, events.ApprovalRequested)
        await clock.someone_sleeps(60)
        clock.advance(60)
        responded = await until(runner, run, events.ApprovalResponded)
        assert responded == events.ApprovalResponded(question.approval_id, "deny", None, "timeout")
        await told(runner, run)
        assert tool.ran == []
        assert "timeout" in model.requests[1].messages[-1].text


async def test_stopping_a_run_that_waits_for_an_approval_ends_it():
    model, tool = dangerous()
    async with open_runner(model, tool) as runner:
        run = await runner.start(ask())
        await until(runner, run, events.ApprovalRequested)
        await runner.stop(run.id, "owner")
        assert isinstance((await told(runner, run))[-1], events.RunCancelled)
        assert tool.ran == []


async def test_a_steer_reaches_the_model_and_a_finished_run_takes_none():
    began, hold = asyncio.Event(), asyncio.Event()

    async def works(text: str) -> str:
        began.set()
        await hold.wait()
        return text

    model = ScriptedModel([calls(("1", "echo", '{"text": "a"}')), says("as you wish")])
    async with open_runner(model, EchoTool(works=works)) as runner:
        run = await runner.start(ask(session_id="s"))
        await began.wait()
        await runner.steer(run.id, "owner", "in French, please")
        hold.set()
        assert events.RunSteered("in French, please") in await told(runner, run)
        assert model.requests[1].messages[-1] == Message("user", "in French, please")
        with pytest.raises(Conflict) as refused:
            await runner.steer(run.id, "owner", "too late")
        assert refused.value.code == "run_not_accepting_steer"


async def test_draining_refuses_new_runs_and_ends_the_open_ones_as_interrupted():
    model = ScriptedModel([[TextDelta("I thi"), asyncio.Event()]])
    async with open_runner(model) as runner:
        run = await runner.start(ask())
        await until(runner, run, events.MessageDelta)
        await runner.drain(0.01)
        assert (await told(runner, run))[-1] == events.RunInterrupted("the gateway was stopped")
        with pytest.raises(Draining):
            await runner.start(ask())


async def test_draining_lets_a_run_finish_that_needs_no_longer():
    hold = asyncio.Event()
    model = ScriptedModel([[TextDelta("I thi"), hold, *says("nk")]])
    async with open_runner(model) as runner:
        run = await runner.start(ask())
        await until(runner, run, events.MessageDelta)
        draining = asyncio.create_task(runner.drain(60))
        hold.set()
        await draining
        assert (await runner.get(run.id, "owner")).output == "I think"


async def test_what_a_killed_process_left_open_is_told_as_interrupted_with_its_text(tmp_path):
    url = new_url(tmp_path / "state.db")
    database = await Database.open(url)
    model = ScriptedModel([[TextDelta("half an ans"), asyncio.Event()]])
    async with open_runner(model, database=database) as runner:
        run = await runner.start(ask(session_id="s"))
        queued = await runner.start(ask("and this?", session_id="s"))
        await until(runner, run, events.MessageDelta)
        await database.write(lambda conn: conn.exec_driver_sql("SELECT 1"))
        copy = copy_of(tmp_path / "state.db", tmp_path / "copy.db")  # what a kill would leave behind
    await database.close()
    left = await Database.open(copy)
    async with open_runner(ScriptedModel([]), database=left) as runner:
        assert (await runner.recover()).interrupted == 2
        reason = "the server stopped while it ran"
        assert [event.name for event in await told(runner, run)] == ["run.started", "message.delta", "run.interrupted"]
        assert (await runner.get(run.id, "owner")).status is RunStatus.INTERRUPTED
        assert await told(runner, queued) == [events.RunInterrupted(reason)]
        assert [message.text for message in await said(runner, "s")] == ["hello", "half an ans", "and this?"]
        assert await left.read(run_store.open_runs) == []
    await left.close()


async def test_a_client_tool_that_hides_the_server_s_wins_with_a_warning():
    theirs = ToolSpec("echo", "the client's", {"type": "object"})
    model = ScriptedModel([calls(("1", "echo", "{}"))])
    tool = EchoTool()
    async with open_runner(model, tool) as runner:
        run = await runner.start(ask(client_tools=(theirs,)))
        happened = await told(runner, run)
        assert events.Warned("the client's tool 'echo' hides the server's") in happened
        assert events.ClientToolCalled("echo", "1", "{}") in happened
        assert tool.ran == []
        assert model.requests[0].tools == (theirs,)


async def test_the_answer_to_a_client_call_goes_on_where_the_session_stands():
    theirs = ToolSpec("theirs", "the client's", {"type": "object"})
    model = ScriptedModel([calls(("1", "echo", '{"text": "a"}'), ("2", "theirs", "{}")), says("Done.")])
    async with open_runner(model, EchoTool()) as runner:
        await told(runner, await runner.start(ask(session_id="s", client_tools=(theirs,))))
        answer = Message("tool", "42", tool_call_id="2", name="theirs")
        await told(runner, await runner.start(ask(messages=(answer,), session_id="s", client_tools=(theirs,))))
        asked = Message("assistant", "", (ToolCall("1", "echo", '{"text": "a"}'), ToolCall("2", "theirs", "{}")))
        own = Message("tool", "echo: a", tool_call_id="1", name="echo")
        assert [*model.requests[1].messages[1:]] == marked([Message("user", "hello"), asked, own, answer])


async def test_a_resent_history_gets_back_the_server_s_part_of_its_turns():
    theirs = ToolSpec("theirs", "the client's", {"type": "object"})
    own_call, mixed = ("1", "echo", '{"text": "a"}'), (("2", "echo", '{"text": "b"}'), ("3", "theirs", "{}"))
    model = ScriptedModel([calls(own_call), calls(*mixed), calls(("4", "theirs", "{}")), says("Done.")])
    async with open_runner(model, EchoTool()) as runner:
        options: dict[str, Any] = {"client_tools": (theirs,), "is_stateless": True}
        await told(runner, await runner.start(ask(history=(), **options)))
        user, sees = Message("user", "hello"), Message("assistant", "", (ToolCall("3", "theirs", "{}"),))
        answer = Message("tool", "42", tool_call_id="3", name="theirs")
        await told(runner, await runner.start(ask(messages=(answer,), history=(user, sees), **options)))
        sees_next = Message("assistant", "", (ToolCall("4", "theirs", "{}"),))
        answer_next = Message("tool", "43", tool_call_id="4", name="theirs")
        history = (user, sees, answer, sees_next)
        await told(runner, await runner.start(ask(messages=(answer_next,), history=history, **options)))
        whole = [
            user,
            Message("assistant", "", (ToolCall(*own_call),)),
            Message("tool", "echo: a", tool_call_id="1", name="echo"),
            Message("assistant", "", tuple(ToolCall(*call) for call in mixed)),
            Message("tool", "echo: b", tool_call_id="2", name="echo"),
            answer,
        ]
        assert [*model.requests[2].messages[1:]] == marked(whole)
        assert [*model.requests[3].messages[1:]] == marked([*whole, sees_next, answer_next])


async def test_a_run_whose_end_cannot_be_kept_does_not_take_the_others_with_it(tmp_path):
    database = await Database.open(new_url(tmp_path / "state.db"))
    hold = asyncio.Event()
    model = ScriptedModel([[hold, *says("lost")], says("kept")])
    async with open_runner(model, database=database) as runner:
        lost = await runner.start(ask())
        await anext(runner.follow(lost.id))
        await database.write(lambda conn: conn.exec_driver_sql("DELETE FROM sessions"))
        hold.set()
        with pytest.raises(HermesError):
            await told(runner, lost)
        assert isinstance((await told(runner, await runner.start(ask())))[-1], events.RunCompleted)
        assert runner.line.running == 0
    await database.close()


@pytest.mark.parametrize("part", [ImagePart("data:image/png;base64,AA=="), AudioPart("AA==", "wav")])
async def test_what_the_model_cannot_take_is_refused_before_anything_is_kept(part):
    model = ScriptedModel([], takes_images=False, takes_audio=False)
    async with open_runner(model) as runner:
        with pytest.raises(InvalidInput) as refused:
            await runner.start(ask(messages=(Message("user", (part,)),), session_id="s"))
        assert (refused.value.code, refused.value.param) == ("unsupported_content_type", "messages")
        assert await said(runner, "s") == []


async def test_a_drain_waits_for_a_run_that_is_just_being_kept():
    kept, go = threading.Event(), threading.Event()

    def slowly(conn: object, run: Run) -> None:
        kept.set()
        go.wait(10)

    async with open_runner(ScriptedModel([[asyncio.Event()]])) as runner:
        starting = asyncio.ensure_future(runner.start(ask(keep=(slowly,))))
        assert await asyncio.to_thread(kept.wait, 10)
        draining = asyncio.ensure_future(runner.drain(0.0))
        await asyncio.sleep(0.05)
        assert not draining.done()
        go.set()
        await draining
        assert (await told(runner, await starting))[-1].name == "run.interrupted"


async def test_a_run_of_which_something_cannot_be_read_is_told_as_interrupted_and_the_others_go_on(tmp_path: Path):
    database = await Database.open(new_url(tmp_path / "state.db"))
    never = asyncio.Event()
    async with open_runner(ScriptedModel([[never]] * 3), database=database) as runner:
        runs = [await runner.start(ask(is_durable=True)) for _ in range(3)]
        await runner.drain(0.0)
    of_another_version = {"run_id": runs[0].id, "seq": 2, "timestamp": 1.0, "name": "run.from_the_future", "data": "{}"}
    await database.write(lambda conn: Statement(insert(events_table).values(of_another_version)).run(conn, {}))
    async with open_runner(ScriptedModel([says("On.")] * 2), database=database) as runner:
        recovered = await runner.recover()
        assert (recovered.resumed, recovered.interrupted) == (2, 1)
        for run in runs[1:]:
            assert (await told(runner, run))[-1].name == "run.completed"
        assert (await runner.get(runs[0].id, "owner")).status is RunStatus.INTERRUPTED
    await database.close()


@pytest.mark.parametrize("is_durable", [False, True])
async def test_a_run_keeps_where_it_worked_and_the_model_it_asked_for(tmp_path: Path, is_durable: bool):
    async with open_runner(ScriptedModel([says("ok"), says("ok")])) as runner:
        with_folder = await runner.start(ask(workdir=str(tmp_path), model="fast", is_durable=is_durable))
        await told(runner, with_folder)
        without = await runner.start(ask(is_durable=is_durable))
        await told(runner, without)
        kept = [await runner.get(run.id, run.owner) for run in (with_folder, without)]
        assert [run.request for run in kept] == [{"workdir": str(tmp_path), "model": "fast"}, {}]
