"""Server-sent events out of bytes that are cut anywhere."""

from __future__ import annotations


class EventStream:
    """`feed` gives the data of every event that became complete, `close` that of one left open at the end.

    Event names, ids and comments are dropped: chat completions carry everything in the data.
    """

    __slots__ = ("_data", "_is_after_cr", "_line")

    def __init__(self) -> None:
        self._line: list[bytes] = []
        """The pieces of the line that is not ended yet: joined once, so that a long line costs no square."""
        self._data: bytes | None = None
        self._is_after_cr = False

    def feed(self, data: bytes) -> list[bytes]:
        if not data:
            return []
        if self._is_after_cr or b"\r" in data:
            data = self._with_newlines(data)
        if b"\n" not in data:
            if data:
                self._line.append(data)
            return []
        if self._line:
            self._line.append(data)
            data = b"".join(self._line)
            self._line.clear()
        lines = data.split(b"\n")
        rest = lines.pop()
        if rest:
            self._line.append(rest)
        return self._events(lines)

    def close(self) -> list[bytes]:
        """Some servers leave out the empty line after their last event; the standard would drop it, we do not."""
        lines = [b"".join(self._line), b""]
        self._line.clear()
        return self._events(lines)

    def _events(self, lines: list[bytes]) -> list[bytes]:
        events: list[bytes] = []
        pending = self._data
        for line in lines:
            if not line:
                if pending is not None:
                    events.append(pending)
                    pending = None
            elif line.startswith(b"data:"):
                value = line[6:] if line.startswith(b"data: ") else line[5:]
                pending = value if pending is None else pending + b"\n" + value
        self._data = pending
        return events

    def _with_newlines(self, data: bytes) -> bytes:
        """CRLF, CR and LF each end a line; a CR at the very end may be the first half of a CRLF."""
        if self._is_after_cr and data.startswith(b"\n"):
            data = data[1:]
        self._is_after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
