"""Providers with an API of their own (Anthropic, Google, Bedrock, Cohere, …), through pydantic-ai's model classes.

The extra `providers` brings them. They are imported at the first request, in a thread, since that takes seconds.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hermes.core.clock import Clock, SystemClock
from hermes.core.errors import (
    ConfigError,
    HermesError,
    NoModel,
    StreamCut,
    UpstreamError,
    UpstreamRejected,
    UpstreamUnreachable,
)
from hermes.core.message import ToolCall
from hermes.core.model import ModelDone, ModelItem, ModelRequest, ReasoningDelta, TextDelta

from . import prices
from .upstream import upstream_error, without_secret

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelResponse, ModelResponsePart
    from pydantic_ai.models import Model as TheirModel

_INSTALL = "pip install 'hermes-server[providers]'"
_MOST_REMEMBERED = 512
_BEDROCK = {
    "AWS_ACCESS_KEY_ID": "aws_access_key_id",
    "AWS_SECRET_ACCESS_KEY": "aws_secret_access_key",
    "AWS_SESSION_TOKEN": "aws_session_token",
    "AWS_REGION": "region_name",
    "AWS_DEFAULT_REGION": "region_name",
    "AWS_PROFILE": "profile_name",
}


class PydanticAIModel:
    """One model of one provider, by the names that pydantic-ai gives both (`anthropic`, `claude-…`).

    What the provider signed (its thoughts before a tool call) goes back to it with the call, as long as this object
    lives: `Message` has no place for it.
    """

    def __init__(
        self,
        name: str,
        *,
        provider: str,
        api_key: str | None = None,
        base_url: str | None = None,
        environ: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        context_length: int | None = None,
        reasoning_effort: str | None = None,
        takes_images: bool = True,
        takes_audio: bool = False,
        key_name: str = "the API key",
    ) -> None:
        self.name = name
        self.provider = provider
        self._context_length = context_length
        self._reasoning_effort = reasoning_effort
        self.takes_images = takes_images
        self.takes_audio = takes_audio
        self._api_key = api_key
        self._base_url = base_url
        self._environ = environ or {}
        self._clock: Clock = clock or SystemClock()
        self._key_name = key_name
        self._model: TheirModel | None = None
        self._opening = asyncio.Lock()
        self._remembered: OrderedDict[str, Sequence[ModelResponsePart]] = OrderedDict()

    @property
    def context_length(self) -> int | None:
        return self._context_length or prices.context_length(self.provider, self.name)

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelItem]:
        model = await self._open()
        from pydantic_ai.direct import model_request_stream
        from pydantic_ai.messages import (
            PartDeltaEvent,
            PartStartEvent,
            TextPart,
            TextPartDelta,
            ThinkingPart,
            ThinkingPartDelta,
        )

        from . import pydantic_ai_format as their

        try:
            settings, ignored = their.to_settings(request, model, self._reasoning_effort)
            parameters = their.to_parameters(request)
            messages = their.to_messages(request.messages, self._parts_of)
        except ValueError as exc:  # a data: URL that is none
            raise UpstreamRejected(f"{self.provider} cannot be sent this: {exc}", status=400) from exc
        if "response_format" in ignored:
            parameters = their.without_json_schema(parameters)
        is_open = False
        try:
            async with model_request_stream(
                model, messages, model_settings=settings, model_request_parameters=parameters
            ) as stream:
                is_open = True
                async for event in stream:
                    match event:
                        case (
                            PartStartEvent(part=TextPart(content=text))
                            | PartDeltaEvent(delta=TextPartDelta(content_delta=text))
                        ):
                            if text:
                                yield TextDelta(text)
                        case (
                            PartStartEvent(part=ThinkingPart(content=thought))
                            | PartDeltaEvent(delta=ThinkingPartDelta(content_delta=thought))
                        ):
                            if thought:
                                yield ReasoningDelta(thought)
                response = stream.get()
        except HermesError:
            raise
        except Exception as exc:
            raise self._error(exc, is_open=is_open) from exc
        self._remember(response)
        yield ModelDone(
            their.finish_of(response),
            their.calls_of(response),
            their.usage_of(response.usage),
            self.name,
            ignored_params=ignored,
        )

    async def close(self) -> None:
        if self._model is not None:
            await self._model.__aexit__(None, None, None)
            self._model = None

    async def _open(self) -> TheirModel:
        async with self._opening:
            if self._model is None:
                model = await asyncio.to_thread(self._new_model)
                await model.__aenter__()
                self._model = model
        return self._model

    def _new_model(self) -> TheirModel:
        try:
            from pydantic_ai.exceptions import UserError
            from pydantic_ai.models import infer_model
            from pydantic_ai.providers import infer_provider_class

            from . import pydantic_ai_format  # noqa: F401
        except ImportError as exc:
            raise NoModel(f"{self.provider} needs {_INSTALL}") from exc
        try:
            return infer_model(
                f"{self.provider}:{self.name}", lambda provider: infer_provider_class(provider)(**self._arguments())
            )
        except ImportError as exc:
            raise NoModel(f"{self.provider} needs {_INSTALL} (pydantic-ai says: {exc})") from exc
        except (UserError, ValueError, TypeError) as exc:
            raise ConfigError(without_secret(f"{self.provider}: {exc}", self._api_key)) from exc

    def _arguments(self) -> dict[str, Any]:
        arguments = {"api_key": self._api_key, "base_url": self._base_url}
        if self.provider == "bedrock":
            for name, argument in _BEDROCK.items():
                arguments.setdefault(argument, self._environ.get(name))
        return {name: value for name, value in arguments.items() if value is not None}

    def _parts_of(self, calls: Sequence[ToolCall]) -> Sequence[ModelResponsePart] | None:
        return self._remembered.get(calls[0].id) if calls else None

    def _remember(self, response: ModelResponse) -> None:
        from pydantic_ai.messages import ToolCallPart

        first = next((part for part in response.parts if isinstance(part, ToolCallPart)), None)
        if first is not None:
            self._remembered[first.tool_call_id] = response.parts
            if len(self._remembered) > _MOST_REMEMBERED:
                self._remembered.popitem(last=False)

    def _error(self, error: Exception, *, is_open: bool) -> UpstreamError:
        from pydantic_ai import exceptions as theirs

        from .pydantic_ai_format import refusal_in

        address = self._base_url or self.provider
        said = without_secret(f"{type(error).__name__}: {error}", self._api_key)
        if isinstance(error, theirs.ModelConnectionError):
            if is_open:
                return StreamCut(f"{self.provider} broke off its answer ({self.name}): {said}")
            return UpstreamUnreachable(f"no answer from {self.provider} at {address}: {said}")
        if isinstance(error, theirs.ModelAPIError):
            refusal, status, wait = refusal_in(error)
            failed = upstream_error(
                refusal,
                status=status,
                provider=self.provider,
                address=address,
                model=self.name,
                secret=self._api_key,
                key_name=self._key_name,
            )
            failed.retry_after_seconds = wait
            return failed
        if isinstance(error, theirs.UserError):
            return UpstreamRejected(f"{self.provider} cannot take this request for {self.name}: {said}", status=400)
        if isinstance(error, theirs.UnexpectedModelBehavior):
            return UpstreamError(f"{self.provider} gave an answer that is not one ({self.name}): {said}")
        if is_open:
            return StreamCut(f"{self.provider} broke off its answer ({self.name}): {said}")
        return UpstreamUnreachable(f"no answer from {self.provider} at {address}: {said}")
