"""The loop with a scripted model and tools that count: whole lists of what it emitted."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hermes.agent.turn import Turn, TurnResult, run_turn
from hermes.core import event as events
from hermes.core.clock import SystemClock
from hermes.core.errors import StreamCut, ToolFailed
from hermes.core.event import RunEvent, event_data, event_from_data
from hermes.core.message import Message, ToolCall
from hermes.core.model import ModelDone, ModelRetried, ReasoningDelta, TextDelta, ToolSpec
from hermes.core.ports import Action, ActionKind, ToolContext, ToolResult
from hermes.core.run import Limits, Usage
from hermes.core.untrusted import mark
from tests.support.clock import FakeClock
from tests.support.models import ONE_CALL, ScriptedModel, calls, says
from tests.support.tools import EchoTool

HELLO = Message("user", "hello")


class Collected:
    """A sink that keeps the order of everything."""

    def __init__(self) -> None:
        self.items: list[RunEvent | Message] = []

    def delta(self, event: RunEvent) -> None:
        self.items.append(event)

    async def starting(self, tool_call_id: str) -> None:
        pass

    async def record(self, *items: RunEvent | Message, usage: Usage | None = None) -> None:
        await asyncio.sleep(0)
        self.items.extend(items)


class OpenGate:
    """Lets everything pass but what says `forbidden`."""

    async def check(self, *, action: Any, **_: Any) -> None:
        if "forbidden" in action.text:
            raise ToolFailed("denied by the user")


class Heard:
    def __init__(self, *rounds: tuple[Message, ...]) -> None:
        self.rounds = list(rounds)

    def take(self) -> tuple[Message, ...]:
        return self.rounds.pop(0) if self.rounds else ()


def turn(model: ScriptedModel, *tools: EchoTool, **options: Any) -> Turn:
    def context(tool_call_id: str) -> ToolContext:
        return ToolContext("s", "r", tool_call_id, Path("/"), None, SystemClock(), {}, {})

    settings: dict[str, Any] = {
        "run_id": "r",
        "session_id": "s",
        "model": model,
        "instructions": "Be brief.",
        "messages": [HELLO],
        "gate": OpenGate(),
        "clock": FakeClock(),
        "context": context,
        "tools": {tool.name: tool for tool in tools},
    }
    return Turn(**{**settings, **options})


def completed(output: str, api_calls: int = 1, finish_reason: str = "stop") -> events.RunCompleted:
    usage = {
        "input_tokens": 10 * api_calls,
        "output_tokens": 5 * api_calls,
        "total_tokens": 15 * api_calls,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
        "api_calls": api_calls,
        "cost_usd": None,
    }
    return events.RunCompleted(output, usage, finish_reason, "scripted")


def started(call_id: str, text: str, tool: str = "echo") -> events.ToolStarted:
    return events.ToolStarted(tool, call_id, text, {"text": text}, "🔌", tool)


async def test_a_plain_answer_is_its_deltas_and_an_end_that_is_not_recorded_twice():
    model, sink = ScriptedModel([says("Hel", "lo.")]), Collected()
    result = await run_turn(turn(model), sink)
    assert sink.items == [events.MessageDelta("Hel"), events.MessageDelta("lo.")]
    assert result == TurnResult(completed("Hello."), Message("assistant", "Hello."), ONE_CALL, ONE_CALL)
    assert model.requests[0].messages == (Message("system", "Be brief."), HELLO)


@pytest.mark.parametrize(("answers", "window"), [("scripted", 8000), ("fallback", None)])
async def test_the_end_says_what_the_model_takes_that_answered(answers: str, window: int | None):
    last = ModelDone("stop", usage=ONE_CALL, model=answers)
    model = ScriptedModel([[TextDelta("Hello."), last]], context_length=8000)
    finish = (await run_turn(turn(model), Collected())).completed
    assert (finish.model, finish.context_window) == (answers, window)
    assert event_from_data(finish.name, event_data(finish)) == finish
    assert ("context_window" in event_data(finish)) is (window is not None)


async def test_a_tool_call_is_recorded_announced_run_and_told_to_the_model():
    tool = EchoTool()
    model = ScriptedModel([calls(("c1", "echo", '{"text": "x"}'), text="Let me see."), says("Done.")])
    sink = Collected()
    result = await run_turn(turn(model, tool), sink)
    asked = Message("assistant", "Let me see.", (ToolCall("c1", "echo", '{"text": "x"}'),))
    told = Message("tool", "echo: x", tool_call_id="c1", name="echo")
    assert sink.items == [
        events.MessageDelta("Let me see."),
        asked,
        started("c1", "x"),
        told,
        events.ToolCompleted("echo", "c1", 0.0, None, "echo: x"),
        events.MessageDelta("Done."),
    ]
    assert result.completed == completed("Done.", api_calls=2)
    assert model.requests[1].messages == (Message("system", "Be brief."), HELLO, asked, told)


async def test_what_is_kept_and_told_is_plain_and_what_the_model_is_shown_is_marked():
    model = ScriptedModel([calls(("c1", "echo", '{"text": "x"}')), says("Done.")])
    sink = Collected()
    await run_turn(turn(model, EchoTool(), marks_results=True), sink)
    told = Message("tool", "echo: x", tool_call_id="c1", name="echo")
    assert told in sink.items and events.ToolCompleted("echo", "c1", 0.0, None, "echo: x") in sink.items
    assert model.requests[1].messages[-1] == replace(told, content=mark("echo", "echo: x"))


async def test_half_a_character_in_a_result_does_not_end_the_run():
    async def works(text: str) -> str:
        return "tea \ud800"

    model, sink = ScriptedModel([calls(("c1", "echo", '{"text": "x"}')), says("Done.")]), Collected()
    await run_turn(turn(model, EchoTool(works=works)), sink)
    assert Message("tool", "tea ?", tool_call_id="c1", name="echo") in sink.items
    assert events.ToolCompleted("echo", "c1", 0.0, None, "tea ?") in sink.items


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (("c", "nope", "{}"), "There is no tool 'nope'. The tools are: echo."),
        (("c", "echo", "{not json"), "text: JSONDecodeError"),
        (("c", "echo", '{"text": "forbidden"}'), "denied by the user"),
        (("c", "echo", '{"text": "raise"}'), "echo failed inside the server; its log says why."),
    ],
)
async def test_a_call_that_cannot_run_is_told_to_the_model_and_in_the_events(call: tuple[str, str, str], error: str):
    async def works(text: str) -> str:
        raise ValueError(text)

    tool = EchoTool(is_dangerous=True, works=works)
    model, sink = ScriptedModel([calls(call), says("I see.")]), Collected()
    await run_turn(turn(model, tool), sink)
    kinds = [type(item).__name__ for item in sink.items]
    assert kinds == ["Message", "ToolStarted", "Message", "ToolCompleted", "MessageDelta"]
    end = sink.items[3]
    assert isinstance(end, events.ToolCompleted) and end.error is not None and end.error.startswith(error)
    assert model.requests[1].messages[-1].text.startswith(error)


async def test_calls_that_write_take_their_turns_in_the_order_of_the_step():
    order: list[str] = []

    async def works(text: str) -> str:
        order.append(f"{text} begins")
        await asyncio.sleep(0)
        order.append(f"{text} ends")
        return text

    model = ScriptedModel([calls(("1", "echo", '{"text": "a"}'), ("2", "echo", '{"text": "b"}')), says("ok")])
    await run_turn(turn(model, EchoTool(works=works)), Collected())
    assert order == ["a begins", "a ends", "b begins", "b ends"]
    assert [message.tool_call_id for message in model.requests[1].messages[-2:]] == ["1", "2"]


class Walker(EchoTool):
    """Goes somewhere else with its first call, as a terminal does with `cd`."""

    place = "work"

    def action(self, arguments: dict[str, Any], context: ToolContext) -> Action:
        return Action(ActionKind.COMMAND, f"{arguments['text']} in {self.place}")

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        await asyncio.sleep(0)
        self.ran.append(f"{arguments['text']} in {self.place}")
        self.place = "a forbidden place"
        return ToolResult("done")


async def test_a_call_is_judged_again_when_one_of_its_step_made_something_else_of_it():
    tool = Walker("terminal")
    model = ScriptedModel(
        [
            calls(("c1", "terminal", '{"text": "cd away"}'), ("c2", "terminal", '{"text": "rm -rf *"}')),
            says("Done."),
        ]
    )
    sink = Collected()

    await run_turn(turn(model, tool), sink)

    assert tool.ran == ["cd away in work"]
    assert [item.content for item in sink.items if isinstance(item, Message) and item.role == "tool"] == [
        "done",
        "denied by the user",
    ]


async def test_a_client_tool_ends_the_turn_and_the_server_s_part_of_the_step_is_kept():
    model = ScriptedModel([calls(("1", "echo", '{"text": "a"}'), ("2", "theirs", '{"q": 1}'))])
    sink = Collected()
    theirs = ToolSpec("theirs", "the client's", {"type": "object"})
    result = await run_turn(turn(model, EchoTool(), client_tools=(theirs,)), sink)
    assert sink.items[1:] == [
        started("1", "a"),
        Message("tool", "echo: a", tool_call_id="1", name="echo"),
        events.ToolCompleted("echo", "1", 0.0, None, "echo: a"),
        events.ClientToolCalled("theirs", "2", '{"q": 1}'),
    ]
    assert (result.completed, result.last) == (completed("", finish_reason="tool_calls"), None)


async def test_a_forced_tool_is_forced_once():
    model = ScriptedModel([calls(("1", "echo", '{"text": "a"}')), says("ok")])
    await run_turn(turn(model, EchoTool(), tool_choice="echo"), Collected())
    assert [request.tool_choice for request in model.requests] == ["echo", "auto"]


async def test_the_step_limit_ends_the_turn_as_length_with_a_warning():
    answers = [calls((str(n), "echo", '{"text": "again"}'), text=f"Step {n}.") for n in range(3)]
    sink = Collected()
    result = await run_turn(turn(ScriptedModel([*answers]), EchoTool(), limits=Limits(max_steps=3)), sink)
    assert result.completed == completed("Step 2.", api_calls=3, finish_reason="length")
    assert sink.items[-1] == events.Warned("The run stopped at its limit max_steps=3: 3 calls of the model were made.")


async def test_the_token_limit_bounds_the_next_answer():
    model = ScriptedModel([calls(("1", "echo", '{"text": "a"}')), says("ok")])
    limits = Limits(max_tokens=40)
    await run_turn(turn(model, EchoTool(), limits=limits, params={"max_tokens": 30}), Collected())
    assert [request.params["max_tokens"] for request in model.requests] == [30, 25]


async def test_a_hanging_model_ends_at_the_time_limit():
    model = ScriptedModel([[TextDelta("I thi"), asyncio.Event()]])
    sink = Collected()
    result = await run_turn(turn(model, limits=Limits(max_seconds=0.05)), sink)
    assert result.completed.finish_reason == "length"
    assert [type(item) for item in sink.items] == [events.MessageDelta, events.Warned]
    assert (result.completed.output, result.last) == ("I thi", Message("assistant", "I thi")), "it was said"


async def test_a_time_out_of_the_model_s_own_is_not_taken_for_the_limit():
    with pytest.raises(TimeoutError):
        await run_turn(turn(ScriptedModel([[TimeoutError()]])), Collected())


async def test_a_tool_that_is_not_there_is_told_with_all_that_are_the_client_s_too():
    model = ScriptedModel([calls(("1", "nope", "{}")), says("Oh.")])
    theirs = ToolSpec("weather", "", {"type": "object"})
    await run_turn(turn(model, EchoTool(), client_tools=(theirs,)), Collected())
    assert model.requests[1].messages[-1].text == "There is no tool 'nope'. The tools are: echo, weather."


async def test_a_steer_is_heard_before_the_next_call_and_after_the_final_text():
    one, two = Message("user", "use b"), Message("user", "wait")
    model = ScriptedModel([calls(("1", "echo", '{"text": "a"}')), says("Done."), says("Really done.")])
    sink = Collected()
    await run_turn(turn(model, EchoTool(), steering=Heard((), (one,), (two,))), sink)
    assert [item for item in sink.items if isinstance(item, events.RunSteered)] == [
        events.RunSteered("use b"),
        events.RunSteered("wait"),
    ]
    assert model.requests[1].messages[-1] == one
    assert model.requests[2].messages[-2:] == (Message("assistant", "Done."), two)


async def test_reasoning_retries_and_what_was_not_honoured_are_told():
    done = ModelDone("stop", usage=ONE_CALL, model="scripted", ignored_params=("seed",))
    model = ScriptedModel([[ModelRetried("HTTP 500", 1, 0.5, "scripted"), ReasoningDelta("hm"), TextDelta("ok"), done]])
    sink = Collected()
    result = await run_turn(turn(model), sink)
    assert sink.items == [
        events.ModelRetrying("HTTP 500", 1, 0.5, "scripted"),
        events.ReasoningDelta("hm"),
        events.MessageDelta("ok"),
        events.Warned("Not honoured by scripted: seed"),
        events.ReasoningAvailable("hm"),
    ]
    assert result.last == Message("assistant", "ok", reasoning="hm")


async def test_a_failed_model_is_raised_and_not_told_as_an_answer():
    with pytest.raises(StreamCut):
        await run_turn(turn(ScriptedModel([[TextDelta("I thi"), StreamCut("gone")]])), Collected())


async def test_cancelling_reaches_the_tools():
    ended = asyncio.Event()
    began = asyncio.Event()

    async def works(text: str) -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return text

    model = ScriptedModel([calls(("1", "echo", '{"text": "a"}'))])
    task = asyncio.create_task(run_turn(turn(model, EchoTool(works=works)), Collected()))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
