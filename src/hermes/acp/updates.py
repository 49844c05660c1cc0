"""The events of a run as the updates an editor is sent. The same list gives the same updates, live and when a session
is loaded again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acp import schema

from hermes.acp import tools
from hermes.acp.content import text_block
from hermes.core import event as events
from hermes.core.event import RunEvent, ToolStarted
from hermes.core.todo import TodoStatus
from hermes.toolsets.todo import read_back

Update = (
    schema.UserMessageChunk
    | schema.AgentMessageChunk
    | schema.AgentThoughtChunk
    | schema.ToolCallStart
    | schema.ToolCallProgress
    | schema.AgentPlanUpdate
    | schema.SessionInfoUpdate
    | schema.UsageUpdate
    | schema.CurrentModeUpdate
    | schema.ConfigOptionUpdate
)

ResultOf = Callable[[str], Awaitable[str]]
"""The result that the model was given, by the id of its call; empty where it is in no message. Called once for each, in
the order of completion."""
Before = Callable[[str], Mapping[Path, str | None]]
"""What was in the files that a call was about to write whole, where that is known."""

_PLAN: dict[TodoStatus, schema.PlanEntryStatus] = {
    TodoStatus.PENDING: "pending",
    TodoStatus.IN_PROGRESS: "in_progress",
    TodoStatus.COMPLETED: "completed",
}


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call that was announced. `id` is unique in its session, as the protocol wants it; a model may use its ids
    again."""

    id: str
    started: ToolStarted


