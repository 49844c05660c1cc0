"""What happens in a run, as values. The list of a run's events is the one source every protocol projects from.

An event's `name` is its published name (spec: api-server section 5). `seq` counts from 1 within a run, without gaps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class RunStarted:
    name: ClassVar[str] = "run.started"
    session_id: str
    model: str


@dataclass(frozen=True, slots=True)
class MessageDelta:
    name: ClassVar[str] = "message.delta"
    delta: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    name: ClassVar[str] = "reasoning.delta"
    delta: str


@dataclass(frozen=True, slots=True)
class ReasoningAvailable:
    name: ClassVar[str] = "reasoning.available"
    text: str


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """`preview` is one line for a person; `args` the parsed arguments, secrets redacted."""

    name: ClassVar[str] = "tool.started"
    tool: str
    tool_call_id: str
    preview: str
    args: Mapping[str, Any]
    emoji: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True)
class ToolCompleted:
    """`duration` in seconds; `error` is None on success, else the reason; `preview` the head of the result."""

    name: ClassVar[str] = "tool.completed"
    tool: str
    tool_call_id: str
    duration: float
    error: str | None
    preview: str


@dataclass(frozen=True, slots=True)
class SubagentStarted:
    """A child run began: `subagent_id` is its id, and it has events of its own.

    `index` counts the tasks of the tool call from 0.
    """

    name: ClassVar[str] = "subagent.start"
    subagent_id: str
    tool_call_id: str
    index: int
    goal: str


@dataclass(frozen=True, slots=True)
class SubagentCompleted:
    """`status` is how the child run ended, `duration` in seconds; `summary` the head of what it gave, `error` why it
    gave nothing. `usage` is the child's own: the parent's does not hold it."""

    name: ClassVar[str] = "subagent.complete"
    subagent_id: str
    tool_call_id: str
    index: int
    status: str
    duration: float
    summary: str
    error: str | None
    usage: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ClientToolCalled:
    """The model calls a tool that the client offered: the run ends, and the client answers in its next request."""

    name: ClassVar[str] = "tool.client_call"
    tool: str
    tool_call_id: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ApprovalRequested:
    """`expires_at` in unix seconds. `command` is the real text with control characters escaped. `subagent_id`: a child
    run asks, and the tool call is the one that delegated to it."""

    name: ClassVar[str] = "approval.request"
    approval_id: str
    tool: str
    tool_call_id: str
    command: str
    description: str
    choices: tuple[str, ...]
    allow_permanent: bool
    expires_at: float
    subagent_id: str | None = None


@dataclass(frozen=True, slots=True)
class ApprovalResponded:
    """`outcome`: user, timeout or policy. `by` names the key or device, None without a person."""

    name: ClassVar[str] = "approval.responded"
    approval_id: str
    choice: str
    by: str | None
    outcome: str


@dataclass(frozen=True, slots=True)
class ClarifyRequested:
    """The model asks the person something. `choices` are proposals, perhaps none: any text is an answer.

    `expires_at` in unix seconds.
    """

    name: ClassVar[str] = "clarify.request"
    clarify_id: str
    tool_call_id: str
    question: str
    choices: tuple[str, ...]
    expires_at: float


@dataclass(frozen=True, slots=True)
class ClarifyResponded:
    """`outcome`: user or timeout, which has no answer. `by` names the key or device."""

    name: ClassVar[str] = "clarify.responded"
    clarify_id: str
    answer: str | None
    by: str | None
    outcome: str


@dataclass(frozen=True, slots=True)
class ModelRetrying:
    """The model failed before it showed anything and is asked again; `model` is the one asked next."""

    name: ClassVar[str] = "model.retry"
    reason: str
    attempt: int
    wait_seconds: float
    model: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something was not done as asked; a client sees it in X-Hermes-Warnings as well where headers can still be set."""

    name: ClassVar[str] = "run.warning"
    message: str


@dataclass(frozen=True, slots=True)
class ContextCompacted:
    """The history outgrew the model's window: what the model is shown of it is shorter, what is kept stays whole.

    Tokens are guesses, with instructions and schemas; `summarised` counts the messages that a record stands for.
    """

    name: ClassVar[str] = "context.compacted"
    tokens_before: int
    tokens_after: int
    summarised: int


@dataclass(frozen=True, slots=True)
class RunSteered:
    name: ClassVar[str] = "run.steered"
    text: str


