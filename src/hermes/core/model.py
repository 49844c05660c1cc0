"""What a language model is asked, what it answers, and the port behind which each provider stands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from hermes.core.message import Message, ToolCall
from hermes.core.run import Usage

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model sees it. `parameters` is a JSON schema of type object."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One call of a model.

    `params` holds the caller's settings under OpenAI's chat names (temperature, top_p, max_tokens, stop, seed,
    presence_penalty, frequency_penalty, reasoning_effort, response_format, parallel_tool_calls, metadata, user);
    what the model could not honour comes back in `ModelDone.ignored_params`. `tool_choice` is auto, none, required,
    or the name of the one tool that must be called.
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str = "auto"
    params: Mapping[str, Any] = field(default_factory=dict)
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ModelRetried:
    """The call failed before anything of its answer was shown, and is made again after `wait_seconds`."""

    reason: str
    attempt: int
    wait_seconds: float
    model: str


@dataclass(frozen=True, slots=True)
class ModelDone:
    """The last item of every stream. `usage` is this call's own."""

    finish_reason: FinishReason
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    ignored_params: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    refusal: str | None = None


ModelItem = TextDelta | ReasoningDelta | ModelRetried | ModelDone


class Model(Protocol):
    """A language model.

    `stream` raises an `UpstreamError`, never a provider's own exception; cancelling the task that reads it ends
    the provider's call. `context_length` is in tokens, None where unknown.
    """

    @property
    def name(self) -> str: ...

    @property
    def provider(self) -> str: ...

    @property
    def context_length(self) -> int | None: ...

    @property
    def takes_images(self) -> bool: ...

    @property
    def takes_audio(self) -> bool: ...

    def stream(self, request: ModelRequest) -> AsyncIterator[ModelItem]: ...

    async def close(self) -> None: ...


@runtime_checkable
class Warms(Protocol):
    """A model whose first answer would be slow. `warm` does beforehand what can be done without a question."""

    async def warm(self, tools: Sequence[ToolSpec] = (), instructions: str = "") -> None: ...


@runtime_checkable
class Priced(Protocol):
    """A model whose calls may cost money. `has_price`: whether what one costs is known here, be it nothing."""

    async def has_price(self) -> bool: ...
