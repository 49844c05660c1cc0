"""One turn: instructions and history → model ↔ tools → events.

The loop knows no database and no HTTP. What happens goes into a `Sink`; a step starts only when what came before it
is recorded, so that the list of events and messages is always a place to go on from (DESIGN decision 5).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hermes.agent.calls import run_calls
from hermes.agent.compaction import Compaction, CompactionSettings, RecentSummaries, tokens_of_text
from hermes.agent.limits import Meter
from hermes.agent.marks import marked
from hermes.agent.tool_search import Shortlist
from hermes.core import event as events
from hermes.core.clock import Clock
from hermes.core.errors import LimitReached, UpstreamError
from hermes.core.event import RunCompleted
from hermes.core.message import Message
from hermes.core.model import (
    Model,
    ModelDone,
    ModelRequest,
    ModelRetried,
    ReasoningDelta,
    TextDelta,
    ToolSpec,
)
from hermes.core.ports import ApprovalGate, NoSteering, Sink, Steering, Summaries, Tool, ToolContext
from hermes.core.redact import Redactor
from hermes.core.run import Ask, Limits, Usage

ANSWER_TOKENS = 1_024
"""Left free in the model's window where the caller does not say how long the answer may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Everything one turn needs. `messages` are history and the new turn, without the instructions.

    `tools` are the server's own by name, of which the model is shown the `shortlist` (None: all of them);
    `client_tools` end the turn when the model calls them.
    `context` gives the context of one tool call by its id. `used` is what a resumed run has spent before, `beside`
    what the runs it delegated have, `open_step` where it stopped in the middle of its calls. `marks_results`: the model
    is shown what tools gave back in marked blocks. `doubts` about the folder's words are told first. `is_kept`: the
    messages are the session's own, and `summaries` may know what they were about.
    """

    run_id: str
    session_id: str
    model: Model
    instructions: str
    messages: Sequence[Message]
    gate: ApprovalGate
    clock: Clock
    context: Callable[[str], ToolContext]
    tools: Mapping[str, Tool] = field(default_factory=dict)
    shortlist: Shortlist | None = None
    client_tools: tuple[ToolSpec, ...] = ()
    tool_choice: str = "auto"
    params: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    ask: Ask = Ask.WAIT
    steering: Steering = field(default_factory=NoSteering)
    used: Usage = field(default_factory=Usage)
    beside: Callable[[], Usage] = Usage
    open_step: OpenStep | None = None
    redactor: Redactor = field(default_factory=Redactor)
    marks_results: bool = False
    doubts: Sequence[str] = ()
    is_kept: bool = False
    compaction: CompactionSettings = field(default_factory=CompactionSettings)
    summaries: Summaries = field(default_factory=RecentSummaries)


@dataclass(frozen=True, slots=True)
class OpenStep:
    """The step in which a run was interrupted: its model's answer and the results that its calls have.

    `announced` are the calls whose start was told; of `started` ones the outcome is unknown.
    """

    answer: Message
    results: tuple[Message, ...] = ()
    announced: frozenset[str] = frozenset()
    started: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class TurnResult:
    """How the turn ended. `last` is the message that is not recorded yet: it belongs beside the final event."""

    completed: RunCompleted
    last: Message | None
    last_usage: Usage
    usage: Usage


async def run_turn(turn: Turn, sink: Sink) -> TurnResult:
    """Run the turn to its end. Raises UpstreamError when the model fails; cancelling the task is the way to stop it.

    A limit is not an error: the turn ends with finish_reason `length`, a `run.warning`, and what was said so far.
    """
    meter = Meter(turn.limits, turn.clock, turn.used, turn.beside)
    if turn.doubts and turn.open_step is None:
        await sink.record(
            *(events.Warned(f"{doubt}: it is shown to the model as text from outside") for doubt in turn.doubts)
        )
    said = list(turn.messages)
    unfinished: list[str] = []
    deadline = asyncio.timeout(meter.seconds_left)
    try:
        async with deadline:
            return await _steps(turn, said, unfinished, meter, sink)
    except TimeoutError:
        if not deadline.expired():
            raise
        limit = meter.out_of_time()
    except LimitReached as reached:
        limit = reached
    await sink.record(events.Warned(limit.message))
    cut_off = Message("assistant", "".join(unfinished)) if unfinished else None
    own = said[len(turn.messages) :]
    output = cut_off.text if cut_off else next((m.text for m in reversed(own) if m.role == "assistant"), "")
    return TurnResult(_completed(output, "length", meter, turn.model), cut_off, Usage(), meter.usage)


async def _steps(turn: Turn, said: list[Message], unfinished: list[str], meter: Meter, sink: Sink) -> TurnResult:
    """`unfinished` holds the text of the answer that is being given, for when the time ends in the middle of it."""
    client_names = {spec.name for spec in turn.client_tools}
    compaction = _compaction(turn, said)
    tool_choice = turn.tool_choice
    step = turn.open_step
    if step is not None:
        said += (step.answer, *step.results)
        ended = await _finish_step(turn, step, said, client_names, meter, sink)
        if ended:
            finish = _completed(step.answer.text, "tool_calls", meter, turn.model)
            return TurnResult(finish, None, Usage(), meter.usage)
        tool_choice = "auto" if tool_choice != "none" else tool_choice
    while True:
        await _hear(turn.steering.take(), said, sink)
        meter.before_step()
        specs = _offered(turn, said)
        answer, done = await _ask_fitting(turn, compaction, said, unfinished, specs, tool_choice, meter, sink)
        unfinished.clear()
        said.append(answer)
        finish = _completed(answer.text, done.finish_reason, meter, turn.model, done.model)
        if not answer.tool_calls:
            steered = turn.steering.take()
            if not steered:
                return TurnResult(finish, answer, done.usage, meter.usage)
            await sink.record(answer, usage=done.usage)
            await _hear(steered, said, sink)  # said during the final text, a steer makes one more step
            continue
        await sink.record(answer, usage=done.usage)
        if await _finish_step(turn, OpenStep(answer), said, client_names, meter, sink):
            return TurnResult(replace(finish, finish_reason="tool_calls"), None, Usage(), meter.usage)
        tool_choice = "auto" if tool_choice != "none" else tool_choice  # a forced call is forced once, or it never ends


async def _finish_step(
    turn: Turn, step: OpenStep, said: list[Message], client_names: Collection[str], meter: Meter, sink: Sink
) -> bool:
    """Run the calls that have no result yet. True when calls are left that are the client's to run."""
    answered = {result.tool_call_id for result in step.results}
    own = [call for call in step.answer.tool_calls if call.name not in client_names and call.id not in answered]
    said.extend(await run_calls(turn, own, step, meter, sink))
    theirs = [call for call in step.answer.tool_calls if call.name in client_names]
    if theirs:
        told = (call for call in theirs if call.id not in step.announced)
        await sink.record(*(events.ClientToolCalled(call.name, call.id, call.arguments) for call in told))
    return bool(theirs)


