"""What the tools take and give. Times are unix seconds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hermes.core.message import Message
from hermes.core.run import Run
from hermes.core.session import KeptMessage
from hermes.store.approvals import PendingApproval
from hermes.store.clarifications import PendingClarification
from hermes.store.search import Hit

LONGEST_MESSAGE = 20_000
"""Characters of one message that is shown; more is said to be cut."""


class Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Answer(BaseModel):
    pass


Limit = Annotated[int, Field(ge=1, le=100)]
SessionId = Annotated[str, Field(min_length=1, description="As sessions_list gives it.")]
RunId = Annotated[str, Field(min_length=1)]
WaitSeconds = Annotated[
    float, Field(ge=0, le=3_600, description="After so long the answer says that the run still goes on; see run_wait.")
]


class ListSessions(Arguments):
    limit: Limit = 20
    offset: int = Field(0, ge=0)
    words: str | None = Field(None, description="Must stand in the title or the beginning.")
    source: str | None = Field(None, description="Only those begun there: api_server, cli, acp, mcp, cron …")


class SessionRow(Answer):
    id: str
    title: str | None
    source: str
    model: str | None
    started_at: float
    last_active: float
    message_count: int
    preview: str | None


class SessionRows(Answer):
    sessions: list[SessionRow]
    has_more: bool


class ReadMessages(Arguments):
    session_id: SessionId
    limit: Limit = 50
    before_id: int | None = Field(None, description="The id of the oldest message seen: older ones are given.")


class Called(Answer):
    tool: str
    arguments: str


class MessageRow(Answer):
    id: int
    role: str
    created_at: float
    text: str
    tool_calls: list[Called] = []
    tool: str | None = None


class MessageRows(Answer):
    session_id: str
    title: str | None
    messages: list[MessageRow]
    has_more: bool


class Search(Arguments):
    query: str = Field(min_length=1, description='Words that must all be there; "several words" for a phrase.')
    limit: Limit = 20


class HitRow(Answer):
    session_id: str
    title: str | None
    message_id: int
    role: str
    created_at: float
    snippet: str


class HitRows(Answer):
    hits: list[HitRow]
    has_more: bool
    not_indexed_yet: int = 0


class Send(Arguments):
    message: str = Field(min_length=1)
    session_id: str | None = Field(None, min_length=1, description="Go on with this session. None: a new one.")
    model: str | None = None
    instructions: str = Field("", description="For this turn alone, in the place of a system message.")
    wait_seconds: WaitSeconds = 600


class WaitForRun(Arguments):
    run_id: RunId
    wait_seconds: WaitSeconds = 600


class OneRun(Arguments):
    run_id: RunId


class Steer(Arguments):
    run_id: RunId
    text: str = Field(min_length=1)


class ListRuns(Arguments):
    session_id: str | None = None
    limit: Limit = 20


class ApprovalRow(Answer):
    run_id: str
    session_id: str
    approval_id: str
    tool: str
    command: str
    description: str
    choices: list[str]
    expires_at: float


class QuestionRow(Answer):
    question: str
    choices: list[str]
    expires_at: float


class RunRow(Answer):
    """`status`: queued, running, waiting_for_approval, stopping, completed, failed, cancelled or interrupted."""

    run_id: str
    session_id: str
    status: str
    source: str
    model: str
    created_at: float
    finished_at: float | None
    output: str | None
    error: dict[str, Any] | None
    approvals: list[ApprovalRow] = []
    questions: list[QuestionRow] = []


class RunRows(Answer):
    runs: list[RunRow]


class NoArguments(Arguments):
    pass


class ApprovalRows(Answer):
    approvals: list[ApprovalRow]


class AnswerApproval(Arguments):
    run_id: RunId
    approval_id: str = Field(min_length=1)
    choice: Literal["once", "session", "deny"]
    reason: str | None = Field(None, max_length=2_000, description="Told to the model.")


class Done(Answer):
    done: bool


def session_row(summary: dict[str, Any]) -> SessionRow:
    return SessionRow.model_validate({name: summary.get(name) for name in SessionRow.model_fields})


def message_row(kept: KeptMessage) -> MessageRow:
    message = kept.message
    return MessageRow(
        id=kept.id,
        role=message.role,
        created_at=kept.created_at,
        text=_cut(message),
        tool_calls=[Called(tool=call.name, arguments=call.arguments) for call in message.tool_calls],
        tool=message.name if message.role == "tool" else None,
    )


def hit_row(hit: Hit) -> HitRow:
    return HitRow.model_validate({name: getattr(hit, name) for name in HitRow.model_fields})


def approval_row(pending: PendingApproval) -> ApprovalRow:
    asked = pending.question
    return ApprovalRow(
        run_id=asked.run_id,
        session_id=asked.session_id,
        approval_id=asked.id,
        tool=asked.tool,
        command=asked.command,
        description=asked.description,
        choices=[choice for choice in asked.choices if choice != "always"],
        expires_at=pending.expires_at,
    )


def run_row(run: Run, approvals: list[PendingApproval], questions: list[PendingClarification]) -> RunRow:
    return RunRow(
        run_id=run.id,
        session_id=run.session_id,
        status=run.status.value,
        source=run.source,
        model=run.model,
        created_at=run.created_at,
        finished_at=run.finished_at,
        output=run.output,
        error=dict(run.error) if run.error else None,
        approvals=[approval_row(one) for one in approvals],
        questions=[
            QuestionRow(question=one.question, choices=list(one.choices), expires_at=one.expires_at)
            for one in questions
        ],
    )


def _cut(message: Message) -> str:
    text = message.text
    if len(text) <= LONGEST_MESSAGE:
        return text
    return f"{text[:LONGEST_MESSAGE]}\n[… {len(text) - LONGEST_MESSAGE:,} more characters]"
