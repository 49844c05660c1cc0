"""A run's events as an API server sends them: server-sent events out of bytes that are cut anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

MAX_EVENT_BYTES = 16 * 1024 * 1024
FINAL = frozenset({"run.completed", "run.failed", "run.cancelled", "run.interrupted"})


@dataclass(frozen=True, slots=True)
class RemoteEvent:
    """`type` as published (`message.delta`), `data` the whole object. `raw`: the data as it came, on one line,
    for relays."""

    seq: int
    type: str
    data: dict[str, Any]
    raw: bytes = b""

    @property
    def is_final(self) -> bool:
        return self.type in FINAL


@dataclass(frozen=True, slots=True)
class SentEvent:
    """One block of a stream. A comment has its text in `comment` and nothing else."""

    data: bytes = b""
    name: str = ""
    id: str = ""
    comment: str | None = None


class TooLong(Exception):
    """An event that no end is seen of."""


class EventStream:
    """`feed` gives every event, and every comment, that became complete."""

    __slots__ = ("_data", "_id", "_is_after_cr", "_length", "_line", "_name")

    def __init__(self) -> None:
        self._line: list[bytes] = []
        """The pieces of the line that is not ended yet: joined once, so that a long line costs no square."""
        self._data: list[bytes] = []
        self._name = ""
        self._id = ""
        self._length = 0
        self._is_after_cr = False

    def feed(self, data: bytes) -> list[SentEvent]:
        """Raises TooLong."""
        if not data:
            return []
        if self._is_after_cr or b"\r" in data:
            data = self._with_newlines(data)
        self._length += len(data)
        lines = data.split(b"\n")
        if len(lines) > 1 and self._line:
            lines[0] = b"".join([*self._line, lines[0]])
            self._line.clear()
        rest = lines.pop()
        if rest:
            self._line.append(rest)
        found = [event for line in lines if (event := self._take(line)) is not None]
        if self._length > MAX_EVENT_BYTES:
            raise TooLong
        return found

    def _take(self, line: bytes) -> SentEvent | None:
        if not line:
            return self._dispatch()
        if line.startswith(b":"):
            return SentEvent(comment=line[1:].strip().decode("utf-8", "replace"))
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._name = value.decode("utf-8", "replace")
        elif name == b"id":
            self._id = value.decode("utf-8", "replace")
        return None

    def _dispatch(self) -> SentEvent | None:
        """The id of an event without data is dropped with it: what was not shown was not seen."""
        data, self._data, self._length = self._data, [], 0
        name, self._name, id_, self._id = self._name, "", self._id, ""
        return SentEvent(b"\n".join(data), name, id_) if data else None

    def _with_newlines(self, data: bytes) -> bytes:
        """CRLF, CR and LF each end a line; a CR at the very end may be the first half of a CRLF."""
        if self._is_after_cr and data.startswith(b"\n"):
            data = data[1:]
        self._is_after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def read_event(sent: SentEvent, count: int) -> RemoteEvent | None:
    """`count`: its place in the list of the run's events, for a server that numbers them neither in `id` nor in `seq`.

    None for what is no event of a run.
    """
    try:
        data = orjson.loads(sent.data)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(data, dict):
        return None
    kind = data.get("event") or sent.name
    if not isinstance(kind, str) or not kind:
        return None
    seq = data.get("seq")
    if not isinstance(seq, int) or isinstance(seq, bool):
        seq = int(sent.id) if sent.id.isascii() and sent.id.isdigit() and len(sent.id) < 16 else count
    raw = orjson.dumps(data) if b"\n" in sent.data else sent.data
    return RemoteEvent(seq, kind, data, raw)