@dataclass(frozen=True, slots=True)
class RunResumed:
    """The run goes on after its process ended. Text behind `void_after` (a seq) was of an answer that was lost before
    it was whole: the model gives that answer anew, so a projection that still can leaves that text out.
    """

    name: ClassVar[str] = "run.resumed"
    reason: str
    void_after: int = 0


@dataclass(frozen=True, slots=True)
class RunCompleted:
    """`finish_reason`: stop, length, tool_calls or content_filter. `usage` is `Usage` as a mapping.
    `context_window`: the tokens that `model` takes, where that is known."""

    name: ClassVar[str] = "run.completed"
    output: str
    usage: Mapping[str, Any]
    finish_reason: str = "stop"
    model: str = ""
    context_window: int | None = None


@dataclass(frozen=True, slots=True)
class RunFailed:
    """`error` is `{"message", "code", "type", "status", "retry_after"}`: what the edge answers with."""

    name: ClassVar[str] = "run.failed"
    error: Mapping[str, Any]
    usage: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunCancelled:
    name: ClassVar[str] = "run.cancelled"
    reason: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunInterrupted:
    name: ClassVar[str] = "run.interrupted"
    reason: str


RunEvent = (
    RunStarted
    | MessageDelta
    | ReasoningDelta
    | ReasoningAvailable
    | ToolStarted
    | ToolCompleted
    | SubagentStarted
    | SubagentCompleted
    | ClientToolCalled
    | ApprovalRequested
    | ApprovalResponded
    | ClarifyRequested
    | ClarifyResponded
    | ModelRetrying
    | Warned
    | ContextCompacted
    | RunSteered
    | RunResumed
    | RunCompleted
    | RunFailed
    | RunCancelled
    | RunInterrupted
)

FinalEvent = RunCompleted | RunFailed | RunCancelled | RunInterrupted

EVENT_TYPES: dict[str, type[RunEvent]] = {
    kind.name: kind
    for kind in (
        RunStarted,
        MessageDelta,
        ReasoningDelta,
        ReasoningAvailable,
        ToolStarted,
        ToolCompleted,
        SubagentStarted,
        SubagentCompleted,
        ClientToolCalled,
        ApprovalRequested,
        ApprovalResponded,
        ClarifyRequested,
        ClarifyResponded,
        ModelRetrying,
        Warned,
        ContextCompacted,
        RunSteered,
        RunResumed,
        RunCompleted,
        RunFailed,
        RunCancelled,
        RunInterrupted,
    )
}

_FIELDS: dict[str, tuple[str, ...]] = {name: tuple(f.name for f in fields(kind)) for name, kind in EVENT_TYPES.items()}


@dataclass(frozen=True, slots=True)
class KeptEvent:
    """An event with its place in the run's list. It exists only once it is committed. `timestamp`: unix seconds."""

    seq: int
    timestamp: float
    event: RunEvent


def event_data(event: RunEvent) -> dict[str, Any]:
    """The event's own fields as JSON values, in the order they are declared; a window that is not known is left out."""
    data = {name: getattr(event, name) for name in _FIELDS[event.name]}
    if data.get("context_window", 0) is None:
        del data["context_window"]
    return data


def event_from_data(name: str, data: Mapping[str, Any]) -> RunEvent:
    """The inverse of `event_data`. Fields that a later version added are ignored. Raises KeyError for a bad name."""
    kind = EVENT_TYPES[name]
    known = {key: data[key] for key in _FIELDS[name] if key in data}
    if "choices" in known:
        known["choices"] = tuple(known["choices"])
    return kind(**known)


def lasting(kept: Sequence[KeptEvent]) -> Sequence[KeptEvent]:
    """Without the text of answers that were lost with the process, as far as this stretch of the list shows it."""
    resumed = [(one.event.void_after, one.seq) for one in kept if isinstance(one.event, RunResumed)]
    if not resumed:
        return kept

    def is_lost(one: KeptEvent) -> bool:
        return isinstance(one.event, MessageDelta | ReasoningDelta) and any(
            after < one.seq < before for after, before in resumed
        )

    return [one for one in kept if not is_lost(one)]


def is_final(event: RunEvent) -> bool:
    return isinstance(event, RunCompleted | RunFailed | RunCancelled | RunInterrupted)
