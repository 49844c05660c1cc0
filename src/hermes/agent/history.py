"""Making a kept history one that a model accepts."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence

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


def with_own_part(
    history: Sequence[Message], answers: Sequence[Message], turns: Mapping[str, Sequence[Message]]
) -> list[Message]:
    """A history that a client re-sent, with what the server did in the turns that ended in the client's calls.

    The client was shown its own calls only. `turns` holds, by the id of a client's call, the whole turn that made it;
    it takes the place of the message that the client sent for it. Results the client gave (in the history and in
    `answers`) are its own to give.
    """
    given = {message.tool_call_id for message in (*history, *answers) if message.role == "tool"}
    told: list[Message] = []
    for message in history:
        turn = next((turns[call.id] for call in message.tool_calls if call.id in turns), None)
        if turn is None:
            told.append(message)
        else:
            told += [one for one in turn if one.role != "tool" or one.tool_call_id not in given]
    return told
