"""Where the model's question waits for the person. Question and answer are events of the run and rows of the store.

Other calls of the step may be under way meanwhile, so the run is `running`, as it is while any tool works.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hermes.core import event as events
from hermes.core.clock import Clock
from hermes.core.errors import Conflict, InvalidInput
from hermes.core.ids import new_id
from hermes.core.ports import ClarifyAnswer, ToolContext
from hermes.core.run import Ask, Run, RunRequest
from hermes.runs.events import Recorder
from hermes.runs.questions import Questions
from hermes.store import clarifications as clarify_store
from hermes.store import steers as steer_store
from hermes.store.database import Connection, Database

Clarified = Mapping[str, tuple[str, ClarifyAnswer | None]]
"""By the id of a tool call: the id of the question it asked, and its answer when there is one."""


class ClarifyDesk:
    """The questions of one run. The answer is the question's row, whoever wrote it.

    `asked` is what an earlier process asked: a question that is still open is asked again under its id, an answer that
    was given holds.
    """

    def __init__(
        self,
        database: Database,
        recorder: Recorder,
        clock: Clock,
        timeout_seconds: float,
        asked: Clarified | None = None,
    ) -> None:
        self._recorder = recorder
        self._asked = dict(asked or {})
        self._questions = Questions(
            database,
            recorder,
            clock,
            timeout_seconds,
            get_answer=clarify_store.get_answer,
            resolve=clarify_store.resolve,
            tell=self._tell,
            late=ClarifyAnswer(None, "timeout"),
        )

    async def ask(self, tool_call_id: str, question: str, choices: Sequence[str]) -> ClarifyAnswer:
        """Always returns: a time-out is an answer without a text. It is cancelled with the run."""
        clarify_id, answer = self._asked.pop(tool_call_id, (new_id("clar"), None))
        answer = answer or await self._questions.given(clarify_id)
        return answer or await self._ask(clarify_id, tool_call_id, question, tuple(choices))

    async def _ask(self, clarify_id: str, tool_call_id: str, question: str, choices: tuple[str, ...]) -> ClarifyAnswer:
        run_id, session_id = self._recorder.run_id, self._recorder.session_id

        async def record(now: float, expires_at: float, before_sent: Callable[[], None]) -> None:
            def keep(conn: Connection) -> None:
                clarify_store.ask(
                    conn, clarify_id, run_id, session_id, tool_call_id, question, choices, expires_at, now
                )

            await self._recorder.record(
                events.ClarifyRequested(clarify_id, tool_call_id, question, choices, expires_at),
                operations=(keep,),
                is_durable=True,
                before_sent=before_sent,
            )

        return await self._questions.ask(clarify_id, record)

    async def settle(self) -> None:
        await self._questions.settle()

    async def _tell(self, clarify_id: str, answer: ClarifyAnswer) -> None:
        responded = events.ClarifyResponded(clarify_id, answer.text, answer.by, answer.outcome)
        await self._recorder.record(responded, is_durable=True)


class Clarifier:
    """`core.ports.Clarifies`. `desk_of` gives the desk of a run that goes on here, None where nobody can be asked."""

    def __init__(self, desk_of: Callable[[str], ClarifyDesk | None], hide: Callable[[str], str] = str) -> None:
        self._desk_of = desk_of
        self._hide = hide

    async def clarify(self, context: ToolContext, question: str, choices: Sequence[str]) -> ClarifyAnswer:
        desk = self._desk_of(context.run_id)
        if desk is None:
            return ClarifyAnswer(None, "policy")
        return await desk.ask(context.tool_call_id, self._hide(question), [self._hide(choice) for choice in choices])


def may_clarify(request: RunRequest) -> bool:
    """Whether somebody answers what the model asks."""
    return request.ask is Ask.WAIT if request.may_clarify is None else request.may_clarify


def give_clarification(conn: Connection, run: Run, answer: ClarifyAnswer, *, clarify_id: str | None, now: float) -> str:
    """Answers the named question of the run, or the oldest that waits: its id.

    Raises Conflict `clarify_not_active` when nothing waits, `clarify_not_pending` when that one does not.
    """
    waiting = [one.id for one in clarify_store.pending(conn, run.id)]
    for one in waiting[:1] if clarify_id is None else [one for one in waiting if one == clarify_id]:
        if clarify_store.resolve(conn, one, answer, now):
            return one
    if clarify_id is not None:
        raise Conflict(f"question {clarify_id!r} is not pending", code="clarify_not_pending", param="clarify_id")
    raise Conflict("no question waits for an answer in this run", code="clarify_not_active")


def answer_or_steer(conn: Connection, run: Run, text: str, by: str | None, now: float) -> bool:
    """What is said while a question waits is its answer; else the model hears it before its next step. False where the
    run has ended, or is being stopped."""
    for one in clarify_store.pending(conn, run.id):
        if clarify_store.resolve(conn, one.id, ClarifyAnswer(text, "user", by), now):
            return True
    return steer_store.add(conn, run.id, text, now)


def checked_answer(answer: object) -> str:
    """Raises InvalidInput for what says nothing."""
    if not isinstance(answer, str) or not answer.strip():
        raise InvalidInput("answer must say something", param="answer")
    return answer.strip()
