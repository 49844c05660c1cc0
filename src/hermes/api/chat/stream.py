"""What a run's events are as chat completion chunks, in bytes (spec: api-server section 3, stream).

The hot path: everything but the delta is made once a stream. Named events carry the fields of a chunk beside their
own, because most SDKs ignore the event's name and parse every data line as a chunk.
"""

from __future__ import annotations

from typing import Any, Literal

import orjson

from hermes.api.chat import answer as chat_answer
from hermes.api.errors import error_envelope, kept_envelope
from hermes.api.sse import DONE
from hermes.core import event as events
from hermes.core.errors import HermesError
from hermes.core.event import RunEvent
from hermes.core.run import Run

_EMPTY_CHOICE: list[dict[str, Any]] = [{"index": 0, "delta": {}, "finish_reason": None}]
_END = b'},"finish_reason":null}]}\n\n'


class ChatStream:
    """`first` opens the stream; `event` gives an event's bytes (often none); `has_ended` once it was the final one.

    `is_whole`: text is held back and comes as one chunk (streaming.enabled: false). `tool_progress`: as named events,
    or as markdown in the text.
    """

    def __init__(
        self,
        run: Run,
        model: str,
        *,
        include_usage: bool = False,
        is_whole: bool = False,
        tool_progress: Literal["events", "inline"] = "events",
    ) -> None:
        self.run = run
        self.has_ended = False
        self._is_whole = is_whole
        self._is_inline = tool_progress == "inline"
        self._include_usage = include_usage
        self._head: dict[str, Any] = {
            "id": chat_answer.completion_id(run),
            "object": "chat.completion.chunk",
            "created": int(run.created_at),
            "model": model,
        }
        self._prefix = b"data: " + orjson.dumps(self._head)[:-1] + b',"choices":[{"index":0,"delta":{'
        self._content = self._prefix + b'"content":'
        self._tools: dict[str, events.ToolStarted] = {}
        self._client_calls = 0
        self._said: list[str] = []
        self._said_before = ""
        self._has_text = False
        self._needs_break = False
        self._reasoned = False

    def first(self) -> bytes:
        return self._prefix + b'"role":"assistant","content":""' + _END

    def event(self, event: RunEvent) -> bytes:
        match event:
            case events.MessageDelta(delta):
                return b"" if self._is_whole else self._delta(delta)
            case events.ReasoningDelta(delta):
                self._reasoned = True
                return self._reasoning(delta)
            case events.ReasoningAvailable(text):
                was_shown, self._reasoned = self._reasoned, False
                return b"" if was_shown else self._reasoning(text)
            case events.ToolStarted():
                return self._tool_started(event)
            case events.ToolCompleted():
                return self._tool_completed(event)
            case events.SubagentStarted() | events.SubagentCompleted():
                return self._subagent(event)
            case events.ClientToolCalled():
                return self._client_call(event)
            case events.ApprovalRequested():
                return self._approval_requested(event)
            case events.ApprovalResponded():
                return self._approval_responded(event)
            case events.ClarifyRequested():
                return self._clarify_requested(event)
            case events.ClarifyResponded():
                return self._clarify_responded(event)
            case events.Warned(message):
                return self._named("hermes.warning", {"message": message})
            case events.RunSteered() | events.RunResumed():
                self._next_step()
                return b""
            case events.RunCompleted():
                return self._completed(event)
            case events.RunFailed() | events.RunCancelled() | events.RunInterrupted():
                self.has_ended = True
                return b"data: " + orjson.dumps(kept_envelope(chat_answer.failure(event))) + b"\n\n"
            case _:
                return b""

    def error(self, error: HermesError) -> bytes:
        """The stream's last words when it, not the run, has failed. No [DONE] follows."""
        self.has_ended = True
        return b"data: " + orjson.dumps(error_envelope(error)) + b"\n\n"

    def _delta(self, text: str) -> bytes:
        self._said.append(text)
        return self._text(text)

    def _text(self, text: str) -> bytes:
        if self._needs_break:
            text = f"\n\n{text}"
            self._needs_break = False
        self._has_text = True
        return self._content + orjson.dumps(text) + _END

    def _reasoning(self, text: str) -> bytes:
        return self._prefix + b'"reasoning_content":' + orjson.dumps(text) + _END

    def _next_step(self) -> None:
        """The texts of two steps are two paragraphs."""
        if self._said:
            self._said_before = "".join(self._said)
            self._said.clear()
        self._needs_break = self._has_text

    def _tool_started(self, event: events.ToolStarted) -> bytes:
        self._tools[event.tool_call_id] = event
        self._next_step()
        if self._is_inline:
            if self._is_whole:
                return b""
            line = " ".join(f"{event.emoji} {event.preview}".replace("`", "'").split())
            said = self._text(f"`{line}`")
            self._needs_break = True
            return said
        return self._progress(event, {"status": "running", "preview": event.preview})

    def _tool_completed(self, event: events.ToolCompleted) -> bytes:
        if self._is_inline:
            return b""
        started = self._tools.pop(event.tool_call_id, None)
        told: dict[str, Any] = {
            "status": "completed" if event.error is None else "failed",
            "duration": event.duration,
            "preview": event.preview,
        }
        if event.error is not None:
            told["error"] = event.error
        return self._progress(started or event, told)

    def _progress(self, event: events.ToolStarted | events.ToolCompleted, told: dict[str, Any]) -> bytes:
        emoji, label = (event.emoji, event.label) if isinstance(event, events.ToolStarted) else ("", "")
        about = {"tool": event.tool, "emoji": emoji, "label": label or event.tool, "toolCallId": event.tool_call_id}
        return self._named("hermes.tool.progress", {**about, **told})

    def _subagent(self, event: events.SubagentStarted | events.SubagentCompleted) -> bytes:
        """One more line of progress, under the child run's id."""
        if self._is_inline:
            return b""
        about = {"tool": "subagent", "emoji": "👥", "label": "Sub-agent", "toolCallId": event.subagent_id}
        if isinstance(event, events.SubagentStarted):
            return self._named("hermes.tool.progress", {**about, "status": "running", "preview": event.goal})
        told = {"status": "completed", "duration": event.duration, "preview": event.summary}
        if event.error is not None:
            told |= {"status": "failed", "error": event.error}
        return self._named("hermes.tool.progress", {**about, **told})

    def _client_call(self, event: events.ClientToolCalled) -> bytes:
        index, self._client_calls = self._client_calls, self._client_calls + 1
        call = {
            "index": index,
            "id": event.tool_call_id,
            "type": "function",
            "function": {"name": event.tool, "arguments": event.arguments},
        }
        return self._prefix + b'"tool_calls":' + orjson.dumps([call]) + _END

    def _approval_requested(self, event: events.ApprovalRequested) -> bytes:
        fields = {
            "approval_id": event.approval_id,
            "run_id": self.run.id,
            "tool": event.tool,
            "toolCallId": event.tool_call_id,
            "command": event.command,
            "description": event.description,
            "approval_choices": list(event.choices),  # `choices` is the chunk's own
            "allow_permanent": event.allow_permanent,
            "expires_at": event.expires_at,
            "subagent_id": event.subagent_id,
        }
        return self._named("hermes.approval.request", fields)

    def _approval_responded(self, event: events.ApprovalResponded) -> bytes:
        fields = {
            "approval_id": event.approval_id,
            "run_id": self.run.id,
            "choice": event.choice,
            "by": event.by,
            "outcome": event.outcome,
        }
        return self._named("hermes.approval.responded", fields)

    def _clarify_requested(self, event: events.ClarifyRequested) -> bytes:
        fields = {
            "clarify_id": event.clarify_id,
            "run_id": self.run.id,
            "toolCallId": event.tool_call_id,
            "question": event.question,
            "clarify_choices": list(event.choices),  # `choices` is the chunk's own
            "expires_at": event.expires_at,
        }
        return self._named("hermes.clarify.request", fields)

    def _clarify_responded(self, event: events.ClarifyResponded) -> bytes:
        fields = {
            "clarify_id": event.clarify_id,
            "run_id": self.run.id,
            "answer": event.answer,
            "by": event.by,
            "outcome": event.outcome,
        }
        return self._named("hermes.clarify.responded", fields)

    def _completed(self, event: events.RunCompleted) -> bytes:
        self.has_ended = True
        was_shown = bool(self._said) or event.output in ("", self._said_before)
        text = b"" if was_shown else self._text(event.output)
        usage = chat_answer.usage(event.usage)
        choice = {"index": 0, "delta": {}, "finish_reason": event.finish_reason}
        last = b"data: " + orjson.dumps({**self._head, "choices": [choice], "usage": usage}) + b"\n\n"
        if self._include_usage:
            last += b"data: " + orjson.dumps({**self._head, "choices": [], "usage": usage}) + b"\n\n"
        return text + last + DONE

    def _named(self, name: str, fields: dict[str, Any]) -> bytes:
        data = orjson.dumps({**self._head, "choices": _EMPTY_CHOICE, **fields})
        return b"event: " + name.encode("ascii") + b"\ndata: " + data + b"\n\n"