def _offered(turn: Turn, said: Sequence[Message]) -> tuple[ToolSpec, ...]:
    """The tools that the next call of the model is told of."""
    own = turn.shortlist.offered(said) if turn.shortlist else tuple(tool.spec for tool in turn.tools.values())
    return (*own, *turn.client_tools)


def _compaction(turn: Turn, said: Sequence[Message]) -> Compaction:
    def overhead() -> int:
        specs = _offered(turn, said)
        schemas = sum(tokens_of_text(f"{spec.name}{spec.description}{spec.parameters}") for spec in specs)
        return schemas + tokens_of_text(turn.instructions)

    return Compaction(
        session_id=turn.session_id if turn.is_kept else None,
        model=turn.model,
        settings=turn.compaction,
        summaries=turn.summaries,
        overhead=overhead,
        reserve=turn.params.get("max_tokens") or ANSWER_TOKENS,
    )


async def _ask_fitting(
    turn: Turn,
    compaction: Compaction,
    said: Sequence[Message],
    text: list[str],
    specs: tuple[ToolSpec, ...],
    tool_choice: str,
    meter: Meter,
    sink: Sink,
) -> tuple[Message, ModelDone]:
    """As much of what was said as the model's window holds; less as often as it says that this was too much."""
    shown = await compaction.fit(said, meter, sink)
    while True:
        try:
            return await _ask_model(turn, shown, text, specs, tool_choice, meter, sink)
        except UpstreamError as error:
            if error.code != "context_length_exceeded" or text:
                raise
            less = await compaction.shrink(said, meter, sink)
            if less is None:
                raise
        shown = less


async def _ask_model(
    turn: Turn,
    said: Sequence[Message],
    text: list[str],
    specs: tuple[ToolSpec, ...],
    tool_choice: str,
    meter: Meter,
    sink: Sink,
) -> tuple[Message, ModelDone]:
    """`text` takes what the model says while it says it."""
    reasoning: list[str] = []
    done: ModelDone | None = None
    system = (Message("system", turn.instructions),) if turn.instructions else ()
    params = _within_budget(turn.params, meter)
    shown = marked(said) if turn.marks_results else said
    request = ModelRequest((*system, *shown), specs, tool_choice, params, turn.session_id)
    async for item in turn.model.stream(request):
        match item:
            case TextDelta(piece):
                text.append(piece)
                sink.delta(events.MessageDelta(piece))
            case ReasoningDelta(piece):
                reasoning.append(piece)
                sink.delta(events.ReasoningDelta(piece))
            case ModelRetried(reason, attempt, wait_seconds, model):
                await sink.record(events.ModelRetrying(reason, attempt, wait_seconds, model))
            case ModelDone():
                done = item
    if done is None:
        raise UpstreamError(f"The model {turn.model.name} ended its answer without saying why.")
    meter.add(done.usage)
    thought = "".join(reasoning)
    notes: list[events.RunEvent] = [events.Warned(warning) for warning in done.warnings]
    if done.ignored_params:
        notes.append(
            events.Warned(f"Not honoured by {done.model or turn.model.name}: {', '.join(done.ignored_params)}")
        )
    if thought:
        notes.append(events.ReasoningAvailable(thought))
    if notes:
        await sink.record(*notes)
    return Message("assistant", "".join(text) or done.refusal or "", done.tool_calls, reasoning=thought), done


def _within_budget(params: Mapping[str, Any], meter: Meter) -> Mapping[str, Any]:
    left = meter.tokens_left
    if left is None:
        return params
    return {**params, "max_tokens": min(left, params.get("max_tokens") or left)}


async def _hear(steered: Sequence[Message], said: list[Message], sink: Sink) -> None:
    for message in steered:
        said.append(message)
        await sink.record(events.RunSteered(message.text), message)


def _completed(output: str, finish_reason: str, meter: Meter, model: Model, answered: str = "") -> RunCompleted:
    """`answered`: the name of the one that did. Of a fallback, what it takes is not known here."""
    window = model.context_length if answered in ("", model.name) else None
    return RunCompleted(output, usage_data(meter.usage), finish_reason, answered or model.name, window)


def usage_data(usage: Usage) -> dict[str, Any]:
    """Usage as it stands in events and answers."""
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "api_calls": usage.api_calls,
        "cost_usd": usage.cost_usd,
    }
