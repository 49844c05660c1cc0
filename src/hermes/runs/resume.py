"""Where a run stood when its process ended: read from its events and messages, which are its checkpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from hermes.agent.turn import OpenStep
from hermes.core import event as events
from hermes.core.event import KeptEvent
from hermes.core.message import Message
from hermes.core.ports import ApprovalAnswer, ClarifyAnswer
from hermes.core.run import Run, RunRequest
from hermes.store import sessions as session_store
from hermes.store import started_calls as started_call_store
from hermes.store import steers as steer_store
from hermes.store.database import Connection
from hermes.store.requests import request_from_data


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` are the run's own messages up to the step that is open. Text behind `void_after` was of an answer that
    was lost before it was whole. `asked` is what a person was asked about calls of the open step, `clarified` what
    those calls asked. `calls_done` counts the results by the id of their call; `children_told` is what was told of runs
    that it delegated: names of events and ids.
    """

    done: tuple[Message, ...] = ()
    open_step: OpenStep | None = None
    asked: dict[str, tuple[str, ApprovalAnswer | None]] = field(default_factory=dict)
    clarified: dict[str, tuple[str, ClarifyAnswer | None]] = field(default_factory=dict)
    calls_done: Counter[str] = field(default_factory=Counter)
    children_told: frozenset[tuple[str, str]] = frozenset()
    void_after: int = 0


def progress_of(kept: Sequence[KeptEvent], own: Sequence[Message], started: Collection[str]) -> Progress:
    """`own` are the messages that the run added, `started` the calls that took effect and have no result."""
    announced: set[str] = set()
    asked: dict[str, tuple[str, ApprovalAnswer | None]] = {}
    clarified: dict[str, tuple[str, ClarifyAnswer | None]] = {}
    calls_done: Counter[str] = Counter()
    told: set[tuple[str, str]] = set()
    boundary = 0
    for one in kept:
        match one.event:
            case events.MessageDelta() | events.ReasoningDelta() | events.ReasoningAvailable() | events.Warned():
                continue
            case events.ToolStarted(tool_call_id=call) | events.ClientToolCalled(tool_call_id=call):
                announced.add(call)
            case events.ToolCompleted(tool_call_id=call):
                announced.discard(call)
                asked.pop(call, None)
                clarified.pop(call, None)
                calls_done[call] += 1
            case events.SubagentStarted(subagent_id=child) | events.SubagentCompleted(subagent_id=child):
                told.add((one.event.name, child))
            case events.ApprovalRequested(subagent_id=str()):
                pass  # the child asks it again
            case events.ApprovalRequested(approval_id=approval, tool_call_id=call):
                asked[call] = (approval, None)
            case events.ApprovalResponded(approval, choice, by, outcome):
                for call, (question, _) in asked.items():
                    if question == approval:
                        asked[call] = (approval, ApprovalAnswer(choice, outcome, by))
            case events.ClarifyRequested(clarify_id=question, tool_call_id=call):
                clarified[call] = (question, None)
            case events.ClarifyResponded(question, text, by, outcome):
                for call, (open_question, _) in clarified.items():
                    if open_question == question:
                        clarified[call] = (question, ClarifyAnswer(text, outcome, by))
            case _:
                pass
        boundary = one.seq
    last_seq = kept[-1].seq if kept else 0
    done, step = _split(own, frozenset(announced), frozenset(started))
    is_last_answer_kept = own and own[-1].role == "assistant" and not (announced & _calls(own[-1]))
    void_after = last_seq if is_last_answer_kept else boundary
    return Progress(tuple(done), step, asked, clarified, calls_done, frozenset(told), void_after)


def resumable(run: Run) -> RunRequest | None:
    """What the run was asked; None for one that cannot go on: a plain chat's, or one that another version kept."""
    if not run.is_durable:
        return None
    try:
        return request_from_data(run.request, run)
    except (KeyError, TypeError, ValueError):
        return None


def unfinished_text(kept: Sequence[KeptEvent], void_after: int) -> str:
    """The text of the answer that was lost."""
    return "".join(
        one.event.delta for one in kept if one.seq > void_after and isinstance(one.event, events.MessageDelta)
    )


def _split(
    own: Sequence[Message], announced: frozenset[str], started: frozenset[str]
) -> tuple[Sequence[Message], OpenStep | None]:
    """The step is open when a call of the last answer has no result, or is the client's to answer."""
    for place in range(len(own) - 1, -1, -1):
        answer, behind = own[place], own[place + 1 :]
        if answer.role == "tool":
            continue
        if answer.role != "assistant" or not answer.tool_calls:
            break
        results = tuple(message for message in behind if message.role == "tool")
        if _calls(answer) <= {result.tool_call_id for result in results}:
            break
        return own[:place], OpenStep(answer, results, announced, started)
    return own, None


def _calls(answer: Message) -> set[str]:
    return {call.id for call in answer.tool_calls}


def left_behind(conn: Connection, run: Run) -> tuple[list[Message], set[str], list[tuple[int, str]]]:
    """The run's own messages, its calls that took effect and have no result, and what was said to it unheard."""
    own = [kept.message for kept in session_store.messages_of_run(conn, run.session_id, run.id)]
    return own, started_call_store.of_run(conn, run.id), steer_store.waiting(conn, run.id)
