"""The response object of the public API, from a run and the fields of its request."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hermes.api.chat.answer import failure
from hermes.core import event as events
from hermes.core.event import RunEvent
from hermes.core.run import Run
from hermes.store import responses as response_store
from hermes.store.database import Database

RESPONSE_PREFIX = "resp_"

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


@dataclass(frozen=True, slots=True)
class End:
    """How a response ended. `event` is the name of the stream's last event."""

    status: str
    event: str
    error: Mapping[str, Any] | None = None
    incomplete: str | None = None
    usage: Mapping[str, Any] | None = None


def run_suffix(run_id: str) -> str:
    """What the ids of a response and its items share with the run's."""
    return run_id.removeprefix("run_")


def response_id(run_id: str) -> str:
    return f"{RESPONSE_PREFIX}{run_suffix(run_id)}"


def response_object(
    run: Run,
    fields: Mapping[str, Any],
    output: Sequence[Mapping[str, Any]],
    *,
    status: str,
    previous: str | None = None,
    end: End | None = None,
    ended_at: float | None = None,
) -> dict[str, Any]:
    """`fields` are the kept ones of `ResponseCall`; what is not among them has the default of the public API."""
    text = fields.get("text", {})
    conversation = fields.get("conversation")
    return {
        "id": response_id(run.id),
        "object": "response",
        "created_at": int(run.created_at),
        "completed_at": int(ended_at) if ended_at is not None and status == "completed" else None,
        "status": status,
        "error": _error(end.error) if end is not None and end.error is not None else None,
        "incomplete_details": {"reason": end.incomplete} if end is not None and end.incomplete else None,
        "instructions": fields.get("instructions"),
        "model": fields["model"],
        "output": list(output),
        "previous_response_id": previous,
        "conversation": {"id": conversation} if conversation is not None else None,
        "tools": [_tool(tool) for tool in fields.get("tools", ())],
        "tool_choice": fields.get("tool_choice", "auto"),
        "parallel_tool_calls": fields.get("parallel_tool_calls", True),
        "max_tool_calls": fields.get("max_tool_calls"),
        "max_output_tokens": fields.get("max_output_tokens"),
        "temperature": fields.get("temperature", 1.0),
        "top_p": fields.get("top_p", 1.0),
        "presence_penalty": fields.get("presence_penalty", 0.0),
        "frequency_penalty": fields.get("frequency_penalty", 0.0),
        "top_logprobs": fields.get("top_logprobs", 0),
        "text": {"format": {"type": "text"}, **text},
        "reasoning": {"effort": fields.get("reasoning"), "summary": None},
        "truncation": fields.get("truncation", "disabled"),
        "service_tier": "default",
        "store": fields.get("store", True),
        "background": fields.get("background", False),
        "usage": usage_object(end.usage) if end is not None and end.usage else None,
        "metadata": fields.get("metadata", {}),
        "safety_identifier": fields.get("safety_identifier"),
        "prompt_cache_key": fields.get("prompt_cache_key"),
        "user": fields.get("user"),
    }


def end_of(final: RunEvent) -> End:
    """A run's final event in the words of a response."""
    match final:
        case events.RunCompleted(usage=usage, finish_reason=reason) if reason in _INCOMPLETE:
            return End("incomplete", "response.incomplete", None, _INCOMPLETE[reason], usage)
        case events.RunCompleted(usage=usage):
            return End("completed", "response.completed", usage=usage)
        case events.RunCancelled(usage=usage):
            return End("cancelled", "response.incomplete", usage=usage)
        case events.RunFailed(usage=usage):
            return End("failed", "response.failed", failure(final), usage=usage)
        case _:
            return End("failed", "response.failed", failure(final))


def usage_object(kept: Mapping[str, Any]) -> dict[str, Any]:
    """`Usage` as a mapping → the responses API's usage."""
    told, said = int(kept.get("input_tokens") or 0), int(kept.get("output_tokens") or 0)
    return {
        "input_tokens": told,
        "input_tokens_details": {
            "cached_tokens": int(kept.get("cache_read_tokens") or 0),
            "cache_write_tokens": int(kept.get("cache_write_tokens") or 0),
        },
        "output_tokens": said,
        "output_tokens_details": {"reasoning_tokens": int(kept.get("reasoning_tokens") or 0)},
        "total_tokens": told + said,
    }


class ToolOutputs:
    """What the tools of one run gave, read from the session when their events come by. Events hold only its head."""

    def __init__(self, database: Database, run: Run) -> None:
        self._database = database
        self._run = run
        self._place = 0
        self._waiting: defaultdict[str, deque[str]] = defaultdict(deque)

    async def fetch(self, happened: Sequence[RunEvent]) -> None:
        """Call it before `take` with the events that are about to be shown: a result is kept before its event."""
        if not any(isinstance(event, events.ToolCompleted) for event in happened):
            return
        run = self._run
        for output in await self._database.read(response_store.tool_outputs, run.session_id, run.id, self._place):
            self._place = output.place
            self._waiting[output.tool_call_id].append(output.content)

    def take(self, event: events.ToolCompleted) -> str:
        """Some models use an id again: the results of one id come in the order of its calls."""
        waiting = self._waiting[event.tool_call_id]
        return waiting.popleft() if waiting else event.error or event.preview


def _error(error: Mapping[str, Any]) -> dict[str, Any]:
    return {"code": str(error.get("code") or "internal_error"), "message": str(error.get("message", ""))}


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "function",
        "name": tool["name"],
        "description": tool.get("description"),
        "parameters": tool.get("parameters"),
        "strict": tool.get("strict"),
    }
