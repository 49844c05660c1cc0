"""An API server's events of a run → what they change in the conversation. Values in, values out.

An event of a kind that is not known here changes nothing: servers may tell more than Link needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from hermeslink.core.run import Progress, RunStatus
from hermeslink.hermes.events import RemoteEvent

MOST_IN_ONE = 16_384
"""Characters of one delta: a run that is caught up with comes in pieces, too."""
GAP = "\n\n"


@dataclass(frozen=True, slots=True)
class Said:
    kind: Literal["text", "reasoning"]
    piece: str
    index: int


@dataclass(frozen=True, slots=True)
class Rewound:
    """An answer was lost before it was whole and is given anew: what was said of it goes."""

    text_length: int
    reasoning_length: int


@dataclass(frozen=True, slots=True)
class Began:
    """The agent does something: `id` names it within the message, `type` is tool or subagent."""

    id: str
    type: str
    payload: Mapping[str, Any]
    at: float | None


@dataclass(frozen=True, slots=True)
class Finished:
    id: str
    type: str
    status: Literal["completed", "failed"]
    payload: Mapping[str, Any]
    at: float | None


@dataclass(frozen=True, slots=True)
class Noted:
    """Something to know about the answer: a warning, another attempt, a shortened history."""

    id: str
    type: str
    payload: Mapping[str, Any]
    at: float | None


@dataclass(frozen=True, slots=True)
class Asked:
    """`expires_at` in unix seconds. `details`: tool, command, reason and choices."""

    remote_id: str
    details: Mapping[str, Any]
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class Answered:
    """`outcome`: user, timeout or policy."""

    remote_id: str
    choice: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Questioned:
    """The model wants to know something of the person. `details`: question and choices, to which nobody is bound."""

    id: str
    details: Mapping[str, Any]
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class Replied:
    """`answer` None: nobody answered in time. `outcome`: user or timeout."""

    id: str
    answer: str | None
    outcome: str


@dataclass(frozen=True, slots=True)
class Ended:
    """`output` None: it said nothing more than was told. `error` has a code and a message."""

    status: RunStatus
    output: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    error: Mapping[str, str] | None = None
    context_window: int | None = None


Change = Said | Rewound | Began | Finished | Noted | Asked | Answered | Questioned | Replied | Ended


def project(progress: Progress, events: Iterable[RemoteEvent]) -> tuple[Progress, list[Change]]:
    """Nothing counts behind the end."""
    changes: list[Change] = []
    for event in events:
        progress, change = _one(progress, event)
        if isinstance(change, Said):
            progress = _keep(progress, change, changes)
        elif change is not None:
            changes.append(change)
        if isinstance(change, Ended):
            break
    return progress, changes


def ended(run: Mapping[str, Any]) -> Ended | None:
    """The end as the run's own object tells it, for a server whose events are gone. None: it goes on."""
    told = RemoteEvent(0, f"run.{run.get('status')}", {**run})
    _, change = _one(Progress(), told)
    return change if isinstance(change, Ended) else None


def _one(progress: Progress, event: RemoteEvent) -> tuple[Progress, Change | None]:
    """A `Said` has no index yet."""
    data = event.data
    match event.type:
        case "message.delta":
            return _said(progress, "text", _text(data, "delta"), event.seq)
        case "reasoning.delta":
            return _said(progress, "reasoning", _text(data, "delta"), event.seq)
        case "reasoning.available":
            if progress.has_step_reasoning:
                return progress, None
            return _said(progress, "reasoning", _text(data, "text"), event.seq)
    change = _change(progress, event)
    is_said = progress.is_said or event.type not in ("run.failed", "run.cancelled", "run.interrupted")
    progress = replace(progress, is_said=is_said, model=_model(data) or progress.model)
    if isinstance(change, Rewound):
        progress = replace(
            progress,
            text_length=change.text_length,
            reasoning_length=change.reasoning_length,
            is_new_step=change.text_length > 0,
            has_step_reasoning=False,
        )
    if isinstance(change, Began | Finished):
        open_calls = {name: id_ for name, id_ in progress.open_calls.items() if name != _name(data)}
        if isinstance(change, Began):
            open_calls[_name(data)] = change.id
        progress = replace(progress, is_new_step=True, has_step_reasoning=False, open_calls=open_calls)
    if event.type == "run.warning":  # about an answer, before that is kept
        return progress, change
    return _marked(progress, event.seq), change


def _said(progress: Progress, kind: Literal["text", "reasoning"], piece: str, seq: int) -> tuple[Progress, Said | None]:
    if not piece:
        return progress, None
    is_apart = progress.is_new_step if kind == "text" else not progress.has_step_reasoning
    before = progress.text_length if kind == "text" else progress.reasoning_length
    if is_apart and before:
        piece = GAP + piece
    progress = replace(progress, is_said=True, last_said_seq=seq)
    if kind == "text":
        progress = replace(progress, text_length=before + len(piece), is_new_step=False)
    else:
        progress = replace(progress, reasoning_length=before + len(piece), has_step_reasoning=True)
    return progress, Said(kind, piece, -1)


def _keep(progress: Progress, said: Said, changes: list[Change]) -> Progress:
    """Beside what was said just before, or with a number of its own."""
    last = changes[-1] if changes else None
    if isinstance(last, Said) and last.kind == said.kind and len(last.piece) + len(said.piece) <= MOST_IN_ONE:
        changes[-1] = replace(last, piece=last.piece + said.piece)
        return progress
    changes.append(replace(said, index=progress.index))
    return replace(progress, index=progress.index + 1)


