"""The built-in language model behind the port that every model stands behind."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import orjson

from hermes.core.errors import StreamCut, UpstreamError, UpstreamRejected, UpstreamUnreachable
from hermes.core.ids import new_id
from hermes.core.message import Message, ToolCall
from hermes.core.model import FinishReason, ModelDone, ModelItem, ModelRequest, TextDelta, ToolSpec
from hermes.core.run import Usage

from . import slots
from .builtin import EMBEDDED, Builtin
from .grammar import SAY, Reader, Step, union
from .machine import available_memory, usable_cores
from .offer import Offer, offered
from .parts import Progress, assemble, cache_folder
from .policy import allowed, repeats, wanted
from .process import LlamaServer, Settings
from .prompt import Composer, Prompt
from .sampling import Sampling, Until, sampling

log = logging.getLogger(__name__)

CONTEXT_LENGTH = 8_192
CACHE_MIB = 256
"""Memory for the prompts of sessions that are not being answered."""
REPACK_BYTES = 5_000_000_000
"""With so much free memory the weights are kept in a faster order as well: 600 MB more, a fifth faster."""

Done = TypeVar("Done")


@dataclass(slots=True)
class _Answer:
    """What comes of one generation, filled while it runs."""

    usage: Usage = field(default_factory=Usage)
    is_cut: bool = False
    step: Step | None = None
    said_something: bool = False


class EmbeddedModel:
    """One model file, one child process, one request at a time: the next one waits.

    The process starts with the first request, or with `warm`, and again with the next when it died. `progress` is told
    of the slow things: putting the file together, reading the examples. All methods belong to one event loop.
    """

    provider = "embedded"
    context_length: int | None = CONTEXT_LENGTH
    takes_images = False
    takes_audio = False

    def __init__(
        self, builtin: Builtin = EMBEDDED, folder: Path | None = None, progress: Progress | None = None
    ) -> None:
        self.builtin = builtin
        self._folder = folder or cache_folder()
        self._progress = progress
        self._pen = asyncio.Lock()
        self._server: LlamaServer | None = None
        self._composer = Composer(self._tokenize, CONTEXT_LENGTH)
        self._held: tuple[int, str] | None = None
        self._has_introduced_itself = False

    @property
    def name(self) -> str:
        return self.builtin.name

    @property
    def notice(self) -> str:
        """What a person should know of it before they trust an answer."""
        return (
            f"This is the small built-in model ({self.builtin.title}): it works without a key and nothing leaves this "
            "computer, but it is often wrong. `hermes model` connects a better one."
        )

    async def warm(self, tools: Sequence[ToolSpec] = (), instructions: str = "") -> None:
        """Everything that would make the first answer slow: the file, the process, the prompt as far as it is known.

        Raises NoModel (PartsMissing, PartsWrong, NoRoom) or UpstreamError.
        """
        system = (Message("system", instructions),) if instructions else ()
        async with self._pen:
            await self._ready()
            prompt = await self._composer.compose([*system, Message("user", "")], offered(tools), reserve=0)
            await self._hold_prefix(prompt)
            await self._evaluate(prompt.tokens, "Reading the instructions")

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelItem]:
        async with self._pen:
            answer = _Answer()
            try:
                async with aclosing(self._step(request, answer)) as items:
                    async for item in items:
                        answer.said_something = True
                        yield item
            except UpstreamUnreachable as error:
                if answer.said_something:
                    raise StreamCut(error.message) from error
                raise

    async def close(self) -> None:
        """End the process, also in the middle of an answer."""
        if self._server is not None:
            await self._server.stop()

    async def _step(self, request: ModelRequest, answer: _Answer) -> AsyncGenerator[ModelItem, None]:
        """One answer of the model. It is asked a second time where the first answer is a call that it just made."""
        offer = offered(request.tools, wanted(request))
        settings = sampling(request.params)
        await self._ready()
        prompt = await self._composer.compose(request.messages, offer, settings.max_tokens)
        await self._hold_prefix(prompt)
        now, may_say = allowed(request, offer)
        async with aclosing(self._write(prompt, settings, now, answer, may_say=may_say)) as texts:
            async for text in texts:
                yield TextDelta(text)
        if request.tool_choice == "auto" and answer.step and repeats(request, offer, answer.step):
            async with aclosing(self._write(prompt, settings, Offer(), answer, may_say=True)) as texts:
                async for text in texts:
                    yield TextDelta(text)
        yield self._done(offer, settings, prompt, answer)

    async def _write(
        self, prompt: Prompt, settings: Sampling, offer: Offer, answer: _Answer, *, may_say: bool
    ) -> AsyncGenerator[str, None]:
        """Generate one step; the text of a `say` comes out on the way, everything else is in `answer` at the end."""
        body = {
            **settings.body,
            "prompt": prompt.tokens,
            "n_predict": max(1, min(settings.max_tokens, CONTEXT_LENGTH - len(prompt.tokens))),
            "json_schema": union(offer.schemas, may_say=may_say, answer=settings.answer),
            "cache_prompt": True,
            "id_slot": 0,
            "stream": True,
            "return_progress": True,
        }
        reader, until, written = Reader(), Until(settings.stop), 0
        assert self._server is not None
        async with aclosing(self._server.events("/completion", body)) as events:
            async for event in events:
                written += 1 if event.get("content") else 0
                if text := until.feed(reader.feed(event.get("content", ""))):
                    yield text
                if not reader.is_json_so_far():
                    raise UpstreamRejected("the built-in model cannot be held to the tools' schemas")
                if event.get("stop"):
                    answer.usage += _usage(event)
                    answer.is_cut = event.get("stop_type") == "limit"
                elif until.is_over:  # the server's own count would come at the end that we do not wait for
                    answer.usage += Usage(len(prompt.tokens), written, api_calls=1, cost_usd=0.0)
                    break
        if text := until.rest():
            yield text
        answer.step = Step(SAY, "") if until.is_over else reader.step(offer.schemas)
        if answer.step and answer.step.name == SAY and settings.answer is not None:
            yield orjson.dumps(answer.step.value).decode()

    def _done(self, offer: Offer, settings: Sampling, prompt: Prompt, answer: _Answer) -> ModelDone:
        warnings = list(prompt.warnings)
        if offer.left_out:
            warnings.append("the built-in model takes few tools and was not told of: " + ", ".join(offer.left_out))
        if answer.step is None and not answer.is_cut:
            warnings.append("the built-in model broke its answer off")
        calls: tuple[ToolCall, ...] = ()
        reason: FinishReason = "stop" if answer.step else "length"
        if answer.step and answer.step.name != SAY:
            name, arguments = offer.call(answer.step.name, answer.step.value)
            calls = (ToolCall(new_id("call"), name, arguments),)
            reason = "tool_calls"
        if not self._has_introduced_itself:
            self._has_introduced_itself = True
            warnings.append(self.notice)
        return ModelDone(
            reason, calls, answer.usage, self.name, ignored_params=settings.ignored, warnings=tuple(warnings)
        )

    async def _ready(self) -> None:
        """The file is there and the process runs."""
        if self._server is None:
            file = await _in_thread(partial(assemble, self.builtin, self._folder), self._progress)
            self._server = await asyncio.to_thread(self._new_server, file)
        await self._server.start()

    def _new_server(self, file: Path) -> LlamaServer:
        folder = self._folder / "slots"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        memory = available_memory()
        if memory is not None and memory < self.builtin.memory_bytes:
            log.warning(
                "the built-in model needs %.1f GB of memory and %.1f GB are free: it will be very slow",
                self.builtin.memory_bytes / 1e9,
                memory / 1e9,
            )
        return LlamaServer(
            Settings(
                model=str(file),
                slots=str(folder),
                context=CONTEXT_LENGTH,
                threads=usable_cores(),
                repack=memory is not None and memory >= REPACK_BYTES,
                cache_mib=CACHE_MIB,
            )
        )

    async def _hold_prefix(self, prompt: Prompt) -> None:
        """See to it that the server has evaluated the fixed part: it still has, or a file has, or it does so now."""
        assert self._server is not None
        await self._server.start()
        tokens = prompt.tokens[: prompt.prefix_length]
        key = slots.slot_key(tokens, self.builtin.sha256, self._server.engine, str(CONTEXT_LENGTH))
        if self._held == (self._server.starts, key):
            return
        self._held = None
        if not await self._restored(key, len(tokens)):
            await self._evaluate(tokens)
            await self._save(key)
        self._held = (self._server.starts, key)

    async def _restored(self, key: str, count: int) -> bool:
        assert self._server is not None
        folder = Path(self._server.settings.slots)
        path = await asyncio.to_thread(slots.find, folder, key)
        if path is None:
            return False
        try:
            answer = await self._server.ask("/slots/0?action=restore", {"filename": path.name})
        except UpstreamError as error:
            log.warning("the evaluated examples could not be read back and are made anew: %s", error)
            await asyncio.to_thread(path.unlink, missing_ok=True)
            return False
        return bool(answer.get("n_restored") == count)

    async def _save(self, key: str) -> None:
        """A prefix that cannot be kept is evaluated again after the next start, which is slow and not wrong."""
        assert self._server is not None
        folder = Path(self._server.settings.slots)
        name = f"{new_id('new')}.saving"
        try:
            await self._server.ask("/slots/0?action=save", {"filename": name})
            await asyncio.to_thread(slots.keep, folder, key, folder / name)
        except (UpstreamError, OSError) as error:
            log.warning("the evaluated examples could not be kept: %s", error)
            await asyncio.to_thread((folder / name).unlink, missing_ok=True)

    async def _evaluate(self, tokens: Sequence[int], what: str = "Preparing the built-in model") -> None:
        """Let the server read tokens ahead of the request that needs them; `what` that is, for whoever waits."""
        assert self._server is not None
        body = {"prompt": list(tokens), "n_predict": 0, "cache_prompt": True, "id_slot": 0}
        body |= {"stream": True, "return_progress": True}
        async with aclosing(self._server.events("/completion", body)) as events:
            async for event in events:
                if self._progress and (told := event.get("prompt_progress")):
                    self._progress(what, told["processed"], told["total"])

    async def _tokenize(self, text: str, has_control: bool) -> list[int]:
        assert self._server is not None
        answer = await self._server.ask("/tokenize", {"content": text, "parse_special": has_control})
        tokens: list[int] = answer["tokens"]
        return tokens


async def _in_thread(work: Callable[..., Done], progress: Progress | None) -> Done:
    """Blocking work that stops soon after its task is cancelled: it learns of it from `progress`."""
    cancelled = threading.Event()

    def tell(what: str, done: int, total: int) -> None:
        if cancelled.is_set():
            raise InterruptedError(what)
        if progress:
            progress(what, done, total)

    try:
        return await asyncio.to_thread(work, tell)
    except asyncio.CancelledError:
        cancelled.set()
        raise


def _usage(event: dict[str, Any]) -> Usage:
    return Usage(
        input_tokens=event.get("tokens_evaluated", 0),
        output_tokens=event.get("tokens_predicted", 0),
        cache_read_tokens=event.get("timings", {}).get("cache_n", 0),
        api_calls=1,
        cost_usd=0.0,
    )
