"""`AIAgent`: the agent without a gateway, for scripts."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import queue
import sys
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hermes.agent.messages import from_openai
from hermes.core.errors import InvalidInput
from hermes.core.event import (
    ApprovalRequested,
    ClarifyRequested,
    MessageDelta,
    ReasoningDelta,
    RunEvent,
    SubagentCompleted,
    SubagentStarted,
    ToolCompleted,
    ToolStarted,
)
from hermes.core.ids import is_session_id
from hermes.core.message import Message
from hermes.core.run import Ask, Limits, RunRequest
from hermes.library import options
from hermes.library.background import background
from hermes.library.conversation import Conversation
from hermes.library.engine import EngineHolder, EnginePlan
from hermes.library.progress import progress
from hermes.library.sessions import Sessions
from hermes.library.turn import Ended, Item, Turn

OWNER = "owner"
"""Whose the sessions are: in a store that a gateway uses too, they are its owner's."""

Content = str | Sequence[Mapping[str, Any]]
Messages = Sequence[Mapping[str, Any]]


class AIAgent:
    """An agent in this process. docs/library.md describes each argument.

    Blocking and async methods may be mixed, from any thread and any loop; calls of one instance that go on in the
    same session take turns. Callbacks of the blocking methods are called in the caller's thread, those of the async
    ones on the caller's loop, where they may be coroutine functions.
    """

    def __init__(
        self,
        *,
        model: str = "",
        base_url: str | None = None,
        api_key: str | None = None,
        provider: str | None = None,
        fallback_model: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        max_iterations: int = 90,
        max_tokens: int | None = None,
        reasoning_config: Mapping[str, Any] | None = None,
        request_overrides: Mapping[str, Any] | None = None,
        enabled_toolsets: Sequence[str] | None = None,
        disabled_toolsets: Sequence[str] | None = None,
        ephemeral_system_prompt: str | None = None,
        skip_context_files: bool = False,
        skip_memory: bool = False,
        session_id: str | None = None,
        store: str | Path | None = None,
        workdir: str | Path | None = None,
        platform: str | None = None,
        quiet_mode: bool = False,
        verbose_logging: bool = False,
        stream_delta_callback: Callable[[str], Any] | None = None,
        reasoning_callback: Callable[[str], Any] | None = None,
        tool_progress_callback: Callable[..., Any] | None = None,
        approval_callback: Callable[..., Any] | None = None,
        clarify_callback: Callable[..., Any] | None = None,
    ) -> None:
        if type(max_iterations) is not int or max_iterations < 1:
            raise InvalidInput("max_iterations must be a whole number from 1", param="max_iterations")
        if session_id is not None and not is_session_id(session_id):
            raise InvalidInput(
                "session_id may have 1 to 256 letters, digits, and . _ : -",
                code="invalid_session_id",
                param="session_id",
            )
        self.max_iterations = max_iterations
        self.quiet_mode = quiet_mode
        self.ephemeral_system_prompt = ephemeral_system_prompt
        self.skip_context_files = skip_context_files
        self.skip_memory = skip_memory
        self.stream_delta_callback = stream_delta_callback
        self.reasoning_callback = reasoning_callback
        self.tool_progress_callback = tool_progress_callback
        self.approval_callback = approval_callback
        self.clarify_callback = clarify_callback
        self._workdir = str(Path(workdir).expanduser().absolute()) if workdir is not None else None
        self._parameters = options.parameters(
            max_tokens=max_tokens, reasoning_config=reasoning_config, request_overrides=request_overrides
        )
        settings = options.settings_for(
            model=model,
            base_url=base_url,
            api_key=api_key,
            provider=provider,
            fallback_model=fallback_model,
            max_iterations=max_iterations,
        )
        self._toolsets = options.enabled(enabled_toolsets, settings)
        self._disabled_toolsets = options.disabled(disabled_toolsets, settings)
        self._plan = EnginePlan(settings, options.database_url(store), platform or "library", options.memory_home())
        self._session_name = session_id
        self._turns: set[Turn] = set()
        self._engine: EngineHolder | None = None
        self._sessions = Sessions(session_id)
        if verbose_logging:
            _log_to_stderr()

    @property
    def session_id(self) -> str | None:
        """The session of the latest conversation; None before the first of an agent without a name for it."""
        return self._sessions.current

    def chat(self, message: Content, stream_callback: Callable[[str], Any] | None = None) -> str:
        """The answer's text. Raises `UpstreamError` and the like when the model fails, `LimitReached` at
        max_iterations, `RunStopped` after `interrupt`."""
        return _text(self._converse(self._turn(message), stream_callback))

    def run_conversation(
        self,
        user_message: Content,
        system_message: str | None = None,
        conversation_history: Messages | None = None,
        task_id: str | None = None,
        stream_callback: Callable[[str], Any] | None = None,
    ) -> Conversation:
        """One turn, with its messages and what it used. A failed model is told in the result (`failed`, `error`);
        wrong arguments raise `InvalidInput`."""
        turn = self._turn(user_message, system_message, conversation_history, task_id)
        return _result(self._converse(turn, stream_callback))

    async def achat(self, message: Content, stream_callback: Callable[[str], Any] | None = None) -> str:
        """`chat` on a running loop."""
        return _text(await self._aconverse(self._turn(message), stream_callback))

    async def arun_conversation(
        self,
        user_message: Content,
        system_message: str | None = None,
        conversation_history: Messages | None = None,
        task_id: str | None = None,
        stream_callback: Callable[[str], Any] | None = None,
    ) -> Conversation:
        """`run_conversation` on a running loop."""
        turn = self._turn(user_message, system_message, conversation_history, task_id)
        return _result(await self._aconverse(turn, stream_callback))

    async def events(
        self,
        user_message: Content,
        system_message: str | None = None,
        conversation_history: Messages | None = None,
        task_id: str | None = None,
    ) -> AsyncGenerator[RunEvent, None]:
        """Everything that happens in the turn, to its final event (`run_agent.events`). Leaving the loop stops it."""
        turn = self._turn(user_message, system_message, conversation_history, task_id)
        async with self._reading(turn) as inbox:
            while not isinstance(item := await inbox.get(), Ended):
                await self._areact(turn, item, None)
                yield item
            if item.result is None and item.error is not None:
                raise item.error

    async def stream(
        self,
        user_message: Content,
        system_message: str | None = None,
        conversation_history: Messages | None = None,
        task_id: str | None = None,
    ) -> AsyncGenerator[str, None]:
        """The text as it comes. Raises what `chat` raises, behind the text that had come."""
        turn = self._turn(user_message, system_message, conversation_history, task_id)
        async with self._reading(turn) as inbox:
            while not isinstance(item := await inbox.get(), Ended):
                await self._areact(turn, item, None)
                if isinstance(item, MessageDelta):
                    yield item.delta
            if item.error is not None:
                raise item.error

    def interrupt(self, message: str | None = None) -> None:
        """Stop what this agent is doing; from any thread, a signal handler or a callback. Returns at once."""
        for turn in list(self._turns):
            turn.stop(message or "interrupted")

    def steer(self, text: str) -> None:
        """Say something to the turn that is going on; the model hears it before its next step."""
        for turn in list(self._turns):
            turn.say(text)

    def close(self) -> None:
        """End what runs, with background processes and connections. A later call begins anew."""
        engine = self._engine
        if engine is not None and engine.background.is_usable:
            engine.background.run(engine.close())

    async def aclose(self) -> None:
        engine = self._engine
        if engine is not None and engine.background.is_usable:
            await asyncio.wrap_future(engine.background.submit(engine.close()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _turn(
        self,
        user_message: Content,
        system_message: str | None = None,
        conversation_history: Messages | None = None,
        task_id: str | None = None,
    ) -> Turn:
        """Raises InvalidInput, naming the argument."""
        if task_id is not None and not is_session_id(task_id):
            raise InvalidInput("task_id may have 1 to 256 letters, digits, and . _ : -", param="task_id")
        said = from_openai([{"role": "user", "content": _plain(user_message)}], "user_message")
        history: list[Message] = from_openai(_plain(conversation_history or []), "conversation_history")
        given = [dict(message) for message in conversation_history or ()]  # the caller's list stays the caller's
        system = [message.text for message in history if message.role == "system"]
        own = self.ephemeral_system_prompt if system_message is None else system_message
        is_stored = self._session_name is not None and conversation_history is None
        request = RunRequest(
            owner=OWNER,
            source="library",
            messages=tuple(said),
            history=None if is_stored else tuple(message for message in history if message.role != "system"),
            instructions="\n\n".join(text for text in (own, *system) if text),
            params=self._parameters,
            toolsets=self._toolsets,
            disabled_toolsets=self._disabled_toolsets,
            limits=Limits(max_steps=self.max_iterations),
            ask=Ask.DENY if self.approval_callback is None else Ask.WAIT,
            may_clarify=self.clarify_callback is not None,
            may_wait_forever=True,
            workdir=self._workdir or str(Path.cwd()),
            skip_context_files=self.skip_context_files,
            skip_memory=self.skip_memory,
        )
        return Turn(self._holder(), self._sessions, request, given, task_id)

    def _holder(self) -> EngineHolder:
        """This agent's engine; a new one after a fork, where the old one's thread does not exist."""
        here = background()
        with here.lock:
            if self._engine is None or self._engine.background is not here:
                self._sessions = Sessions(self._session_name)
                holder = self._engine = EngineHolder(here, self._plan)
                weakref.finalize(self, here.drop, holder.close).atexit = False
            return self._engine

    def _converse(self, turn: Turn, stream_callback: Callable[[str], Any] | None) -> Ended:
        inbox: queue.SimpleQueue[Item] = queue.SimpleQueue()
        with self._begun(turn, inbox.put, waits=True), progress(is_quiet=self.quiet_mode) as shown:
            while not isinstance(item := inbox.get(), Ended):
                shown.show(item)
                for call in self._calls(item, stream_callback):
                    call()
                if isinstance(item, ApprovalRequested) and self.approval_callback is not None:
                    turn.answer(item, self._question(item)())
                elif isinstance(item, ClarifyRequested) and self.clarify_callback is not None:
                    turn.clarify(item, self.clarify_callback(item.question, list(item.choices)))
        return item

    async def _aconverse(self, turn: Turn, stream_callback: Callable[[str], Any] | None) -> Ended:
        with progress(is_quiet=self.quiet_mode) as shown:
            async with self._reading(turn) as inbox:
                while not isinstance(item := await inbox.get(), Ended):
                    shown.show(item)
                    await self._areact(turn, item, stream_callback)
        return item

    @contextlib.asynccontextmanager
    async def _reading(self, turn: Turn) -> AsyncIterator[asyncio.Queue[Item]]:
        loop = asyncio.get_running_loop()
        inbox: asyncio.Queue[Item] = asyncio.Queue()

        def deliver(item: Item) -> None:
            with contextlib.suppress(RuntimeError):  # the caller's loop is closed: nobody reads any more
                loop.call_soon_threadsafe(inbox.put_nowait, item)

        with self._begun(turn, deliver, waits=False):
            yield inbox

    @contextlib.contextmanager
    def _begun(self, turn: Turn, deliver: Callable[[Item], None], *, waits: bool) -> Iterator[None]:
        self._turns.add(turn)
        turn.begin(deliver)
        try:
            yield
        finally:
            self._turns.discard(turn)
            turn.leave(waits=waits)

    def _calls(self, item: RunEvent, stream_callback: Callable[[str], Any] | None) -> list[Callable[[], Any]]:
        """The callbacks this event is for, in order."""
        told = self.tool_progress_callback
        match item:
            case MessageDelta(delta):
                return [partial(call, delta) for call in (self.stream_delta_callback, stream_callback) if call]
            case ReasoningDelta(delta) if self.reasoning_callback is not None:
                return [partial(self.reasoning_callback, delta)]
            case ToolStarted() if told is not None:
                args = dict(item.args)
                return [partial(told, "tool.started", item.tool, item.preview, args, tool_call_id=item.tool_call_id)]
            case ToolCompleted() if told is not None:
                more = {"duration": item.duration, "is_error": item.error is not None, "result": item.preview}
                call_id = item.tool_call_id
                return [partial(told, "tool.completed", item.tool, None, None, tool_call_id=call_id, **more)]
            case SubagentStarted() if told is not None:
                ids = {"tool_call_id": item.tool_call_id, "subagent_id": item.subagent_id}
                return [partial(told, "subagent.start", "delegate_task", item.goal, {}, **ids)]
            case SubagentCompleted() if told is not None:
                ids = {"tool_call_id": item.tool_call_id, "subagent_id": item.subagent_id}
                more = {"duration": item.duration, "is_error": item.error is not None, "result": item.summary}
                return [partial(told, "subagent.complete", "delegate_task", None, None, **ids, **more)]
        return []

    def _question(self, item: ApprovalRequested) -> Callable[[], Any]:
        assert self.approval_callback is not None
        return partial(self.approval_callback, item.command, item.description, allow_permanent=item.allow_permanent)

    async def _areact(self, turn: Turn, item: RunEvent, stream_callback: Callable[[str], Any] | None) -> None:
        for call in self._calls(item, stream_callback):
            given = call()
            if inspect.isawaitable(given):
                await given
        if isinstance(item, ApprovalRequested) and self.approval_callback is not None:
            choice = self._question(item)()
            turn.answer(item, await choice if inspect.isawaitable(choice) else choice)
        elif isinstance(item, ClarifyRequested) and self.clarify_callback is not None:
            said = self.clarify_callback(item.question, list(item.choices))
            turn.clarify(item, await said if inspect.isawaitable(said) else said)


def _text(ended: Ended) -> str:
    if ended.error is not None:
        raise ended.error
    assert ended.result is not None
    return ended.result["final_response"]


def _result(ended: Ended) -> Conversation:
    if ended.result is None:
        assert ended.error is not None
        raise ended.error
    return ended.result


def _plain(content: object) -> object:
    """Any sequence of mappings becomes the list of objects that JSON has; what is neither is named as wrong later."""
    if isinstance(content, str) or not isinstance(content, Sequence):
        return content
    return [dict(one) if isinstance(one, Mapping) else one for one in content]


def _log_to_stderr() -> None:
    log = logging.getLogger("hermes")
    log.setLevel(logging.DEBUG)
    if not any(isinstance(handler, logging.StreamHandler) for handler in log.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        log.addHandler(handler)
