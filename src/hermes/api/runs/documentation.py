"""What the routes of runs take and give (`hermes.api.documented`)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from hermes.agent.messages import MAX_MESSAGES
from hermes.api.chat.documentation import AssistantMessage, SystemMessage, ToolMessage, UserMessage
from hermes.api.documented import Answer, Query, Shape
from hermes.core.run import RunStatus

SessionId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,256}$")]

Messages = Annotated[
    list[Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]],
    Field(max_length=MAX_MESSAGES),
]


class RunLimits(Shape):
    """They narrow what the server allows (`limits` in config.yaml), and never widen it."""

    max_steps: Annotated[int | None, Field(ge=1, lt=2**31, description="calls of the model")] = None
    max_tokens: Annotated[int | None, Field(ge=1, lt=2**31, description="input and output of the whole run")] = None
    max_seconds: Annotated[float | None, Field(gt=0, le=10**9)] = None
    max_usd: Annotated[float | None, Field(gt=0, le=10**9, description="where the model's price is known")] = None


class RunFields(Shape):
    """The fields of POST /v1/runs that need no look at their inside."""

    session_id: str | None = None
    instructions: Annotated[str | None, Field(description="layered over the agent's own, for this run")] = None
    previous_response_id: Annotated[
        str | None, Field(max_length=256, description="goes on in the session of this response")
    ] = None
    model: Annotated[
        str | None,
        Field(max_length=256, description="an alias of model_routes, or any name where direct_model_requests is on"),
    ] = None
    provider: Annotated[
        str | None, Field(max_length=64, description="of the model, where direct_model_requests is on")
    ] = None
    model_options: Annotated[
        dict[str, Any] | None, Field(description="temperature, max_tokens and the like, as in a chat")
    ] = None
    toolsets: Annotated[
        list[Annotated[str, Field(max_length=64)]] | None,
        Field(max_length=64, description="those of the enabled ones that the run is offered; [] for none"),
    ] = None
    callback_url: Annotated[
        str | None, Field(max_length=2048, description="is told of the run's end by a signed POST")
    ] = None
    limits: RunLimits | None = None


class RunBody(RunFields):
    input: Annotated[
        str | Messages,
        Field(
            description="what the user says; of a list, what follows the last answer is new, and what lies before it "
            "is history where no session is named",
            examples=["Hello"],
        ),
    ]
    session_id: Annotated[
        SessionId | None, Field(description="goes on in this session, or begins it; or X-Hermes-Session-Id")
    ] = None
    conversation_history: Annotated[
        Messages | None,
        Field(description="stands in for the session's stored history in this run, and is not stored"),
    ] = None


class RunAccepted(Answer):
    run_id: str
    status: Literal["started", "queued"]
    session_id: str
    replayed: Annotated[bool, Field(description="the Idempotency-Key named an earlier run, which this is")]


class RunUsage(Answer):
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    api_calls: int
    cost_usd: float | None


class PendingApproval(Answer):
    approval_id: str
    request_id: Annotated[str, Field(description="the same as approval_id")]
    tool: str
    tool_call_id: str
    command: str
    description: str
    choices: list[str]
    allow_permanent: bool
    expires_at: float
    subagent_id: Annotated[str | None, Field(description="the child run that asks; None: the run itself")]


class PendingClarification(Answer):
    clarify_id: str
    question: str
    choices: list[str]
    expires_at: float


class RunObject(Answer):
    object: Literal["hermes.run"]
    run_id: str
    status: RunStatus
    session_id: str
    model: str
    created_at: float
    updated_at: float
    started_at: float | None
    finished_at: float | None
    last_event: str | None
    last_seq: int
    output: str | None
    finish_reason: str | None
    usage: RunUsage
    parent_run_id: Annotated[str | None, Field(description="the run that delegated this one")]
    delegated_usage: Annotated[
        RunUsage | None, Field(description="what the runs used that this one delegated; `usage` does not hold it")
    ]
    error: Annotated[dict[str, Any] | None, Field(description="message, code and what else is known of a failure")]
    approvals: Annotated[list[PendingApproval], Field(description="questions that wait for an answer")]
    clarifications: Annotated[
        list[PendingClarification], Field(description="what the model asked and waits for; the status is `running`")
    ]
    pending_steer: Annotated[bool, Field(description="something was said that the model has not heard yet")]
    resumed: Annotated[int, Field(description="how often it was taken up again")]


class RunList(Answer):
    object: Literal["list"]
    data: list[RunObject]
    has_more: bool
    next_cursor: str | None


class RunListQuery(Query):
    session_id: Annotated[SessionId | None, Field(description="the runs of this session")] = None
    status: Annotated[str | None, Field(description="one status, or several with commas between")] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str | None, Field(max_length=256, description="next_cursor of the page before")] = None


class RunEventsQuery(Query):
    after: Annotated[
        str | None, Field(description="the number of the last event seen; of it and Last-Event-ID the greater counts")
    ] = None


class ApprovalBody(Shape):
    choice: Annotated[
        str | None, Field(description="once, session, always or deny; approve, approved, allow: once")
    ] = None
    decision: Annotated[str | None, Field(description="the same as choice")] = None
    approval_id: Annotated[str | None, Field(description="which question; without it the oldest")] = None
    request_id: Annotated[str | None, Field(description="the same as approval_id")] = None
    all: Annotated[bool | None, Field(description="answers all that wait")] = None
    reason: Annotated[str | None, Field(description="is told to the model with a denial")] = None


class ApprovalAnswered(Answer):
    object: Literal["hermes.run.approval_response"]
    run_id: str
    choice: Literal["once", "session", "always", "deny"]
    resolved: Annotated[int, Field(description="how many questions this answered")]


class ClarifyBody(Shape):
    answer: Annotated[str, Field(description="any text; `choices` of the question are proposals")]
    clarify_id: Annotated[str | None, Field(description="which question; without it the oldest")] = None


class Clarified(Answer):
    object: Literal["hermes.run.clarify_response"]
    run_id: str
    clarify_id: str
    answer: str


class SteerBody(Shape):
    """One of the three."""

    input: Annotated[str | None, Field(description="what to say to the model before its next step")] = None
    message: str | None = None
    text: str | None = None


class Steered(Answer):
    object: Literal["hermes.run.steer"]
    run_id: str
    status: Literal["accepted"]
    pending_steer: bool


class Stopping(Answer):
    run_id: str
    status: Literal["stopping"]
