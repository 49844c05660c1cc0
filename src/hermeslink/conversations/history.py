"""What a run is told: the message with its attachments, and what was said before where no session knows it.

The same run is told the same each time, for it may have to be asked for twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hermes.store.database import Connection
from hermeslink.blobs.attaching import Part, mention
from hermeslink.core.blob import Blob
from hermeslink.core.conversation import Message, Role
from hermeslink.core.run import Run
from hermeslink.store import blobs as blob_store
from hermeslink.store import messages as message_store
from hermeslink.store import runs as run_store

MOST_MESSAGES = 5_000
MOST_BYTES = 4 << 20
"""Of the history, the newest of it: an API server takes 10 MiB in a body, 10,000 messages among them."""
_AT_ONCE = 500


def said_before(conn: Connection, run: Run) -> list[dict[str, str]]:
    """The messages that API servers took up before the run's own, oldest first; files are mentioned by name."""
    position = message_store.position_of(conn, run.conversation_id, run.user_message_id)
    said = run_store.said_runs(conn, run.conversation_id)
    found: list[dict[str, str]] = []
    room = MOST_BYTES
    while position is not None and position > 1 and len(found) < MOST_MESSAGES:
        page = message_store.page(conn, run.conversation_id, _AT_ONCE, position)
        carried = blob_store.attached(conn, [message.id for message in page])
        for message in reversed(page):
            text = _told(message, carried.get(message.id, ()))
            if message.run_id not in said or not text:
                continue
            room -= len(text.encode("utf-8", "replace"))
            if room < 0:
                return _whole(found)
            found.append({"role": message.role.value, "content": text})
        position = page[0].position if page else None
    return _whole(found)


def body(run: Run, message: Message, parts: Sequence[Part], history: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Of POST /v1/runs; the session is named beside it."""
    told: dict[str, Any] = {"input": message.text}
    if parts:
        text = [{"type": "text", "text": message.text}] if message.text else []
        told["input"] = [{"role": "user", "content": [*text, *parts]}]
    if run.model is not None:
        told["model"] = run.model
    if run.sends_history:
        told["conversation_history"] = list(history)
    return told


def _told(message: Message, carried: Sequence[Blob]) -> str:
    return "\n".join([text for text in (message.text.strip(), *(mention(blob) for blob in carried)) if text])


def _whole(found: list[dict[str, str]]) -> list[dict[str, str]]:
    """Newest first → oldest first, from a question on."""
    found.reverse()
    first = next((i for i, message in enumerate(found) if message["role"] == Role.USER), len(found))
    return found[first:]
