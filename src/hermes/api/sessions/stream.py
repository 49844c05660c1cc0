"""What a run's events are in the stream of a session chat (spec: api-server section 6).

A pure function of the run's events: who reads the run again gets the same list. `seq` counts what is sent, from 1;
`ts` is the event's own time. All text of a turn belongs to one message, steps apart by an empty line; what
`assistant.completed` holds is the final text, as the session keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from hermes.api.chat.answer import failure
from hermes.api.errors import error_envelope, kept_envelope
from hermes.core import event as events
from hermes.core.errors import HermesError
from hermes.core.event import KeptEvent, event_data
from hermes.core.run import Run


def message_id(run: Run) -> str:
    return f"msg_{run.id.removeprefix('run_')}"


class SessionStream:
    """`event` gives an event's bytes (often none), `end` those of the final one. `is_whole`: text is held back and
    comes as one delta (streaming.enabled: false)."""

    def __init__(self, run: Run, user_text: str, *, is_whole: bool = False) -> None:
        self.run = run
        self.has_ended = False
        self._user_text = user_text
        self._is_whole = is_whole
        self._message_id = message_id(run)
        self._seq = 0
        self._tools: dict[str, events.ToolStarted] = {}
        self._warnings: list[str] = []
        self._said: list[str] = []
        self._said_before = ""
        self._has_text = False
        self._needs_break = False
        self._reasoned = False

    def event(self, kept: KeptEvent) -> bytes:
        event, at = kept.event, kept.timestamp
        match event:
            case events.RunStarted():
                return self._started(event, at)
            case events.MessageDelta(delta):
                self._said.append(delta)
                return b"" if self._is_whole else self._text(delta, at)
            case events.ReasoningDelta(delta):
                self._reasoned = True
                return self._of_message("reasoning.delta", at, {"delta": delta})
            case events.ReasoningAvailable(text):
                was_shown, self._reasoned = self._reasoned, False
                return b"" if was_shown else self._of_message("reasoning.delta", at, {"delta": text})
            case events.ToolStarted():
                return self._tool_started(event, at)
            case events.ToolCompleted():
                return self._tool_completed(event, at)
            case events.SubagentStarted() | events.SubagentCompleted():
                return self._of_message(event.name, at, event_data(event))
            case events.ApprovalRequested():
                return self._approval_requested(event, at)
            case events.ApprovalResponded(approval_id, choice, by, outcome):
                told = {"approval_id": approval_id, "choice": choice, "by": by, "outcome": outcome}
                return self._of_message("approval.responded", at, told)
            case events.ClarifyRequested(clarify_id, call_id, question, choices, expires_at):
                told = {"clarify_id": clarify_id, "tool_call_id": call_id, "question": question}
                more = {"choices": list(choices), "expires_at": expires_at}
                return self._of_message("clarify.request", at, {**told, **more})
            case events.ClarifyResponded(clarify_id, answer, by, outcome):
                told = {"clarify_id": clarify_id, "answer": answer, "by": by, "outcome": outcome}
                return self._of_message("clarify.responded", at, told)
            case events.RunSteered() | events.RunResumed():
                self._next_step()
                return b""
            case events.Warned(message):
                self._warnings.append(message)
                return b""
            case _:
                return b""

    def end(self, kept: KeptEvent, messages: Sequence[Mapping[str, Any]]) -> bytes:
        """`messages` are what the run added to the session."""
        self.has_ended = True
        at, final = kept.timestamp, kept.event
        if not isinstance(final, events.RunCompleted):
            return self._error(kept_envelope(failure(final)), at) + self._done(at)
        was_shown = not self._is_whole and (bool(self._said) or final.output in ("", self._said_before))
        said = b"" if was_shown or not final.output else self._text(final.output, at)
        answer = {"content": final.output, "completed": True, "partial": False, "interrupted": False}
        told = {
            "completed": True,
            "output": final.output,
            "finish_reason": final.finish_reason,
            "model": final.model or self.run.model,
            "usage": dict(final.usage),
            "messages": messages,
            "warnings": self._warnings,
        }
        return b"".join(
            [
                said,
                self._of_message("assistant.completed", at, answer),
                self._of_message("run.completed", at, told),
                self._done(at),
            ]
        )

    def broken(self, error: HermesError, at: float) -> bytes:
        """The stream's last words when it, not the run, has failed."""
        self.has_ended = True
        return self._error(error_envelope(error), at) + self._done(at)

    def _started(self, event: events.RunStarted, at: float) -> bytes:
        user = {"role": "user", "content": self._user_text}
        began = self._frame("run.started", at, {"user_message": user, "model": event.model})
        return began + self._frame("message.started", at, {"message": {"id": self._message_id, "role": "assistant"}})

    def _text(self, text: str, at: float) -> bytes:
        if self._needs_break:
            text = f"\n\n{text}"
            self._needs_break = False
        self._has_text = True
        return self._of_message("assistant.delta", at, {"delta": text})

    def _next_step(self) -> None:
        if self._said:
            self._said_before = "".join(self._said)
            self._said.clear()
        self._needs_break = self._has_text

    def _tool_started(self, event: events.ToolStarted, at: float) -> bytes:
        self._tools[event.tool_call_id] = event
        self._next_step()
        return self._of_message("tool.started", at, {**_tool(event), "preview": event.preview, "args": event.args})

    def _tool_completed(self, event: events.ToolCompleted, at: float) -> bytes:
        started = self._tools.pop(event.tool_call_id, None)
        told = {
            **_tool(started or event),
            "preview": event.preview,
            "args": started.args if started else {},
            "duration": event.duration,
            "error": event.error,
        }
        return self._of_message("tool.completed", at, told)

    def _approval_requested(self, event: events.ApprovalRequested, at: float) -> bytes:
        told = {
            "approval_id": event.approval_id,
            "request_id": event.approval_id,
            "tool": event.tool,
            "tool_name": event.tool,
            "tool_call_id": event.tool_call_id,
            "command": event.command,
            "description": event.description,
            "choices": list(event.choices),
            "allow_permanent": event.allow_permanent,
            "expires_at": event.expires_at,
            "subagent_id": event.subagent_id,
        }
        return self._of_message("approval.request", at, told)

    def _error(self, envelope: dict[str, Any], at: float) -> bytes:
        error = envelope["error"]
        return self._of_message("error", at, {"message": error["message"], "code": error["code"], "error": error})

    def _done(self, at: float) -> bytes:
        return self._frame("done", at, {})

    def _of_message(self, name: str, at: float, fields: Mapping[str, Any]) -> bytes:
        return self._frame(name, at, {"message_id": self._message_id, **fields})

    def _frame(self, name: str, at: float, fields: Mapping[str, Any]) -> bytes:
        self._seq += 1
        about = {"session_id": self.run.session_id, "run_id": self.run.id, "seq": self._seq, "ts": at}
        data = orjson.dumps({**about, **fields}, default=dict)
        return b"event: " + name.encode("ascii") + b"\ndata: " + data + b"\n\n"


def _tool(event: events.ToolStarted | events.ToolCompleted) -> dict[str, Any]:
    emoji, label = (event.emoji, event.label) if isinstance(event, events.ToolStarted) else ("", "")
    about = {"tool": event.tool, "tool_name": event.tool, "tool_call_id": event.tool_call_id}
    return {**about, "emoji": emoji, "label": label or event.tool}
