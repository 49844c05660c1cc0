"""The tools that other agents get, and what each does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio

from hermes.core import event as events
from hermes.core.errors import Conflict
from hermes.core.event import KeptEvent, is_final
from hermes.core.key import OWNER
from hermes.core.message import Message
from hermes.core.run import Ask, RunRequest, RunStatus
from hermes.mcp import shapes
from hermes.mcp.services import SOURCE, Services
from hermes.store.encoding import from_json
from hermes.store.session_list import Listing

MOST_WAITING = 100
"""Runs that are looked through for open questions."""
CANCEL_REASON = "the caller cancelled it"

Tell = Callable[[str], Awaitable[None]]
"""One line of what goes on, for whoever waits for the answer."""


@dataclass(frozen=True, slots=True)
class Tool:
    """`run` gets the checked arguments and gives a value of `answer`; it raises HermesError."""

    name: str
    description: str
    arguments: type[shapes.Arguments]
    answer: type[shapes.Answer]
    run: Callable[[Services, Any, Tell], Awaitable[shapes.Answer]]
    only_reads: bool = True
    approves: bool = False


async def sessions_list(services: Services, given: shapes.ListSessions, tell: Tell) -> shapes.SessionRows:
    listing = Listing(limit=given.limit, offset=given.offset, words=given.words, source=given.source)
    page = await services.sessions.list(OWNER, listing)
    rows = [shapes.session_row(from_json(summary)) for summary in page.summaries]
    return shapes.SessionRows(sessions=rows, has_more=page.has_more)


async def session_messages(services: Services, given: shapes.ReadMessages, tell: Tell) -> shapes.MessageRows:
    session = await services.sessions.get(OWNER, given.session_id)
    page = await services.sessions.messages(
        OWNER, session.id, limit=given.limit, before_id=given.before_id, is_newest=True
    )
    rows = [shapes.message_row(kept) for kept in page.messages]
    return shapes.MessageRows(session_id=session.id, title=session.title, messages=rows, has_more=page.has_more)


async def session_search(services: Services, given: shapes.Search, tell: Tell) -> shapes.HitRows:
    found = await services.sessions.search(OWNER, given.query, limit=given.limit)
    hits = [shapes.hit_row(hit) for hit in found.hits]
    return shapes.HitRows(hits=hits, has_more=found.has_more, not_indexed_yet=found.pending)


async def send(services: Services, given: shapes.Send, tell: Tell) -> shapes.RunRow:
    """Whoever stops waiting before the turn's end stops the turn. Raises NotFound for a session that is not there."""
    if given.session_id is not None:
        await services.sessions.get(OWNER, given.session_id)
    run = await services.runner.start(
        RunRequest(
            owner=OWNER,
            source=SOURCE,
            messages=(Message("user", given.message),),
            session_id=given.session_id,
            instructions=given.instructions,
            model=given.model,
            ask=Ask.WAIT if services.may_approve else Ask.DENY,
            may_wait_forever=True,
        )
    )
    try:
        return await _waited(services, run.id, given.wait_seconds, tell)
    except asyncio.CancelledError:
        with suppress(Conflict), anyio.CancelScope(shield=True):  # the conflict: it has ended, or is ending
            await services.runner.stop(run.id, OWNER, CANCEL_REASON)
        raise


async def run_wait(services: Services, given: shapes.WaitForRun, tell: Tell) -> shapes.RunRow:
    return await _waited(services, given.run_id, given.wait_seconds, tell)


async def run_status(services: Services, given: shapes.OneRun, tell: Tell) -> shapes.RunRow:
    return await _row(services, given.run_id)


async def run_stop(services: Services, given: shapes.OneRun, tell: Tell) -> shapes.RunRow:
    await services.runner.stop(given.run_id, OWNER, "stopped over MCP")
    return await _row(services, given.run_id)


async def run_steer(services: Services, given: shapes.Steer, tell: Tell) -> shapes.Done:
    await services.runner.steer(given.run_id, OWNER, given.text, by=SOURCE)
    return shapes.Done(done=True)


async def runs_list(services: Services, given: shapes.ListRuns, tell: Tell) -> shapes.RunRows:
    runs = await services.runner.list_runs(OWNER, session_id=given.session_id, limit=given.limit)
    return shapes.RunRows(runs=[shapes.run_row(run, [], []) for run in runs])


