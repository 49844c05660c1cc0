"""One call: the run is followed on the background loop, its events are delivered to whoever called."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, replace
from typing import Any

from hermes.agent.history import with_answered_calls
from hermes.agent.messages import to_openai
from hermes.app import Engine
from hermes.core import event as events
from hermes.core.errors import Conflict, HermesError
from hermes.core.event import FinalEvent, RunEvent
from hermes.core.message import Message
from hermes.core.run import Run, RunRequest
from hermes.files.parts import in_request
from hermes.library.conversation import Conversation, RunStopped, conversation, problem
from hermes.library.engine import EngineHolder
from hermes.library.sessions import Sessions
from hermes.runs.approvals import parse_choice
from hermes.store import sessions as session_store

PAGE = 500
END_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Ended:
    """The last thing delivered. `error` is what `chat` raises; it is raised everywhere when there is no `result`."""

    result: Conversation | None
    error: Exception | None


Item = RunEvent | Ended


class Turn:
    """`deliver` is called on the background thread and must hand over at once."""

    def __init__(
        self,
        holder: EngineHolder,
        sessions: Sessions,
        request: RunRequest,
        given: list[dict[str, Any]],
        task_id: str | None,
    ) -> None:
        self._holder = holder
        self._sessions = sessions
        self._request = request
        self._given = given
        self._task_id = task_id
        self._engine: Engine | None = None
        self._run: Run | None = None
        self._future: Future[None] | None = None
        self._stop_reason: str | None = None
        self._has_ended = False

    def begin(self, deliver: Callable[[Item], None]) -> None:
        self._future = self._holder.background.submit(self._work(deliver))

    def stop(self, reason: str) -> None:
        """From any thread. The run ends as cancelled; before it has begun, it ends as soon as it has."""
        self._stop_reason = reason
        self._holder.background.drop(self._stop)

    def answer(self, question: events.ApprovalRequested, choice: object) -> None:
        """From any thread. True, False and the published words; too late an answer is no answer."""
        word = parse_choice({True: "once", False: "deny", None: "deny"}.get(choice, choice))  # type: ignore[call-overload]
        self._holder.background.drop(lambda: self._answer(question.approval_id, word))

    def clarify(self, question: events.ClarifyRequested, answer: object) -> None:
        """From any thread. None or an empty text tells the model that there is no answer."""
        text = ("" if answer is None else str(answer).strip()) or "(no answer)"
        self._holder.background.drop(lambda: self._clarify(question.clarify_id, text))

    def say(self, text: str) -> None:
        self._holder.background.drop(lambda: self._say(text))

    def leave(self, *, waits: bool) -> None:
        """The caller goes, with or without the end. What still runs is stopped."""
        if self._has_ended or self._future is None:
            return
        self.stop("the caller went away")
        if waits:
            with contextlib.suppress(FutureTimeout, CancelledError):
                self._future.result(END_SECONDS)

    async def _work(self, deliver: Callable[[Item], None]) -> None:
        try:
            ended = await self._ended(deliver)
        except asyncio.CancelledError:
            ended = Ended(None, RunStopped("the interpreter is ending"))
        except Exception as error:  # noqa: BLE001 the caller gets it
            ended = Ended(None, error)
        finally:
            self._holder.leave()
        self._has_ended = True
        if not self._holder.background.is_ending:
            deliver(ended)

    async def _ended(self, deliver: Callable[[Item], None]) -> Ended:
        engine = self._engine = await self._holder.enter()
        session_id, over = self._sessions.enter(self._task_id, goes_on=bool(self._given))
        try:
            for one in over:
                await end_session(engine, one)
            return await self._follow(engine, replace(self._request, session_id=session_id), deliver)
        finally:
            for one in self._sessions.leave(session_id):
                await end_session(engine, one)

    async def _follow(self, engine: Engine, request: RunRequest, deliver: Callable[[Item], None]) -> Ended:
        engine.agent.tools(request)  # a wrong toolset is the caller's mistake: no run begins
        run = self._run = await engine.runner.start(await in_request(request, engine.files))
        if self._stop_reason is not None:
            await self._stop()
        warnings: list[str] = []
        final: FinalEvent | None = None
        async for kept in engine.runner.follow(run.id):
            match kept.event:
                case events.Warned(message):
                    warnings.append(message)
                case events.RunCompleted() | events.RunFailed() | events.RunCancelled() | events.RunInterrupted():
                    final = kept.event
            deliver(kept.event)
        if final is None:
            raise HermesError(f"the run {run.id} ended without saying how")
        messages = await self._messages(engine, run)
        kept_run = await engine.runner.get(run.id, request.owner)
        result = conversation(run, final, messages, warnings, kept_run.output or "")
        return Ended(result, problem(final, result, request.limits.max_steps or 0))

    async def _messages(self, engine: Engine, run: Run) -> list[dict[str, Any]]:
        """What the caller gave, or what the session held, and what this run added."""
        session_id = run.session_id
        if self._request.history is None:
            whole = await engine.database.read(session_store.history, session_id)
            return [to_openai(message) for message in with_answered_calls(whole)]
        added: list[Message] = []
        after = self._sessions.last_message_ids.get(session_id, 0)
        while page := await engine.database.read(session_store.messages, session_id, after, PAGE):
            added += [kept.message for kept in page if kept.run_id == run.id]
            after = page[-1].id
        self._sessions.last_message_ids[session_id] = after
        return [*self._given, *(to_openai(message) for message in with_answered_calls(added))]

    async def _stop(self) -> None:
        if self._engine is not None and self._run is not None:
            with contextlib.suppress(Conflict):  # it has ended, or is ending
                await self._engine.runner.stop(self._run.id, self._request.owner, self._stop_reason or "stopped")

    async def _answer(self, approval_id: str, choice: str) -> None:
        assert self._engine is not None and self._run is not None
        with contextlib.suppress(Conflict):  # its time was over: the run has told so
            await self._engine.runner.answer(self._run.id, self._request.owner, choice, approval_id=approval_id)

    async def _clarify(self, clarify_id: str, text: str) -> None:
        assert self._engine is not None and self._run is not None
        with contextlib.suppress(Conflict):
            await self._engine.runner.clarify(self._request.owner, self._run.id, text, clarify_id)

    async def _say(self, text: str) -> None:
        if self._engine is not None and self._run is not None:
            with contextlib.suppress(Conflict):
                await self._engine.runner.steer(self._run.id, self._request.owner, text)


async def end_session(engine: Engine, session_id: str) -> None:
    """Nobody can go on with it: its processes end, and what was kept in memory is let go."""
    await engine.agent.close_session(session_id)
    if engine.database.path is None:
        await engine.database.write(session_store.delete, session_id)