def _change(progress: Progress, event: RemoteEvent) -> Change | None:
    data, at = event.data, _number(event.data, "timestamp")
    match event.type:
        case "tool.started":
            shown = _some(data, "tool", "tool_call_id", "label", "emoji", "preview", "args")
            return Began(f"tool_{event.seq}", "tool", shown, at)
        case "tool.completed":
            status: Literal["completed", "failed"] = "failed" if data.get("error") else "completed"
            shown = _some(data, "tool", "tool_call_id", "duration", "error", "preview")
            return Finished(_open(progress, data), "tool", status, shown, at)
        case "subagent.start":
            shown = {"tool": "subagent", "label": _text(data, "goal"), **_some(data, "subagent_id", "goal")}
            return Began(f"subagent_{event.seq}", "subagent", shown, at)
        case "subagent.complete":
            status = "completed" if data.get("status") == "completed" else "failed"
            shown = {"tool": "subagent", **_some(data, "subagent_id", "duration", "error")}
            summary = {"preview": _text(data, "summary")}
            return Finished(_open(progress, data), "subagent", status, shown | summary, at)
        case "run.warning":
            return Noted(f"note_{event.seq}", "warning", _some(data, "message"), at)
        case "model.retry":
            shown = _some(data, "reason", "attempt", "wait_seconds", "model")
            return Noted(f"note_{event.seq}", "model_retry", shown, at)
        case "context.compacted":
            return Noted(f"note_{event.seq}", "context_compacted", _some(data, "tokens_before", "tokens_after"), at)
        case "clarify.request":
            shown = {"question": _text(data, "question"), "choices": _texts(data, "choices")}
            return Questioned(_text(data, "clarify_id"), shown, _number(data, "expires_at"))
        case "clarify.responded":
            return Replied(_text(data, "clarify_id"), _text(data, "answer") or None, _text(data, "outcome") or "user")
        case "approval.request":
            return _asked(data)
        case "approval.responded":
            remote_id = _text(data, "approval_id") or _text(data, "request_id")
            return Answered(remote_id, _text(data, "choice") or "deny", _text(data, "outcome") or "user")
        case "run.resumed":
            return _rewound(progress, data)
        case "run.completed":
            output = data.get("output")
            said = output if isinstance(output, str) else None
            return Ended(
                RunStatus.COMPLETED,
                said,
                _usage(data),
                _model(data),
                context_window=_whole_number(data, "context_window"),
            )
        case "run.failed":
            return Ended(RunStatus.FAILED, None, _usage(data), _model(data), _error(data.get("error")))
        case "run.cancelled":
            return Ended(RunStatus.CANCELLED, None, _usage(data), _model(data))
        case "run.interrupted":
            reason = _text(data, "reason") or "the API server stopped in the middle of it"
            error = {"code": "run_interrupted", "message": f"The answer was broken off: {reason}."}
            return Ended(RunStatus.FAILED, None, _usage(data), _model(data), error)
        case _:
            return None


def _marked(progress: Progress, seq: int) -> Progress:
    return replace(
        progress,
        mark_seq=seq,
        mark_text_length=progress.text_length,
        mark_reasoning_length=progress.reasoning_length,
    )


def _rewound(progress: Progress, data: Mapping[str, Any]) -> Rewound | None:
    void_after = data.get("void_after")
    if not isinstance(void_after, int) or progress.last_said_seq <= void_after:
        return None  # the answer was whole
    if void_after < progress.mark_seq:
        return None  # not by the rule that is known: the end has the whole text
    if (
        progress.text_length == progress.mark_text_length
        and progress.reasoning_length == progress.mark_reasoning_length
    ):
        return None
    return Rewound(progress.mark_text_length, progress.mark_reasoning_length)


def _asked(data: Mapping[str, Any]) -> Asked:
    details = {
        "tool": _text(data, "tool") or None,
        "command": _text(data, "command"),
        "reason": _text(data, "description") or _text(data, "reason"),
        "choices": _texts(data, "choices") if isinstance(data.get("choices"), list) else ["once", "deny"],
    }
    return Asked(_text(data, "approval_id") or _text(data, "request_id"), details, _number(data, "expires_at"))


def _error(error: object) -> dict[str, str]:
    if isinstance(error, str):
        error = {"message": error}
    told = error if isinstance(error, Mapping) else {}
    return {
        "code": _text(told, "code") or "run_failed",
        "message": _text(told, "message") or "The agent could not answer.",
    }


def _usage(data: Mapping[str, Any]) -> dict[str, Any]:
    usage = data.get("usage")
    return dict(usage) if isinstance(usage, Mapping) else {}


def _model(data: Mapping[str, Any]) -> str | None:
    return _text(data, "model") or None


def _name(data: Mapping[str, Any]) -> str:
    """The API server's, of what the agent does."""
    return _text(data, "subagent_id") or _text(data, "tool_call_id") or _text(data, "tool")


def _open(progress: Progress, data: Mapping[str, Any]) -> str:
    """The id of what ends; of what was never told to begin, its name."""
    return progress.open_calls.get(_name(data)) or _name(data)


def _some(data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: data[name] for name in names if data.get(name) is not None}


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    return value if isinstance(value, str) else ""


def _texts(data: Mapping[str, Any], name: str) -> list[str]:
    value = data.get(name)
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _whole_number(data: Mapping[str, Any], name: str) -> int | None:
    value = data.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _number(data: Mapping[str, Any], name: str) -> float | None:
    value = data.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
