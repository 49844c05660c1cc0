"""What the routes of /v1/responses take and give, for the document; queries are checked by these too.

Bodies are parsed by hand (`responses_request`, `responses_items`), which says the same in code.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from hermes.agent.messages import MAX_MESSAGES
from hermes.api.chat.documentation import (
    AssistantMessage,
    AudioPart,
    FilePart,
    ImagePart,
    RefusalPart,
    SystemMessage,
    TextPart,
    ToolMessage,
    ToolName,
    UserMessage,
    Word,
)
from hermes.api.chat.parameters import MAX_STOPS, MAX_TOOLS
from hermes.api.documented import Answer, Query, Shape
from hermes.api.responses.parameters import MAX_LOGPROBS, MAX_METADATA, MAX_METADATA_TEXT, MAX_WORD

NonEmpty = Annotated[str, Field(min_length=1)]
Metadata = Annotated[dict[str, Annotated[str, Field(max_length=MAX_METADATA_TEXT)]], Field(max_length=MAX_METADATA)]


class InputMessage(Shape):
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[TextPart | RefusalPart | ImagePart | AudioPart | FilePart]
    phase: Any = None


class InputFunctionCall(Shape):
    type: Literal["function_call"]
    call_id: NonEmpty
    name: NonEmpty
    arguments: str


class InputFunctionCallOutput(Shape):
    """The client's answer to a function_call of the same input or of the chain."""

    type: Literal["function_call_output"]
    call_id: NonEmpty
    output: str | list[TextPart]


class InputMcpCall(Shape):
    """A call that the server ran, sent back."""

    type: Literal["mcp_call"]
    id: NonEmpty
    name: NonEmpty
    arguments: str
    output: str | None = None


class Text(Shape):
    text: str


class InputReasoning(Shape):
    type: Literal["reasoning"]
    summary: list[Text]
    content: list[Text] | None = None


class InputCompaction(Shape):
    """What POST /v1/responses/compact gave."""

    type: Literal["compaction"]
    encrypted_content: str


class ItemReference(Shape):
    type: Literal["item_reference"] = "item_reference"
    id: str


InputItem = (
    InputMessage
    | InputFunctionCall
    | InputFunctionCallOutput
    | InputMcpCall
    | InputReasoning
    | InputCompaction
    | ItemReference
)
ResponseInput = Annotated[
    str | Annotated[list[InputItem], Field(max_length=MAX_MESSAGES)],
    Field(description="text, or items; with a chain only what is new", examples=["Hello"]),
]


class FunctionTool(Shape):
    type: Literal["function"]
    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionChoice(Shape):
    type: Literal["function"]
    name: ToolName


class AllowedTools(Shape):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required", "none"] = "auto"
    tools: Annotated[list[FunctionChoice], Field(min_length=1)]


class PlainFormat(Shape):
    type: Literal["text", "json_object"]


class JsonSchemaFormat(Shape):
    type: Literal["json_schema"]
    name: Annotated[str, Field(min_length=1, max_length=MAX_WORD)]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None


class TextSettings(Shape):
    format: Annotated[PlainFormat | JsonSchemaFormat, Field(discriminator="type")] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningSettings(Shape):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None


class ConversationName(Shape):
    id: Annotated[str, Field(min_length=1, max_length=MAX_WORD)]


class CreateResponse(Shape):
    """The public request. What is not honoured is named in X-Hermes-Warnings."""

    input: ResponseInput
    model: Annotated[str | None, Field(max_length=MAX_WORD)] = None
    instructions: Annotated[str | None, Field(description="for this response only")] = None
    previous_response_id: Annotated[str | None, Field(description="go on from this response")] = None
    conversation: Annotated[
        Annotated[str, Field(min_length=1, max_length=MAX_WORD)] | ConversationName | None,
        Field(description="go on in the conversation of this name; made on first use"),
    ] = None
    conversation_history: Annotated[
        list[SystemMessage | UserMessage | AssistantMessage | ToolMessage] | None,
        Field(description="stands in for the stored history in this response; it is not stored"),
    ] = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    background: bool | None = None
    metadata: Metadata | None = None
    text: TextSettings | None = None
    tools: Annotated[list[FunctionTool] | None, Field(max_length=MAX_TOOLS)] = None
    tool_choice: Literal["auto", "none", "required"] | FunctionChoice | AllowedTools | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningSettings | None = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None
    presence_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    frequency_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    max_output_tokens: Annotated[int | None, Field(ge=1, lt=2**31)] = None
    stop: str | Annotated[list[str], Field(max_length=MAX_STOPS)] | None = None
    seed: Annotated[int | None, Field(ge=-(2**63), lt=2**63)] = None
    truncation: Literal["auto", "disabled"] | None = None
    include: list[str] | None = None
    max_tool_calls: Annotated[int | None, Field(ge=0, lt=2**31)] = None
    top_logprobs: Annotated[int | None, Field(ge=0, le=MAX_LOGPROBS)] = None
    user: Word | None = None
    safety_identifier: Annotated[str | None, Field(max_length=MAX_WORD)] = None
    prompt_cache_key: Annotated[str | None, Field(max_length=MAX_WORD)] = None
    service_tier: Annotated[str | None, Field(max_length=MAX_WORD)] = None


