"""A stored session as the updates it was streamed with."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from hermes.acp.content import blocks_of
from hermes.acp.updates import Projection, Update, user_chunk
from hermes.core import event as events
from hermes.core.event import KeptEvent, RunEvent, lasting
from hermes.core.message import Message
from hermes.core.session import KeptMessage
from hermes.core.toolset import TOOLS
from hermes.store import events as event_store
from hermes.store import sessions as session_store
from hermes.store.database import Database

PAGE = 500


async def replay(database: Database, session_id: str, workdir: Path) -> AsyncIterator[Update]:
    """Everything that was said and done, oldest first. Runs whose events are gone are told from their messages."""
    async for group in _runs(database, session_id):
        run_id = group[0].run_id
        messages = [kept.message for kept in group]
        kept = await _events(database, run_id) if run_id is not None else []
        told = [one.event for one in kept] if kept and kept[0].seq == 1 else None
        async for update in _run(run_id or f"message:{group[0].id}", messages, told, workdir):
            yield update


async def _run(
    run_id: str, messages: Sequence[Message], told: Sequence[RunEvent] | None, workdir: Path
) -> AsyncIterator[Update]:
    results: dict[str, deque[str]] = {}
    for message in messages:
        if message.role == "tool" and message.tool_call_id is not None:
            results.setdefault(message.tool_call_id, deque()).append(message.text)

    async def result_of(tool_call_id: str) -> str:
        waiting = results.get(tool_call_id)
        return waiting.popleft() if waiting else ""

    projection = Projection(run_id, workdir, result_of)
    asked, late = _asked(messages, told) if told is not None else (messages, ())
    for number, item in enumerate([*asked, *(told or ()), *late]):
        if isinstance(item, Message) and item.role == "user":
            for block in blocks_of(item):
                yield user_chunk(block, f"{run_id}:asked:{number}")
            continue
        for event in _as_events(item) if isinstance(item, Message) else (item,):
            for update in await projection.of(event):
                yield update


def _asked(messages: Sequence[Message], told: Sequence[RunEvent]) -> tuple[Sequence[Message], Sequence[Message]]:
    """The messages that the run began with, and those of its steers that no model heard: the others are events."""
    leading = next((place for place, one in enumerate(messages) if one.role not in ("user", "system")), len(messages))
    acts = (events.MessageDelta, events.ReasoningDelta, events.ToolStarted)
    first_act = next((place for place, one in enumerate(told) if isinstance(one, acts)), len(told))
    early = sum(isinstance(one, events.RunSteered) for one in told[:first_act])
    heard = sum(isinstance(one, events.RunSteered) for one in told)
    said = [one for one in messages if one.role == "user"]
    if first_act == len(told):  # it failed before its model said anything: all but the first may be steers
        leading = min(leading, 1 + early)
    asked = [one for one in messages[: max(leading - early, 0)] if one.role == "user"]
    unheard = len(said) - len(asked) - heard
    return asked, said[len(said) - unheard :] if unheard > 0 else ()


def _as_events(message: Message) -> list[RunEvent]:
    """What must have happened that this was said."""
    match message.role:
        case "assistant":
            told: list[RunEvent] = [events.ReasoningDelta(message.reasoning)] if message.reasoning else []
            told += [events.MessageDelta(message.text)] if message.text else []
            return told + [_started(call.name, call.id, call.arguments) for call in message.tool_calls]
        case "tool" if message.tool_call_id is not None:
            return [events.ToolCompleted(message.name or "", message.tool_call_id, 0.0, None, "")]
    return []


def _started(tool: str, call_id: str, arguments: str) -> events.ToolStarted:
    try:
        args: Any = json.loads(arguments or "{}")
    except ValueError:
        args = {"arguments": arguments}
    info = TOOLS.get(tool)
    shown = args if isinstance(args, dict) else {"arguments": args}
    preview = str(shown.get("command") or shown.get("path") or "")
    return events.ToolStarted(tool, call_id, preview, shown, label=info.label if info else tool)


async def _runs(database: Database, session_id: str) -> AsyncIterator[list[KeptMessage]]:
    """The messages of one run after the other; each that belongs to none comes with its neighbours."""
    group: list[KeptMessage] = []
    after = 0
    while page := await database.read(session_store.messages, session_id, after, PAGE):
        after = page[-1].id
        for kept in page:
            if group and group[-1].run_id != kept.run_id:
                yield group
                group = []
            group.append(kept)
    if group:
        yield group


async def _events(database: Database, run_id: str) -> Sequence[KeptEvent]:
    found: list[KeptEvent] = []
    while page := await database.read(event_store.after, run_id, found[-1].seq if found else 0, PAGE):
        found += page
    return lasting(found)