async def approvals_list(services: Services, given: shapes.NoArguments, tell: Tell) -> shapes.ApprovalRows:
    waiting = await services.runner.list_runs(OWNER, statuses=(RunStatus.WAITING_FOR_APPROVAL,), limit=MOST_WAITING)
    pending = [one for run in waiting for one in await services.runner.pending_approvals(run.id, OWNER)]
    return shapes.ApprovalRows(approvals=[shapes.approval_row(one) for one in pending])


async def approval_answer(services: Services, given: shapes.AnswerApproval, tell: Tell) -> shapes.Done:
    answered = await services.runner.answer(
        given.run_id, OWNER, given.choice, approval_id=given.approval_id, by=SOURCE, reason=given.reason
    )
    return shapes.Done(done=answered > 0)


TOOLS = (
    Tool(
        "sessions_list",
        "List the conversations that this agent has had, the latest first.",
        shapes.ListSessions,
        shapes.SessionRows,
        sessions_list,
    ),
    Tool(
        "session_messages",
        "Read the messages of a conversation, oldest first; without before_id the newest ones.",
        shapes.ReadMessages,
        shapes.MessageRows,
        session_messages,
    ),
    Tool(
        "session_search",
        "Search everything that was said in all conversations; the newest first.",
        shapes.Search,
        shapes.HitRows,
        session_search,
    ),
    Tool(
        "send",
        "Give this agent a message and wait for its answer (output). It uses its own tools for that. When it needs an "
        "approval or an answer, this returns early with approvals or questions: give approval_answer or run_steer, "
        "then run_wait.",
        shapes.Send,
        shapes.RunRow,
        send,
        only_reads=False,
    ),
    Tool(
        "run_wait",
        "Wait for a run that goes on: until it ends, asks something new, or wait_seconds are over.",
        shapes.WaitForRun,
        shapes.RunRow,
        run_wait,
    ),
    Tool("run_status", "Show a run as it is now.", shapes.OneRun, shapes.RunRow, run_status),
    Tool("runs_list", "List runs, the latest first.", shapes.ListRuns, shapes.RunRows, runs_list),
    Tool("run_stop", "Stop a run.", shapes.OneRun, shapes.RunRow, run_stop, only_reads=False),
    Tool(
        "run_steer",
        "Say something to a run that goes on; it hears it before its next step. Answers its open question.",
        shapes.Steer,
        shapes.Done,
        run_steer,
        only_reads=False,
    ),
    Tool(
        "approvals_list",
        "List the dangerous actions that wait for a person's approval, of all runs.",
        shapes.NoArguments,
        shapes.ApprovalRows,
        approvals_list,
        approves=True,
    ),
    Tool(
        "approval_answer",
        "Allow (once, or for the session) or deny an action that waits. Ask the person you work for first.",
        shapes.AnswerApproval,
        shapes.Done,
        approval_answer,
        only_reads=False,
        approves=True,
    ),
)


def offered(services: Services) -> dict[str, Tool]:
    return {
        tool.name: tool
        for tool in TOOLS
        if (services.may_send or tool.only_reads) and (services.may_approve or not tool.approves)
    }


async def _waited(services: Services, run_id: str, seconds: float, tell: Tell) -> shapes.RunRow:
    """The run when it has ended, waits for somebody, or the time is over."""
    run = await services.runner.get(run_id, OWNER)
    row = await _row(services, run_id)
    if run.status.is_final or row.approvals or row.questions:
        return row
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for kept in services.runner.follow(run_id, run.last_seq):
                line = _line(kept)
                if line:
                    await tell(services.hide(line))
                if is_final(kept.event):
                    break
                if isinstance(kept.event, events.ApprovalRequested | events.ClarifyRequested):
                    row = await _row(services, run_id)
                    if row.approvals or row.questions:
                        return row
    return await _row(services, run_id)


def _line(kept: KeptEvent) -> str:
    match kept.event:
        case events.ToolStarted(tool=tool, preview=preview):
            return f"{tool}: {preview}"
        case events.ToolCompleted(tool=tool, error=error):
            return f"{tool} failed: {error}" if error else f"{tool} is done"
        case events.ApprovalRequested(command=command):
            return f"waits for approval: {command}"
        case events.ModelRetrying(reason=reason):
            return f"asks the model again: {reason}"
        case events.Warned(message=message):
            return message
    return ""


async def _row(services: Services, run_id: str) -> shapes.RunRow:
    run = await services.runner.get(run_id, OWNER)
    approvals = await services.runner.pending_approvals(run_id, OWNER)
    questions = await services.runner.pending_clarifications(run_id, OWNER)
    return shapes.run_row(run, approvals, questions)
