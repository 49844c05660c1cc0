"""The calls of one step: each is announced, judged by the gate, run, and told with its outcome.

Those that a tool makes by itself (`execute_code`) go the same way, one after the other, inside its own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hermes.agent.history import LOST
from hermes.agent.limits import Meter
from hermes.core import event as events
from hermes.core.errors import LimitReached, ToolFailed
from hermes.core.message import Message, ToolCall
from hermes.core.model import Model
from hermes.core.ports import Action, Sink, Tool, ToolContext, ToolResult
from hermes.core.run import Usage
from hermes.core.toolset import Risk, info_of

if TYPE_CHECKING:
    from hermes.agent.turn import OpenStep, Turn

log = logging.getLogger(__name__)

PREVIEW_CHARACTERS = 200
DENIED_WITHOUT_A_PERSON = frozenset({"approval_denied_by_policy", "approval_blocked"})
"""Codes of a gate's refusal that nobody was asked about: the caller learns of it too (spec: api-server section 3)."""


async def run_calls(turn: Turn, calls: Sequence[ToolCall], step: OpenStep, meter: Meter, sink: Sink) -> list[Message]:
    """Run the calls of one step side by side; those that write or run take their turns, in the order of the step."""
    if not calls:
        return []
    prepared = [_prepare(turn, call, is_lost=call.id in step.started) for call in calls]
    await sink.record(*(call.started for call in prepared if call.call.id not in step.announced))
    writing = asyncio.Lock()
    account = _Account(turn.model, meter, sink)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_run_call(turn, call, writing, account)) for call in prepared]
    return [task.result() for task in tasks]


@dataclass(frozen=True, slots=True)
class _Prepared:
    call: ToolCall
    started: events.ToolStarted
    tool: Tool | None
    arguments: Any
    problem: str | None


def _prepare(turn: Turn, call: ToolCall, *, is_lost: bool = False) -> _Prepared:
    info = info_of(call.name)
    emoji, label = (info.emoji, info.label) if info else ("🔌", call.name)
    tool = turn.tools.get(call.name)
    if is_lost and not (tool is not None and tool.is_idempotent):
        return _Prepared(call, events.ToolStarted(call.name, call.id, call.name, {}, emoji, label), None, None, LOST)
    if tool is None:
        known = ", ".join(sorted({*turn.tools, *(spec.name for spec in turn.client_tools)})) or "none"
        started = events.ToolStarted(call.name, call.id, call.name, {}, emoji, label)
        return _Prepared(call, started, None, None, f"There is no tool {call.name!r}. The tools are: {known}.")
    try:
        arguments = tool.parse(call.arguments)
    except ToolFailed as failed:
        started = events.ToolStarted(call.name, call.id, call.name, {}, emoji, label)
        return _Prepared(call, started, tool, None, failed.message)
    preview, args = tool.preview(arguments), turn.redactor.value(arguments_data(arguments))
    started = events.ToolStarted(call.name, call.id, preview, args, emoji, label)
    return _Prepared(call, started, tool, arguments, None)


def arguments_data(arguments: Any) -> dict[str, Any]:
    """Parsed arguments as JSON values, for the event; what was left at its default is left out."""
    dump = getattr(arguments, "model_dump", None)
    return dump(mode="json", exclude_unset=True) if dump else dict(arguments)


async def _run_call(turn: Turn, prepared: _Prepared, writing: asyncio.Lock, account: _Account) -> Message:
    call = prepared.call
    began = turn.clock.monotonic()
    result = await _result(turn, prepared, writing, account, _Calls(turn, call, account))
    message = Message("tool", result.content, tool_call_id=call.id, name=call.name)
    await account.sink.record(message, _completed_call(turn, call, began, result))
    return message


async def _result(
    turn: Turn, prepared: _Prepared, writing: asyncio.Lock, account: _Account, calls: _Calls | None
) -> ToolResult:
    """What the call gave, as text that can be stored and sent: half a character, which JSON and some encodings can
    carry, is in none of it."""
    result = await _given(turn, prepared, writing, account, calls)
    return replace(result, content=_encodable(result.content), preview=_encodable(result.preview))


