"""What POST /v1/chat/completions takes and gives, for the document only: the route parses by hand, being the hot one.

`hermes.agent.messages` and `hermes.api.chat.parameters` say the same in code; a test holds that both agree.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from hermes.agent.messages import MAX_MESSAGES
from hermes.api.chat.parameters import MAX_STOPS, MAX_TOOLS
from hermes.api.documented import Answer, Shape

Detail = Literal["auto", "low", "high"]
AudioFormat = Literal["wav", "mp3"]

ToolName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Word = Annotated[str, Field(min_length=1, max_length=256)]
Base64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/_-]+={0,2}$", examples=["SGVsbG8="])]
DataUrl = Annotated[
    str,
    Field(
        pattern=r"^(data:[^\n]*;base64,)?[A-Za-z0-9+/_-]+={0,2}$",
        description="base64 or a data: URL",
        examples=["data:text/plain;base64,SGVsbG8="],
    ),
]
ImageAddress = Annotated[
    str,
    Field(
        pattern="^(https://|data:image/)",
        description="https:// or data:image/…;base64",
        examples=["data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="],
    ),
]


class TextPart(Shape):
    type: Literal["text", "input_text", "output_text"]
    text: str


class RefusalPart(Shape):
    type: Literal["refusal"]
    refusal: str


class ImageUrl(Shape):
    url: ImageAddress
    detail: Detail | None = None


class ImagePart(Shape):
    """The chat form (an object in image_url) and the responses form (text)."""

    type: Literal["image_url", "input_image"]
    image_url: ImageUrl | ImageAddress | None = None
    detail: Detail | None = None
    file_id: str | None = None


class Audio(Shape):
    data: Base64
    format: AudioFormat


class AudioPart(Shape):
    type: Literal["input_audio"]
    input_audio: Audio


class FileData(Shape):
    filename: str | None = None
    file_data: DataUrl | None = None
    file_id: Annotated[str | None, Field(description="of POST /v1/files")] = None


class FilePart(FileData):
    """The chat form (an object in file) and the responses form (flat)."""

    type: Literal["file", "input_file"]
    file: FileData | None = None


class CalledFunction(Shape):
    name: Annotated[str, Field(min_length=1)]
    arguments: Annotated[str, Field(description="JSON text")] = ""


class ToolCall(Shape):
    id: Annotated[str, Field(min_length=1)]
    type: Literal["function"] = "function"
    function: CalledFunction


class SystemMessage(Shape):
    role: Literal["system", "developer"]
    content: str | list[TextPart]
    name: str | None = None


class UserMessage(Shape):
    role: Literal["user"]
    content: str | list[TextPart | ImagePart | AudioPart | FilePart]
    name: str | None = None


class AssistantMessage(Shape):
    role: Literal["assistant"]
    content: str | list[TextPart | RefusalPart] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None
    name: str | None = None


class ToolMessage(Shape):
    role: Literal["tool"]
    tool_call_id: Annotated[str, Field(min_length=1)]
    content: str | list[TextPart]
    name: str | None = None


class Function(Shape):
    name: ToolName
    description: str | None = None
    parameters: Annotated[dict[str, Any] | None, Field(description="a JSON schema of type object")] = None
    strict: bool | None = None


class Tool(Shape):
    """A tool of the client's: when the model calls it, the answer ends with finish_reason tool_calls."""

    type: Literal["function"]
    function: Function


class FunctionName(Shape):
    name: ToolName


class ToolChoice(Shape):
    type: Literal["function"]
    function: FunctionName


class StreamOptions(Shape):
    include_usage: bool | None = None


class Reasoning(Shape):
    effort: Word | None = None


class JsonSchema(Shape):
    name: str
    description: str | None = None
    strict: bool | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema", default_factory=dict)]


class PlainFormat(Shape):
    type: Literal["text", "json_object"]


class JsonSchemaFormat(Shape):
    type: Literal["json_schema"]
    json_schema: JsonSchema


class ChatRequest(Shape):
    """OpenAI's request. What the model's provider does not take, and unknown fields, are named in X-Hermes-Warnings."""

    messages: Annotated[
        list[Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]],
        Field(
            max_length=MAX_MESSAGES,
            description="the whole history; with X-Hermes-Session-Id the stored one counts, and what follows the last "
            "answer is new",
            examples=[[{"role": "user", "content": "Hello"}]],
        ),
    ]
    model: Annotated[
        str | None,
        Field(max_length=256, description="an alias of model_routes; any other name is only echoed, unless "
              "direct_model_requests is on"),
    ] = None  # fmt: skip
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: Annotated[list[Tool] | None, Field(max_length=MAX_TOOLS)] = None
    tool_choice: Literal["auto", "none", "required"] | ToolChoice | None = None
    n: Literal[1] | None = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None
    max_tokens: Annotated[int | None, Field(ge=1, lt=2**31)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1, lt=2**31)] = None
    stop: str | Annotated[list[str], Field(max_length=MAX_STOPS)] | None = None
    seed: Annotated[int | None, Field(ge=-(2**63), lt=2**63)] = None
    presence_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    frequency_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    reasoning_effort: Word | None = None
    reasoning: Reasoning | None = None
    response_format: Annotated[PlainFormat | JsonSchemaFormat, Field(discriminator="type")] | None = None
    parallel_tool_calls: bool | None = None
    metadata: dict[str, str] | None = None
    user: Word | None = None


class AnsweredFunction(Answer):
    name: str
    arguments: str


class AnsweredCall(Answer):
    id: str
    type: Literal["function"]
    function: AnsweredFunction


class AnsweredMessage(Answer):
    role: Literal["assistant"]
    content: str | None
    refusal: None
    reasoning_content: str = Field(default="", description="there when the model showed its reasoning")
    tool_calls: list[AnsweredCall] = Field(default=[], description="the client's tools that the model calls")


class Choice(Answer):
    index: Literal[0]
    message: AnsweredMessage
    logprobs: None
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"]


class PromptTokensDetails(Answer):
    cached_tokens: int
    audio_tokens: int


class CompletionTokensDetails(Answer):
    reasoning_tokens: int
    audio_tokens: int
    accepted_prediction_tokens: int
    rejected_prediction_tokens: int


class ChatUsage(Answer):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


class ChatCompletion(Answer):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: ChatUsage
