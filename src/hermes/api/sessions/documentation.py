"""What the routes of sessions take and give (`hermes.api.documented`)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from hermes.agent.messages import MAX_MESSAGES
from hermes.api.chat.documentation import (
    AssistantMessage,
    AudioPart,
    ChatRequest,
    FilePart,
    ImagePart,
    ImageUrl,
    SystemMessage,
    TextPart,
    ToolMessage,
    UserMessage,
)
from hermes.api.documented import Answer, Query, Shape
from hermes.sessions import MAX_SYSTEM_PROMPT_CHARACTERS, MAX_TITLE_CHARACTERS
from hermes.store.search import MAX_QUERY_CHARACTERS

SessionId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,256}$")]
Title = Annotated[str | None, Field(max_length=MAX_TITLE_CHARACTERS, description="one line; null or empty for none")]
Cursor = Annotated[str | None, Field(max_length=1024, description="`next_cursor` of the page before")]
MessageId = Annotated[int, Field(ge=0, lt=2**62)]

MAX_PAGE = 200
MAX_MESSAGE_PAGE = 500
MAX_IMAGES = 50


class SessionListQuery(Query):
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
    offset: Annotated[int, Field(ge=0, lt=2**31, description="or cursor, which costs the same on every page")] = 0
    cursor: Cursor = None
    source: Annotated[
        str | None, Field(max_length=64, description="api, cron, subagent, …; shows what is hidden otherwise")
    ] = None
    q: Annotated[
        str | None,
        Field(max_length=200, description="stands in the title or the preview; all messages: /api/sessions/search"),
    ] = None
    include_children: Annotated[bool, Field(description="show sessions of sub-agents")] = False
    include_stateless: Annotated[bool, Field(description="show chats that re-send their history")] = False


class SessionBody(Shape):
    """Everything may be left out, and the body too."""

    id: Annotated[SessionId | None, Field(description="one of yours; a new one is made without it")] = None
    title: Title = None
    model: Annotated[
        str | None,
        Field(max_length=256, description="what GET /v1/models lists; holds for runs of the session that name none"),
    ] = None
    system_prompt: Annotated[
        str | None,
        Field(max_length=MAX_SYSTEM_PROMPT_CHARACTERS, description="layered over the agent's own instructions"),
    ] = None


class SessionChange(Shape):
    """Other fields are refused (`unsupported_session_field`)."""

    title: Title = None
    end_reason: Annotated[
        str | None,
        Field(max_length=MAX_TITLE_CHARACTERS, description="ends the session, which is a label; null takes it away"),
    ] = None


class ForkBody(Shape):
    """Everything may be left out, and the body too."""

    id: SessionId | None = None
    title: Title = None
    at_message_id: Annotated[
        MessageId | None,
        Field(description="the last message of the copy; the results of its tool calls come along. All without it"),
    ] = None


class SessionObject(Answer):
    id: str
    source: str
    user_id: str | None
    model: Annotated[str | None, Field(description="the one that answered last, else the one that was chosen")]
    title: str | None
    started_at: float
    ended_at: float | None
    end_reason: str | None
    message_count: int
    tool_call_count: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    estimated_cost_usd: Annotated[float | None, Field(description="null where no model's price is known")]
    actual_cost_usd: Annotated[float | None, Field(description="null: providers do not tell it with an answer")]
    api_call_count: int
    parent_session_id: str | None
    has_system_prompt: bool
    has_model_config: bool
    last_active: float
    preview: Annotated[str, Field(description="the head of the first thing the user said")]


class SessionAnswer(Answer):
    object: Literal["hermes.session"]
    session: SessionObject


class SessionList(Answer):
    object: Literal["list"]
    data: list[SessionObject]
    limit: int
    offset: int
    has_more: bool
    next_cursor: str | None


class SessionDeleted(Answer):
    object: Literal["hermes.session.deleted"]
    id: str
    deleted: Literal[True]


class MessageListQuery(Query):
    limit: Annotated[int, Field(ge=1, le=MAX_MESSAGE_PAGE)] = MAX_MESSAGE_PAGE
    order: Annotated[
        Literal["oldest", "latest"] | None,
        Field(description="from which end; without it the latest, or the oldest behind `after`. Data is oldest first"),
    ] = None
    offset: Annotated[int, Field(ge=0, lt=2**31, description="leaves out so many at that end")] = 0
    after: Annotated[MessageId, Field(description="only messages with a greater id")] = 0
    before: Annotated[MessageId | None, Field(description="only messages with a smaller id")] = None


class MessageFunction(Answer):
    name: str
    arguments: Annotated[str, Field(description="JSON text as the model wrote it")]


class MessageCall(Answer):
    id: str
    type: Literal["function"]
    function: MessageFunction


class SessionMessage(Answer):
    id: int
    session_id: str
    run_id: Annotated[str | None, Field(description="the run that added it; null for what a fork copied")]
    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None
    tool_calls: list[MessageCall] | None
    tool_call_id: Annotated[str | None, Field(description="the call that this is the result of")]
    tool_name: str | None
    reasoning: str | None
    timestamp: float


class MessageList(Answer):
    object: Literal["list"]
    session_id: str
    data: list[SessionMessage]
    limit: int
    has_more: Annotated[bool, Field(description="further on in the direction of the question")]
    first_id: int | None
    last_id: int | None


class SearchQuery(Query):
    q: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_QUERY_CHARACTERS,
            description='words that must all be there; "in quotes" a phrase, with a star behind it the head of a word',
        ),
    ]
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Cursor = None
    source: Annotated[str | None, Field(max_length=64)] = None
    session_id: SessionId | None = None
    role: Literal["system", "user", "assistant", "tool"] | None = None
    include_stateless: bool = False


class SearchHit(Answer):
    message_id: int
    session_id: str
    session_title: str | None
    source: str
    run_id: str | None
    role: Literal["system", "user", "assistant", "tool"]
    tool_name: str | None
    timestamp: float
    snippet: Annotated[str, Field(description=">>> and <<< stand around what was looked for; plain text, not HTML")]


class SearchAnswer(Answer):
    object: Literal["list"]
    data: list[SearchHit]
    limit: int
    has_more: bool
    next_cursor: str | None
    pending: Annotated[int, Field(description="messages that were not in the index yet; 0 when it is whole")]


UserContent = str | list[TextPart | ImagePart | AudioPart | FilePart]


class SessionChatBody(Shape):
    """One of message, input and messages. Parameters of the model (temperature, …) as in a chat completion."""

    message: Annotated[UserContent | None, Field(description="what the user says", examples=["Hello"])] = None
    input: Annotated[UserContent | None, Field(description="the same under another name")] = None
    messages: Annotated[
        list[Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]]
        | None,
        Field(max_length=MAX_MESSAGES, description="what follows the last answer is new; the stored history counts"),
    ] = None
    system_message: Annotated[str | None, Field(description="layered over the agent's own, for this turn")] = None
    instructions: Annotated[str | None, Field(description="the same under another name")] = None
    images: Annotated[
        list[Annotated[str, Field(description="https:// or data:image/…;base64")] | ImageUrl] | None,
        Field(max_length=MAX_IMAGES, description="beside message"),
    ] = None
    model: Annotated[
        str | None, Field(max_length=256, description="an alias of model_routes; without it the session's own")
    ] = None


class SessionChatUsage(Answer):
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    api_calls: int
    cost_usd: float | None


class SessionChatMessage(Answer):
    id: str
    role: Literal["assistant"]
    content: str
    reasoning: str | None


class SessionChatAnswer(Answer):
    object: Literal["hermes.session.chat.completion"]
    session_id: str
    run_id: str
    model: str
    message: SessionChatMessage
    finish_reason: str
    usage: SessionChatUsage
    created_at: float


MODEL_PARAMETERS = frozenset(ChatRequest.model_fields)