class Projection:
    """The updates of one run. `workdir` is where relative paths of its tools start."""

    def __init__(
        self, run_id: str, workdir: Path, result_of: ResultOf, before: Before = lambda tool_call_id: {}
    ) -> None:
        self._run_id = run_id
        self._workdir = workdir
        self._result_of = result_of
        self._before = before
        self._open: dict[str, Call] = {}
        self._subagents: dict[str, dict[int, str]] = {}
        self._calls = 0
        self._messages = 1

    async def of(self, event: RunEvent) -> list[Update]:
        match event:
            case events.MessageDelta(text):
                return [self._said(text)]
            case events.ReasoningDelta(text):
                return [self._thought(text)]
            case events.ToolStarted():
                return [self._started(event)]
            case events.ToolCompleted(tool_call_id=call_id) if call_id in self._open:
                return await self._completed(self._open.pop(call_id), event)
            case events.SubagentStarted(tool_call_id=call_id) if call_id in self._open:
                return [self._subagent(self._open[call_id], event.index, f"… {event.goal}")]
            case events.SubagentCompleted(tool_call_id=call_id) if call_id in self._open:
                told = event.error or event.summary
                return [self._subagent(self._open[call_id], event.index, f"{event.status}: {told}")]
            case events.ClientToolCalled(tool, call_id, arguments):
                started = ToolStarted(tool, call_id, "", {"arguments": arguments})
                return [self._started(started), self._progress(self._open.pop(call_id), "completed")]
            case events.ApprovalRequested() | events.ClarifyRequested() if event.tool_call_id in self._open:
                return [self._progress(self._open[event.tool_call_id], "pending")]
            case events.RunSteered(text):
                self._messages += 1
                return [user_chunk(text_block(text), f"{self._run_id}:user:{self._messages}")]
            case events.Warned(message):
                return [self._note(message)]
            case events.ModelRetrying(reason=reason, wait_seconds=seconds, model=model):
                return [self._note(f"{reason}; asking {model} again in {seconds:.1f} s")]
            case events.ContextCompacted(tokens_before=before, tokens_after=after):
                return [self._note(f"The model is shown the session in short: about {before:,} tokens, now {after:,}.")]
        if events.is_final(event):
            left, self._open = self._open, {}
            return [self._progress(call, "failed") for call in left.values()]
        return []

    def call(self, tool_call_id: str) -> Call | None:
        """One that was announced and has no result yet."""
        return self._open.get(tool_call_id)

    def asked(self, request: events.ClarifyRequested) -> schema.ToolCallUpdate:
        """The call with which the model asks something."""
        call = self._open.get(request.tool_call_id)
        return schema.ToolCallUpdate(
            tool_call_id=call.id if call is not None else f"{self._run_id}:{request.clarify_id}",
            title=request.question,
            kind="think",
            status="pending",
        )

    def question(self, request: events.ApprovalRequested) -> schema.ToolCallUpdate:
        """A call that waits for an answer, with what a person needs to judge it."""
        call = self._open.get(request.tool_call_id)
        told = tools.text_content(f"{request.description}\n\n```\n{request.command}\n```")
        if call is None:
            return schema.ToolCallUpdate(
                tool_call_id=f"{self._run_id}:{request.approval_id}", title=request.tool, content=[told]
            )
        started = call.started
        return schema.ToolCallUpdate(
            tool_call_id=call.id,
            title=tools.title_of(started),
            kind=tools.kind_of(started.tool),
            status="pending",
            content=[told, *self._diffs(call)],
            locations=tools.locations_of(started.tool, started.args, self._workdir),
            raw_input=dict(started.args),
        )

    def _said(self, text: str) -> Update:
        return schema.AgentMessageChunk(
            session_update="agent_message_chunk",
            content=text_block(text),
            message_id=f"{self._run_id}:{self._messages}",
        )

    def _thought(self, text: str) -> Update:
        return schema.AgentThoughtChunk(
            session_update="agent_thought_chunk",
            content=text_block(text),
            message_id=f"{self._run_id}:thought:{self._messages}",
        )

    def _note(self, text: str) -> Update:
        """Something that is not the model's own: in a message of its own, among the thoughts."""
        self._messages += 1
        note = self._thought(text)
        self._messages += 1
        return note

    def _started(self, started: ToolStarted) -> Update:
        self._calls += 1
        self._messages += 1
        call = Call(f"{self._run_id}:call:{self._calls}", started)
        self._open[started.tool_call_id] = call
        return schema.ToolCallStart(
            session_update="tool_call",
            tool_call_id=call.id,
            title=tools.title_of(started),
            kind=tools.kind_of(started.tool),
            status="in_progress",
            locations=tools.locations_of(started.tool, started.args, self._workdir),
            raw_input=dict(started.args),
        )

    def _subagent(self, call: Call, index: int, line: str) -> Update:
        """Content takes the place of what was there: a line for each of the call's sub-agents."""
        lines = self._subagents.setdefault(call.id, {})
        lines[index] = line
        text = "\n".join(f"{number + 1}. {lines[number]}" for number in sorted(lines))
        return self._progress(call, "in_progress", [tools.text_content(text)])

    async def _completed(self, call: Call, event: events.ToolCompleted) -> list[Update]:
        result, error = await self._result_of(call.started.tool_call_id), event.error
        content: list[tools.Content] = list(self._diffs(call)) if error is None else []
        told: list[Update] = []
        if not content and (shown := result or error or event.preview):
            content = [tools.text_content(shown)]
        if error is None and result and call.started.tool == "todo":
            told.append(_plan(result))
        return [self._progress(call, "failed" if error is not None else "completed", content), *told]

    def _diffs(self, call: Call) -> list[tools.Diff]:
        started = call.started
        return tools.diffs_of(started.tool, started.args, self._workdir, self._before(started.tool_call_id))

    def _progress(
        self, call: Call, status: schema.ToolCallStatus, content: list[tools.Content] | None = None
    ) -> Update:
        return schema.ToolCallProgress(
            session_update="tool_call_update", tool_call_id=call.id, status=status, content=content or None
        )


def user_chunk(block: Any, message_id: str) -> schema.UserMessageChunk:
    return schema.UserMessageChunk(session_update="user_message_chunk", content=block, message_id=message_id)


def _plan(result: str) -> schema.AgentPlanUpdate:
    """The list of the `todo` tool; what was given up is no part of a plan."""
    entries = [
        schema.PlanEntry(content=todo.content, priority="medium", status=_PLAN[todo.status])
        for todo in read_back(result)
        if todo.status in _PLAN
    ]
    return schema.AgentPlanUpdate(session_update="plan", entries=entries)
