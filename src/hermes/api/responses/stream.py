"""A run's events as the items and stream events of the responses API (docs/adr/0061).

A pure function of the run, the kept fields and the list of events: whoever reads it again, from wherever, gets the
same events with the same numbers and ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from hermes.api.errors import error_envelope
from hermes.api.responses.answer import End, ToolOutputs, end_of, response_object, run_suffix
from hermes.core import event as events
from hermes.core.errors import HermesError
from hermes.core.event import KeptEvent, RunEvent, event_data, is_final
from hermes.core.run import Run, RunStatus

SERVER_LABEL = "hermes"

Event = dict[str, Any]


@dataclass(slots=True)
class _Spoken:
    """The message or the reasoning that is under way."""

    index: int
    kind: str
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class ResponseStream:
    """`first` opens the stream; `event` gives what an event of the run is to a client, often nothing; `response` is
    the object as it stands.
    """

    def __init__(self, run: Run, fields: Mapping[str, Any], outputs: ToolOutputs, previous: str | None = None) -> None:
        self.run = run
        self.has_ended = False
        self._fields = fields
        self._outputs = outputs
        self._previous = previous
        self._uses_mcp_call = fields.get("tool_items") == "mcp_call"
        self._is_whole = bool(fields.get("is_whole"))
        self._suffix = run_suffix(run.id)
        self._status = "queued" if _had_to_wait(run) else "in_progress"
        self._number = 0
        self._output: list[dict[str, Any]] = []
        self._spoken: _Spoken | None = None
        self._running: dict[str, list[int]] = {}
        self._call_ids: dict[str, list[str]] = {}
        self._said: list[str] = []
        self._said_before = ""
        self._has_reasoned = False
        self._told: set[str] = set()
        self._end: End | None = None
        self._ended_at: float | None = None

    @property
    def has_completed(self) -> bool:
        return self._status == "completed"

    def first(self) -> list[Event]:
        ours = {"event": "run.created", "run_id": self.run.id, "session_id": self.run.session_id}
        created = self._emit("response.created", response=self.response(), hermes=ours)
        if self._status == "queued":
            return [created, self._emit("response.queued", response=self.response())]
        return [created]

    def response(self) -> dict[str, Any]:
        return response_object(
            self.run,
            self._fields,
            self._output if self._spoken is None else self._with_spoken(self._spoken),
            status=self._status,
            previous=self._previous,
            end=self._end,
            ended_at=self._ended_at,
        )

    def event(self, kept: KeptEvent) -> list[Event]:
        match kept.event:
            case events.MessageDelta(delta):
                self._said.append(delta)
                return self._say("message", delta)
            case events.ReasoningDelta(delta):
                self._has_reasoned = True
                return self._say("reasoning", delta)
            case events.ReasoningAvailable(text):
                was_shown, self._has_reasoned = self._has_reasoned, False
                return [] if was_shown else [*self._say("reasoning", text), *self._close()]
            case events.ToolStarted() as started:
                self._next_step()
                return [*self._close(), *(self._mcp_started(started) if self._uses_mcp_call else self._called(started))]
            case events.ToolCompleted() as completed:
                shown = self._mcp_completed(completed) if self._uses_mcp_call else self._answered(completed)
                return [*self._close(), *shown]
            case events.ClientToolCalled(name, call_id, arguments):
                return [*self._close(), *self._function_call(name, call_id, arguments)]
            case events.RunStarted():
                self._status = "in_progress"
                return [self._emit("response.in_progress", response=self.response())]
            case events.RunSteered():
                self._next_step()
                return self._close()
            case events.RunResumed():  # what it was saying is lost: the next item says it anew
                self._next_step()
                return [*self._close("incomplete"), self._ours(kept.event)]
            case events.Warned(message):
                return self._warned(kept.event, message)
            case events.ApprovalRequested() | events.ApprovalResponded():
                return [self._ours(kept.event)]
            case events.ClarifyRequested() | events.ClarifyResponded():
                return [self._ours(kept.event)]
            case events.SubagentStarted() | events.SubagentCompleted():
                return [self._ours(kept.event)]
            case event if is_final(event):
                return self._final(event, kept.timestamp)
            case _:
                return []

    def error(self, error: HermesError) -> Event:
        """The stream's last words when it, not the run, has failed."""
        self.has_ended = True
        told = error_envelope(error)["error"]
        flat = {name: told[name] for name in ("code", "message", "param")}
        return self._emit("error", error=told, **flat)

    def _emit(self, kind: str, **fields: Any) -> Event:
        number, self._number = self._number, self._number + 1
        return {"type": kind, "sequence_number": number, **fields}

    def _ours(self, event: RunEvent) -> Event:
        """What the public API has no event for: one that every client knows, with ours beside it (docs/adr/0062)."""
        ours = {"event": event.name, "run_id": self.run.id, **event_data(event)}
        kind = "response.queued" if self._status == "queued" else "response.in_progress"
        return self._emit(kind, response=self.response(), hermes=ours)

    def _warned(self, event: RunEvent, message: str) -> list[Event]:
        if message in self._told:
            return []
        self._told.add(message)
        return [self._ours(event)]

    def _next_step(self) -> None:
        if self._said:
            self._said_before = "".join(self._said)
            self._said.clear()
        self._has_reasoned = False

    def _add(self, item: dict[str, Any]) -> tuple[int, Event]:
        self._output.append(item)
        index = len(self._output) - 1
        return index, self._emit("response.output_item.added", output_index=index, item=dict(item))

    def _done(self, index: int) -> Event:
        return self._emit("response.output_item.done", output_index=index, item=self._output[index])

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{self._suffix}_{len(self._output)}"

    def _say(self, kind: str, text: str) -> list[Event]:
        if self._spoken is not None and self._spoken.kind == kind:
            self._spoken.pieces.append(text)
            return [] if self._is_whole else [self._delta(self._spoken, text)]
        shown = [*self._close(), *self._open(kind)]
        assert self._spoken is not None
        self._spoken.pieces.append(text)
        return shown if self._is_whole else [*shown, self._delta(self._spoken, text)]

    def _open(self, kind: str) -> list[Event]:
        if kind == "message":
            item: dict[str, Any] = {"type": "message", "id": self._id("msg"), "status": "in_progress"}
            item |= {"role": "assistant", "content": []}
        else:
            item = {"type": "reasoning", "id": self._id("rs"), "status": "in_progress", "summary": [], "content": []}
        index, added = self._add(item)
        self._spoken = _Spoken(index, kind)
        part = self._emit("response.content_part.added", **self._place(index), part=_part(kind, ""))
        return [added, part]

    def _delta(self, spoken: _Spoken, text: str) -> Event:
        if spoken.kind == "message":
            return self._emit("response.output_text.delta", **self._place(spoken.index), delta=text, logprobs=[])
        return self._emit("response.reasoning_text.delta", **self._place(spoken.index), delta=text)

    def _close(self, status: str = "completed") -> list[Event]:
        """Ends the message or the reasoning that is under way."""
        spoken, self._spoken = self._spoken, None
        if spoken is None:
            return []
        place, text = self._place(spoken.index), spoken.text
        item = self._output[spoken.index]
        item["status"], item["content"] = status, [_part(spoken.kind, text)]
        late = [self._delta(spoken, text)] if self._is_whole else []
        if spoken.kind == "message":
            done = self._emit("response.output_text.done", **place, text=text, logprobs=[])
        else:
            done = self._emit("response.reasoning_text.done", **place, text=text)
        part = self._emit("response.content_part.done", **place, part=item["content"][0])
        return [*late, done, part, self._done(spoken.index)]

    def _place(self, index: int) -> dict[str, Any]:
        return {"item_id": self._output[index]["id"], "output_index": index, "content_index": 0}

    def _with_spoken(self, spoken: _Spoken) -> list[dict[str, Any]]:
        """The items with what was said so far of the one that is under way."""
        output = self._output[:]
        output[spoken.index] = {**output[spoken.index], "content": [_part(spoken.kind, spoken.text)]}
        return output

    def _called(self, started: events.ToolStarted) -> list[Event]:
        call_id = started.tool_call_id
        used = self._call_ids.setdefault(call_id, [])
        shown = (
            call_id if not used else f"{call_id}_{len(used) + 1}"
        )  # clients take an id that comes twice for an error
        used.append(shown)
        return self._function_call(started.tool, shown, _arguments(started))

    def _answered(self, completed: events.ToolCompleted) -> list[Event]:
        used = self._call_ids.get(completed.tool_call_id) or [completed.tool_call_id]
        answered = self._running.setdefault(completed.tool_call_id, [])
        call_id = used[min(len(answered), len(used) - 1)]
        answered.append(len(self._output))
        item = {"type": "function_call_output", "id": self._id("fco"), "call_id": call_id}
        index, added = self._add({**item, "output": self._outputs.take(completed), "status": "completed"})
        return [added, self._done(index)]

    def _function_call(self, name: str, call_id: str, arguments: str) -> list[Event]:
        item = {"type": "function_call", "id": self._id("fc"), "call_id": call_id, "name": name}
        index, added = self._add({**item, "arguments": "", "status": "in_progress"})
        self._output[index] = {**item, "arguments": arguments, "status": "completed"}
        place = {"item_id": item["id"], "output_index": index}
        delta = self._emit("response.function_call_arguments.delta", **place, delta=arguments)
        done = self._emit("response.function_call_arguments.done", **place, name=name, arguments=arguments)
        return [added, delta, done, self._done(index)]

    def _mcp_started(self, started: events.ToolStarted) -> list[Event]:
        arguments = _arguments(started)
        item = {
            "type": "mcp_call",
            "id": self._id("mcp"),
            "server_label": SERVER_LABEL,
            "name": started.tool,
            "arguments": "",
            "output": None,
            "error": None,
            "approval_request_id": None,
            "status": "in_progress",
        }
        index, added = self._add(item)
        self._output[index] = {**item, "arguments": arguments}
        self._running.setdefault(started.tool_call_id, []).append(index)
        place = {"item_id": item["id"], "output_index": index}
        return [
            added,
            self._emit("response.mcp_call.in_progress", **place),
            self._emit("response.mcp_call_arguments.delta", **place, delta=arguments),
            self._emit("response.mcp_call_arguments.done", **place, arguments=arguments),
        ]

    def _mcp_completed(self, completed: events.ToolCompleted) -> list[Event]:
        running = self._running.get(completed.tool_call_id)
        if not running:
            return []
        index = running.pop(0)
        output = self._outputs.take(completed)
        has_failed = completed.error is not None
        self._output[index] = {
            **self._output[index],
            "output": None if has_failed else output,
            "error": _mcp_error(output) if has_failed else None,
            "status": "failed" if has_failed else "completed",
        }
        kind = "response.mcp_call.failed" if has_failed else "response.mcp_call.completed"
        told = self._emit(kind, item_id=self._output[index]["id"], output_index=index)
        return [told, self._done(index)]

    def _final(self, event: RunEvent, ended_at: float) -> list[Event]:
        self.has_ended = True
        end = end_of(event)
        shown: list[Event] = []
        if isinstance(event, events.RunCompleted):
            was_shown = bool(self._said) or event.output in ("", self._said_before)
            shown += [] if was_shown else self._say("message", event.output)
        shown += self._close("completed" if end.status == "completed" else "incomplete")
        shown += self._give_up()
        self._end, self._status, self._ended_at = end, end.status, ended_at
        return [*shown, self._emit(end.event, response=self.response())]

    def _give_up(self) -> list[Event]:
        """Calls that the end of the run has overtaken."""
        open_calls = [i for i, item in enumerate(self._output) if item["status"] == "in_progress"]
        for index in open_calls:
            self._output[index] = {**self._output[index], "status": "incomplete"}
        return [self._done(index) for index in open_calls]


def sse_bytes(event: Event) -> bytes:
    kind: str = event["type"]
    return b"event: " + kind.encode("ascii") + b"\ndata: " + orjson.dumps(event) + b"\n\n"


def _had_to_wait(run: Run) -> bool:
    """Whether it was queued at first: one that began at once says so in the row it was kept with."""
    if run.started_at is None:
        return run.status is RunStatus.QUEUED or run.status.is_final
    return run.started_at > run.created_at


def _part(kind: str, text: str) -> dict[str, Any]:
    if kind == "message":
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "reasoning_text", "text": text}


def _arguments(started: events.ToolStarted) -> str:
    return orjson.dumps(dict(started.args)).decode()


def _mcp_error(text: str) -> dict[str, Any]:
    """The newer form with content, and the message that older clients read."""
    content = [{"type": "text", "text": text}]
    return {"type": "mcp_tool_execution_error", "content": content, "message": text}
