"""One prompt: a run that is followed, shown in the editor, asked about there, and stopped from there."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from acp import schema
from acp.interfaces import Client

from hermes.acp.errors import failed_run
from hermes.acp.modes import PLAN_INSTRUCTIONS, Mode
from hermes.acp.permission import ask_editor, ask_for_words
from hermes.acp.services import Services
from hermes.acp.session import SOURCE, OpenSession, time_of, title_of
from hermes.acp.updates import Projection, Update
from hermes.agent.compaction import tokens_of, tokens_of_text
from hermes.core import event as events
from hermes.core.errors import Conflict, HermesError, NotFound
from hermes.core.event import FinalEvent, RunEvent
from hermes.core.key import OWNER
from hermes.core.message import Message
from hermes.core.run import Run, RunRequest
from hermes.files.parts import in_request
from hermes.store import sessions as session_store

PAGE = 200


class Turn:
    """`by` names the editor, for whoever reads who allowed what; `has_forms`: it can ask for text."""

    def __init__(
        self, services: Services, session: OpenSession, editor: Client, by: str, *, has_forms: bool = False
    ) -> None:
        self.done = asyncio.Event()
        """Set by whoever called `run`, when that is over."""
        self._services = services
        self._session = session
        self._editor = editor
        self._by = by
        self._has_forms = has_forms
        self._run: Run | None = None
        self._is_cancelled = False
        self._results: dict[str, deque[str]] = {}
        self._last_message = 0
        self._questions: dict[str, asyncio.Task[None]] = {}
        self._answered: set[str] = set()

    async def run(self, message: Message) -> schema.PromptResponse:
        """Until the run has ended and everything of it is sent. Raises what `Runner.start` raises, and RequestError
        for a run that failed."""
        runner = self._services.runner
        final: RunEvent | None = None
        run: Run | None = None
        try:
            request = await in_request(self._request(message), self._services.files)
            self._last_message = await self._newest_message()
            run = self._run = await runner.start(request)
            self._session.notes = ()
            if self._is_cancelled:
                await self._stop("cancelled in the editor")
            final = await self._follow(run)
        finally:
            for question in self._questions.values():
                question.cancel()
            await asyncio.gather(*self._questions.values(), return_exceptions=True)
            if run is not None:
                self._services.modes.end_run(run.id)
            if final is None:
                await self._stop("the editor went away")
        if isinstance(final, events.RunFailed) and not self._is_cancelled:
            raise failed_run(final.error)
        await self._tell_state(final)
        return schema.PromptResponse(stop_reason=self._stop_reason(final), usage=_usage(final))

    async def cancel(self, reason: str = "cancelled in the editor") -> None:
        """The run ends; before it has begun, it ends as soon as it has."""
        self._is_cancelled = True
        await self._stop(reason)

    def _request(self, message: Message) -> RunRequest:
        session, services = self._session, self._services
        is_plan = services.modes.of(session.id) is Mode.PLAN
        return RunRequest(
            owner=OWNER,
            source=SOURCE,
            messages=(message,),
            session_id=session.id,
            model=session.model,
            workdir=str(session.workdir),
            instructions=PLAN_INSTRUCTIONS if is_plan else "",
            toolsets=services.reading_toolsets() if is_plan else None,
            warnings=session.notes,
        )

    async def _follow(self, run: Run) -> FinalEvent:
        def before(tool_call_id: str) -> Mapping[Any, str | None]:
            return self._services.modes.before(run.id, tool_call_id)

        projection = Projection(run.id, self._session.workdir, self._result_of, before)
        async for kept in self._services.runner.follow(run.id):
            event = kept.event
            for update in await projection.of(event):
                await self._send(update)
            match event:
                case events.ApprovalRequested(approval_id=question_id):
                    asking = self._ask(run, event, projection.question(event))
                    self._questions[question_id] = asyncio.create_task(asking)
                case events.ClarifyRequested(clarify_id=question_id):
                    asking = self._clarify(run, event, projection.asked(event))
                    self._questions[question_id] = asyncio.create_task(asking)
                case (
                    events.ApprovalResponded(approval_id=question_id) | events.ClarifyResponded(clarify_id=question_id)
                ):
                    if question_id in self._questions and question_id not in self._answered:  # by somebody else
                        self._questions[question_id].cancel()
                case events.RunCompleted() | events.RunFailed() | events.RunCancelled() | events.RunInterrupted():
                    return event
        return events.RunInterrupted("the run ended without saying how")

    async def _ask(self, run: Run, event: events.ApprovalRequested, call: schema.ToolCallUpdate) -> None:
        choice, reason = await ask_editor(self._editor, self._session.id, call, event.choices)
        self._answered.add(event.approval_id)
        with suppress(Conflict):  # it was answered elsewhere, or its time is over
            await self._services.runner.answer(
                run.id, OWNER, choice, approval_id=event.approval_id, by=self._by, reason=reason
            )

    async def _clarify(self, run: Run, event: events.ClarifyRequested, call: schema.ToolCallUpdate) -> None:
        text = await ask_for_words(self._editor, self._session.id, call, event, has_forms=self._has_forms)
        self._answered.add(event.clarify_id)
        with suppress(Conflict):
            await self._services.runner.clarify(OWNER, run.id, text, event.clarify_id, by=self._by)

    async def _stop(self, reason: str) -> None:
        if self._run is not None:
            with suppress(Conflict, NotFound):  # it has ended, or is ending
                await self._services.runner.stop(self._run.id, OWNER, reason)

    async def _send(self, update: Update) -> None:
        """The run of an editor that does not read any more ends, and is followed to its end."""
        try:
            await self._editor.session_update(self._session.id, update)
        except ConnectionError:
            if not self._is_cancelled:
                await self.cancel("the editor went away")

    async def _result_of(self, tool_call_id: str) -> str:
        """It was kept together with the event that says that it is there. Empty for a call that another made."""
        while not self._results.get(tool_call_id):
            page = await self._services.database.read(
                session_store.messages, self._session.id, self._last_message, PAGE
            )
            if not page:
                return ""
            self._last_message = page[-1].id
            for kept in page:
                if kept.message.role == "tool" and kept.message.tool_call_id is not None:
                    self._results.setdefault(kept.message.tool_call_id, deque()).append(kept.message.text)
        return self._results[tool_call_id].popleft()

    async def _newest_message(self) -> int:
        page = await self._services.database.read(
            lambda conn: session_store.messages(conn, self._session.id, 0, 1, is_newest=True)
        )
        return page[-1].id if page else 0

    def _stop_reason(self, final: FinalEvent) -> schema.StopReason:
        match final:
            case events.RunCompleted(finish_reason="length"):
                most = self._services.agent.limits.max_steps
                is_steps = most is not None and final.usage.get("api_calls", 0) >= most
                return "max_turn_requests" if is_steps else "max_tokens"
            case events.RunCompleted(finish_reason="content_filter"):
                return "refusal"
            case events.RunCompleted():
                return "end_turn"
        return "cancelled"

    async def _tell_state(self, final: FinalEvent) -> None:
        """What the session is called now, and how full its model's window is."""
        services = self._services
        session = await services.database.read(session_store.get, self._session.id)
        if session is None:
            return
        await self._send(
            schema.SessionInfoUpdate(
                session_update="session_info_update",
                title=title_of(session),
                updated_at=time_of(session.last_active),
            )
        )
        if not isinstance(final, events.RunCompleted):
            return
        try:
            model = await services.models.resolve(self._session.model or session.model_choice)
        except HermesError:  # it has answered just now: this is no reason to call the turn failed
            return
        if model.context_length is None:
            return
        if final.usage.get("api_calls") == 1:
            used = int(final.usage.get("total_tokens", 0))
        else:
            specs, instructions = services.agent.opening(model)
            schemas = sum(tokens_of_text(f"{spec.name}{spec.description}{spec.parameters}") for spec in specs)
            history = await services.database.read(session_store.history, self._session.id)
            used = tokens_of(history) + schemas + tokens_of_text(instructions)
        cost = session.usage.cost_usd
        await self._send(
            schema.UsageUpdate(
                session_update="usage_update",
                used=min(used, model.context_length),
                size=model.context_length,
                cost=None if cost is None else schema.Cost(amount=cost, currency="USD"),
            )
        )


def _usage(final: FinalEvent) -> schema.Usage | None:
    if isinstance(final, events.RunInterrupted) or not final.usage:
        return None
    usage = final.usage
    return schema.Usage(
        total_tokens=usage["total_tokens"],
        input_tokens=usage["input_tokens"],
        output_tokens=usage["output_tokens"],
        thought_tokens=usage["reasoning_tokens"] or None,
        cached_read_tokens=usage["cache_read_tokens"] or None,
        cached_write_tokens=usage["cache_write_tokens"] or None,
    )