class CompactRequest(Shape):
    model: Annotated[str, Field(min_length=1, max_length=MAX_WORD)]
    input: ResponseInput | None = None
    previous_response_id: str | None = None
    instructions: str | None = None
    prompt_cache_key: Annotated[str | None, Field(max_length=MAX_WORD)] = None


class ResponseQuery(Query):
    stream: Annotated[bool, Field(description="the events instead of the object")] = False
    starting_after: Annotated[int | None, Field(ge=0, description="a sequence_number")] = None


class InputItemsQuery(Query):
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"
    after: Annotated[str | None, Field(description="the id of the last item seen")] = None


class OutputText(Answer):
    type: Literal["output_text"]
    text: str
    annotations: list[None]
    logprobs: list[None]


class OutputMessage(Answer):
    type: Literal["message"]
    id: str
    status: Literal["in_progress", "completed", "incomplete"]
    role: Literal["assistant"]
    content: list[OutputText]


class FunctionCall(Answer):
    type: Literal["function_call"]
    id: str
    call_id: str
    name: str
    arguments: str
    status: Literal["in_progress", "completed", "incomplete"]


class FunctionCallOutput(Answer):
    type: Literal["function_call_output"]
    id: str
    call_id: str
    output: str
    status: Literal["completed"]


class McpCall(Answer):
    type: Literal["mcp_call"]
    id: str
    server_label: Literal["hermes"]
    name: str
    arguments: str
    output: str | None
    error: dict[str, Any] | None
    approval_request_id: None
    status: Literal["in_progress", "completed", "incomplete", "failed"]


class ReasoningText(Answer):
    type: Literal["reasoning_text"]
    text: str


class Reasoning(Answer):
    type: Literal["reasoning"]
    id: str
    status: Literal["in_progress", "completed", "incomplete"]
    summary: list[None]
    content: list[ReasoningText]


class Compaction(Answer):
    type: Literal["compaction"]
    id: str
    encrypted_content: str


class ResponseError(Answer):
    code: str
    message: str


class IncompleteDetails(Answer):
    reason: Literal["max_output_tokens", "content_filter"]


class CachedTokens(Answer):
    cached_tokens: int
    cache_write_tokens: int


class ReasoningTokens(Answer):
    reasoning_tokens: int


class ResponseUsage(Answer):
    input_tokens: int
    input_tokens_details: CachedTokens
    output_tokens: int
    output_tokens_details: ReasoningTokens
    total_tokens: int


class ReasoningShown(Answer):
    effort: str | None
    summary: None


class ConversationShown(Answer):
    id: str


class ResponseObject(Answer):
    """The public response object."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    model: str
    output: list[OutputMessage | FunctionCall | FunctionCallOutput | McpCall | Reasoning]
    previous_response_id: str | None
    conversation: ConversationShown | None
    tools: list[dict[str, Any]]
    tool_choice: str | dict[str, Any]
    parallel_tool_calls: bool
    max_tool_calls: int | None
    max_output_tokens: int | None
    temperature: float
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    top_logprobs: int
    text: dict[str, Any]
    reasoning: ReasoningShown
    truncation: Literal["auto", "disabled"]
    service_tier: Literal["default"]
    store: bool
    background: bool
    usage: ResponseUsage | None
    metadata: dict[str, str]
    safety_identifier: str | None
    prompt_cache_key: str | None
    user: str | None


class DeletedResponse(Answer):
    id: str
    object: Literal["response"]
    deleted: Literal[True]


class InputItems(Answer):
    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class CompactedResponse(Answer):
    id: str
    object: Literal["response.compaction"]
    created_at: int
    output: list[Compaction]
    usage: ResponseUsage
