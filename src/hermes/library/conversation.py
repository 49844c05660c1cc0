"""What a conversation gives back, as published, and how a failed run becomes an exception again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypedDict

from hermes.core import event as events
from hermes.core.errors import Busy, HermesError, LimitReached, UpstreamError
from hermes.core.event import FinalEvent
from hermes.core.run import Run


class Conversation(TypedDict):
    """`messages` is the whole conversation in OpenAI's format, without the agent's own instructions: hand it back as
    `conversation_history`. `completed` is False when it failed, was interrupted, or ended at a limit; then
    `final_response` is what was said until then. `error` and `error_code` are None unless `failed`.
    `cost_usd` is None where the model's price is unknown."""

    final_response: str
    messages: list[dict[str, Any]]
    completed: bool
    failed: bool
    interrupted: bool
    error: str | None
    error_code: str | None
    finish_reason: str | None
    warnings: list[str]
    model: str
    session_id: str
    run_id: str
    api_calls: int
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_usd: float | None


class RunStopped(HermesError):
    """`chat` was ended by `interrupt` or `close`. `said` is the text that had come until then."""

    code = "run_cancelled"

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = said


def conversation(
    run: Run, final: FinalEvent, messages: list[dict[str, Any]], warnings: list[str], said: str
) -> Conversation:
    usage = final.usage if not isinstance(final, events.RunInterrupted) else {}
    error = final.error if isinstance(final, events.RunFailed) else {}
    finish_reason = final.finish_reason if isinstance(final, events.RunCompleted) else None
    return {
        "final_response": final.output if isinstance(final, events.RunCompleted) else said,
        "messages": messages,
        "completed": finish_reason is not None and finish_reason != "length",
        "failed": isinstance(final, events.RunFailed),
        "interrupted": isinstance(final, events.RunCancelled | events.RunInterrupted),
        "error": error.get("message"),
        "error_code": error.get("code"),
        "finish_reason": finish_reason,
        "warnings": warnings,
        "model": (final.model if isinstance(final, events.RunCompleted) else "") or run.model,
        "session_id": run.session_id,
        "run_id": run.id,
        "api_calls": usage.get("api_calls", 0),
        "input_tokens": usage.get("input_tokens", 0),
        "output_tokens": usage.get("output_tokens", 0),
        "total_tokens": usage.get("total_tokens", 0),
        "cache_read_tokens": usage.get("cache_read_tokens", 0),
        "cache_write_tokens": usage.get("cache_write_tokens", 0),
        "reasoning_tokens": usage.get("reasoning_tokens", 0),
        "cost_usd": usage.get("cost_usd"),
    }


def problem(final: FinalEvent, told: Conversation, max_steps: int) -> HermesError | None:
    """What `chat` raises: a text alone could not show that it is not the whole answer."""
    match final:
        case events.RunFailed(error):
            return error_from_data(error)
        case events.RunCancelled(reason) | events.RunInterrupted(reason):
            return RunStopped(reason or "stopped", told["final_response"])
        case events.RunCompleted() if told["finish_reason"] == "length" and told["api_calls"] >= max_steps:
            message = next(iter(told["warnings"][-1:]), f"The run stopped at its limit max_steps={max_steps}.")
            return LimitReached(message, limit="max_steps")
    return None


def error_from_data(data: Mapping[str, Any]) -> HermesError:
    """The inverse of `hermes.runs.runner.error_data`, as far as a kept error says what it was."""
    message, code = str(data.get("message") or "the run failed"), str(data.get("code") or "internal_error")
    kind = next((kind for kind in _kinds(HermesError) if kind.code == code), HermesError)
    retry_after = data.get("retry_after")
    if issubclass(kind, UpstreamError):
        return kind(message, status=data.get("upstream_status"), retry_after_seconds=retry_after)
    if issubclass(kind, RunStopped):
        return RunStopped(message)
    if issubclass(kind, Busy):
        return kind(message, retry_after_seconds=retry_after or 1.0)
    if issubclass(kind, LimitReached):
        return kind(message, limit=str(data.get("param") or ""))
    return kind(message, param=data.get("param")) if kind is not HermesError else HermesError(message, code=code)


def _kinds(root: type[HermesError]) -> Iterator[type[HermesError]]:
    for kind in (root, *root.__subclasses__()):
        if kind is root:
            yield kind
        else:
            yield from _kinds(kind)