async def _given(
    turn: Turn, prepared: _Prepared, writing: asyncio.Lock, account: _Account, calls: _Calls | None
) -> ToolResult:
    if prepared.tool is None or prepared.problem is not None:
        return ToolResult(prepared.problem or "", is_error=True)
    context = replace(turn.context(prepared.call.id), account=account, calls=calls)
    try:
        judged = await _judge(turn, prepared.tool, prepared, context, account)
        info = info_of(prepared.call.name)
        only_reads = getattr(prepared.tool, "only_reads", info is not None and info.risk is Risk.READ)
        in_turn: AbstractAsyncContextManager[Any] = nullcontext() if only_reads else writing
        async with in_turn:
            # What ran before it, of this step, may have changed what it does: `cd /` makes another `rm -rf *` of it.
            if prepared.tool.action(prepared.arguments, context) != judged:
                await _judge(turn, prepared.tool, prepared, context, account)
            if not prepared.tool.is_idempotent and calls is not None:  # one made by a tool is lost with that tool's
                await account.sink.starting(prepared.call.id)
            return await prepared.tool.run(prepared.arguments, context)
    except ToolFailed as failed:
        if failed.code in DENIED_WITHOUT_A_PERSON:
            await account.sink.record(events.Warned(f"{prepared.call.name} was denied: {failed.message}"))
        return ToolResult(failed.message, is_error=True)
    except Exception:
        # A fault of ours in one tool is told to the model and to the log; it does not end the conversation.
        log.exception("tool %s failed", prepared.call.name)
        return ToolResult(f"{prepared.call.name} failed inside the server; its log says why.", is_error=True)


async def _judge(turn: Turn, tool: Tool, prepared: _Prepared, context: ToolContext, account: _Account) -> Action | None:
    """What the gate let pass. Raises ToolFailed with its reason."""
    action = tool.action(prepared.arguments, context)
    if action is not None:
        await turn.gate.check(
            tool=prepared.call.name,
            tool_call_id=prepared.call.id,
            action=action,
            run_id=turn.run_id,
            session_id=turn.session_id,
            ask=turn.ask,
            account=account,
        )
    return action


def _completed_call(turn: Turn, call: ToolCall, began: float, result: ToolResult) -> events.ToolCompleted:
    duration = round(turn.clock.monotonic() - began, 3)
    error = (first_line(result.content) or "failed") if result.is_error else None
    return events.ToolCompleted(call.name, call.id, duration, error, result.preview or first_line(result.content))


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


class _Calls:
    """`core.ports.Calls` for one call of a tool. It has its turn to write already, so those that it makes need none."""

    def __init__(self, turn: Turn, call: ToolCall, account: _Account) -> None:
        self._turn, self._call, self._account = turn, call, account

    @property
    def names(self) -> Mapping[str, Sequence[str]]:
        specs = {name: tool.spec for name, tool in self._turn.tools.items()}
        return {name: tuple(spec.parameters.get("properties", ())) for name, spec in specs.items()}

    async def call(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        # No id comes twice, not even where a model uses one again: an approval of this call must not speak for another.
        call = ToolCall(f"{self._call.id}.{secrets.token_hex(4)}", name, json.dumps(arguments))
        prepared = _prepare(self._turn, call)
        await self._account.sink.record(prepared.started)
        began = self._turn.clock.monotonic()
        result = await _result(self._turn, prepared, asyncio.Lock(), self._account, None)
        await self._account.sink.record(_completed_call(self._turn, call, began, result))
        return result


@dataclass(frozen=True, slots=True)
class _Account:
    """`core.ports.Account` of one turn."""

    model: Model
    meter: Meter
    sink: Sink

    def may_spend(self) -> bool:
        try:
            self.meter.before_call()
        except LimitReached:
            return False
        return True

    async def spent(self, usage: Usage) -> None:
        self.meter.add(usage, is_step=False)
        await self.sink.record(usage=usage)

    async def happened(self, *what: events.RunEvent) -> None:
        await self.sink.record(*what)


def first_line(text: str) -> str:
    line = text.lstrip().split("\n", 1)[0]
    return line if len(line) <= PREVIEW_CHARACTERS else line[: PREVIEW_CHARACTERS - 1] + "…"
