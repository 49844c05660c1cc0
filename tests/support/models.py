"""A language model that plays a list of answers, one a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from hermes.core.message import ToolCall
from hermes.core.model import ModelDone, ModelItem, ModelRequest, TextDelta
from hermes.core.run import Usage

ONE_CALL = Usage(input_tokens=10, output_tokens=5, api_calls=1)

Answer = Sequence[ModelItem | BaseException | asyncio.Event] | Callable[[ModelRequest], Sequence[ModelItem]]


@dataclass
class ScriptedModel:
    """An answer is a list of items; an exception in it is raised there, an asyncio.Event is waited for.

    `requests` are the calls as they came. A call beyond the script is an AssertionError.
    """

    answers: Sequence[Answer]
    name: str = "scripted"
    provider: str = "test"
    context_length: int | None = None
    takes_images: bool = True
    takes_audio: bool = True
    requests: list[ModelRequest] = field(default_factory=list)

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelItem]:
        self.requests.append(request)
        assert len(self.requests) <= len(self.answers), f"the model was called {len(self.requests)} times"
        answer = self.answers[len(self.requests) - 1]
        for item in answer(request) if callable(answer) else answer:
            match item:
                case BaseException():
                    raise item
                case asyncio.Event():
                    await item.wait()
                case _:
                    yield item

    async def asked(self, times: int = 1) -> None:
        """Returns when it was called so often: of two runs that begin together either may come first."""
        async with asyncio.timeout(20):
            while len(self.requests) < times:
                await asyncio.sleep(0.001)

    async def close(self) -> None:
        pass


def says(*pieces: str, finish_reason: str = "stop", usage: Usage = ONE_CALL) -> list[ModelItem]:
    return [*(TextDelta(piece) for piece in pieces), ModelDone(finish_reason, usage=usage, model="scripted")]  # type: ignore[arg-type]


def calls(*tool_calls: tuple[str, str, str], text: str = "", usage: Usage = ONE_CALL) -> list[ModelItem]:
    """`calls(("call_1", "terminal", '{"command": "ls"}'))`"""
    done = ModelDone("tool_calls", tuple(ToolCall(*call) for call in tool_calls), usage, "scripted")
    return [*([TextDelta(text)] if text else []), done]
