"""What a run's events are as one chat completion: a pure function, so that a repeated request gets the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from starlette.responses import Response

from hermes.api import headers as names
from hermes.api.answers import JsonAnswer
from hermes.api.errors import kept_error_response
from hermes.core import event as events
from hermes.core.event import RunEvent
from hermes.core.run import Run, RunRequest


def chat_answer(run: Run, request: RunRequest, happened: Sequence[RunEvent], model: str) -> Response:
    """`happened` ends with the run's final event."""
    headers = answer_headers(run, request, warnings(happened))
    final = happened[-1]
    if not isinstance(final, events.RunCompleted):
        used_tools = any(isinstance(event, events.ToolStarted) for event in happened)
        return kept_error_response(failure(final), used_tools=used_tools, headers=headers)
    calls = [event for event in happened if isinstance(event, events.ClientToolCalled)]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if calls and not final.output else final.output,
        "refusal": None,
    }
    reasoning = "\n\n".join(event.text for event in happened if isinstance(event, events.ReasoningAvailable))
    if reasoning:
        message["reasoning_content"] = reasoning
    if calls:
        message["tool_calls"] = [
            {"id": call.tool_call_id, "type": "function", "function": {"name": call.tool, "arguments": call.arguments}}
            for call in calls
        ]
    body = {
        "id": completion_id(run),
        "object": "chat.completion",
        "created": int(run.created_at),
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": final.finish_reason}],
        "usage": usage(final.usage),
    }
    return JsonAnswer(body, headers=headers)


def completion_id(run: Run) -> str:
    return f"chatcmpl-{run.id.removeprefix('run_')}"


def answer_headers(run: Run, request: RunRequest, told: Iterable[str]) -> dict[str, str]:
    headers = {names.SESSION_ID: run.session_id, names.RUN_ID: run.id}
    if request.session_key is not None:
        headers[names.SESSION_KEY] = request.session_key
    headers.update(names.warnings_header((*request.warnings, *told)))
    if run.is_replay:
        headers[names.IDEMPOTENCY_REPLAYED] = "true"
    return headers


def warnings(happened: Iterable[RunEvent]) -> list[str]:
    """What was not done as asked, and what was denied with nobody there to ask."""
    told: list[str] = []
    commands: dict[str, events.ApprovalRequested] = {}
    for event in happened:
        match event:
            case events.Warned(message):
                told.append(message)
            case events.ApprovalRequested():
                commands[event.approval_id] = event
            case events.ApprovalResponded(outcome="timeout" | "policy", choice="deny", by=None):
                asked = commands.get(event.approval_id)
                what = f"{asked.tool} ({asked.description})" if asked else "a tool call"
                why = "nobody answered in time" if event.outcome == "timeout" else "nobody could be asked"
                told.append(f"{what} was denied: {why}")
            case _:
                pass
    return told


def usage(kept: Mapping[str, Any]) -> dict[str, Any]:
    """`Usage` as a mapping → OpenAI's usage."""
    prompt, completion = int(kept.get("input_tokens") or 0), int(kept.get("output_tokens") or 0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": int(kept.get("cache_read_tokens") or 0), "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": int(kept.get("reasoning_tokens") or 0),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def failure(final: RunEvent) -> Mapping[str, Any]:
    """The error that a run which did not complete ends with, in the form of `RunFailed.error`."""
    match final:
        case events.RunFailed(error):
            return error
        case events.RunCancelled(reason):
            return {"message": f"The run was stopped{f': {reason}' if reason else ''}.", "code": "run_cancelled"}
        case events.RunInterrupted(reason):
            return {"message": f"The run was interrupted: {reason}.", "code": "run_interrupted"}
        case _:
            return {"message": f"The run ended with {final.name}.", "code": "internal_error"}
