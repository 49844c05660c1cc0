"""Messages go out, and the runs that answer them are ended."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Header
from pydantic import BaseModel, Field

from hermes.core.errors import InvalidInput
from hermeslink.api.bodies import Answer, Body
from hermeslink.api.dependencies import TheCaller, TheLink
from hermeslink.conversations.turn import Outgoing
from hermeslink.conversations.views import ConversationView, MessageView

router = APIRouter(prefix="/api/v1/conversations/{conversation_id}", tags=["messages"])

MOST_ATTACHMENTS = 20

_KEY = re.compile(r"[!-~]{1,255}\Z")


class MessageBody(Body):
    """`profile` and `model` are the conversation's from this message on."""

    content: str | None = None
    attachments: Annotated[
        tuple[str, ...] | None, Field(max_length=MOST_ATTACHMENTS, description="Ids of its blobs.")
    ] = None
    client_message_id: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    profile: Annotated[str | None, Field(max_length=64)] = None
    model: Annotated[str | None, Field(max_length=200)] = None


class RunView(BaseModel):
    """`status`: queued, running, completed, failed or cancelled; stopping where its end was asked for."""

    id: str
    status: str


class MessageAnswer(Answer):
    conversation_id: str
    user_message: MessageView
    assistant_message: MessageView
    run: RunView
    last_event_seq: int
    conversation: ConversationView


class RunAnswer(Answer):
    run: RunView


class ReplyBody(Body):
    """Any text answers a question: its choices are proposals."""

    question_id: Annotated[str, Field(min_length=1, max_length=200)]
    answer: Annotated[str, Field(max_length=20_000)]


class ReplyAnswer(Answer):
    run_id: str
    question_id: str
    answer: str


@router.post("/messages", status_code=202)
async def send_message(
    conversation_id: str,
    link: TheLink,
    caller: TheCaller,
    body: MessageBody,
    idempotency_key: Annotated[
        str | None, Header(alias="Idempotency-Key", description="The same message again gets its first answer.")
    ] = None,
) -> MessageAnswer:
    """Say something. The answer comes as events; behind another message it waits its turn (`queued`), also while the
    API server is away."""
    if idempotency_key is not None and _KEY.match(idempotency_key) is None:
        raise InvalidInput("Idempotency-Key is 1 to 255 visible ASCII characters", code="invalid_idempotency_key")
    outgoing = Outgoing(
        body.content or "", body.attachments or (), body.client_message_id, body.profile or None, body.model or None
    )
    return MessageAnswer.model_validate(await link.sending.send(conversation_id, outgoing, caller, idempotency_key))


@router.post("/runs/{run_id}/cancel")
async def cancel_run(conversation_id: str, run_id: str, link: TheLink) -> RunAnswer:
    """End an answer: the agent is stopped, and what it said so far is kept. One that waits is never begun."""
    return RunAnswer(run=RunView(**await link.sending.cancel(conversation_id, run_id)))


@router.post("/runs/{run_id}/answer")
async def answer_question(conversation_id: str, run_id: str, link: TheLink, body: ReplyBody) -> ReplyAnswer:
    """Tell the agent what it wants to know (the event `question.asked`), so that it goes on."""
    said = body.answer.strip()
    if not said:
        raise InvalidInput("answer has to say something", code="answer_required", param="answer")
    await link.approvals.reply(conversation_id, run_id, body.question_id, said)
    return ReplyAnswer(run_id=run_id, question_id=body.question_id, answer=said)
