"""Making a kept history one that a model accepts."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence

from hermes.core.message import Message

LOST = "[no result: the call was interrupted before it finished; whether it took effect is unknown]"


def with_answered_calls(messages: Sequence[Message]) -> list[Message]:
    """Every tool call gets its result right behind it, in any order it was kept; a lost one is told as lost.

    Providers refuse a history in which a call has no result, or a result no call.
    """
    if not any(message.tool_calls or message.role == "tool" for message in messages):
        return list(messages)
    results: defaultdict[str | None, deque[Message]] = defaultdict(deque)  # some servers use an id again and again
    for message in messages:
        if message.role == "tool":
            results[message.tool_call_id].append(message)
    told: list[Message] = []
    for message in messages:
        if message.role == "tool":
            continue
        told.append(message)
        for call in message.tool_calls:
            kept = results[call.id]
            told.append(kept.popleft() if kept else Message("tool", LOST, tool_call_id=call.id, name=call.name))
    return told


def open_call_ids(messages: Iterable[Message]) -> set[str]:
    """Ids of calls that have no result yet."""
    opened: set[str] = set()
    for message in messages:
        opened.update(call.id for call in message.tool_calls)
        if message.role == "tool" and message.tool_call_id:
            opened.discard(message.tool_call_id)
    return opened
