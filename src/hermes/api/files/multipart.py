"""multipart/form-data as it comes in: the bytes of the one file are passed on, the other fields are small text.

Nothing is gathered in memory or in a temporary file of its own, which is what Starlette's form parser would do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from hermes.core.errors import InvalidInput

MAX_PARTS = 32
MAX_FIELD_BYTES = 8 * 1024

Write = Callable[[bytes], Awaitable[None]]


@dataclass(slots=True)
class Form:
    """`filename` is the file's, None where there was no part of the file's name."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None


async def read_form(request: Request, content_type: str, file_field: str, write: Write) -> Form:
    """Raises InvalidInput for a body that is not whole, and whatever `write` raises."""
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise InvalidInput("the Content-Type names no boundary of the parts")
    parts = _Parts()
    try:
        parser = MultipartParser(boundary, parts.callbacks())  # type: ignore[arg-type]
        form = _Reader(file_field, write)
        async for chunk in request.stream():
            if chunk:
                parser.write(chunk)
            for event in parts.take():
                await form.take(event)
    except FormParserError as error:
        raise InvalidInput(f"the multipart body is broken: {error}") from error
    except ClientDisconnect as gone:
        raise InvalidInput("the connection closed before the body was whole") from gone
    if not parts.is_whole:
        raise InvalidInput("the multipart body ended before its last boundary")
    return form.form


@dataclass(frozen=True, slots=True)
class _Began:
    headers: Mapping[str, bytes]


_Event = _Began | bytes


class _Parts:
    """What the parser calls, as a list of events: a part's headers, then its bytes."""

    def __init__(self) -> None:
        self.is_whole = False
        self._events: list[_Event] = []
        self._headers: dict[str, bytes] = {}
        self._name = b""
        self._value = b""

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self._headers_begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def take(self) -> list[_Event]:
        taken, self._events = self._events, []
        return taken

    def _headers_begin(self) -> None:
        self._headers = {}

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = self._value
        self._name = self._value = b""

    def _headers_end(self) -> None:
        self._events.append(_Began(self._headers))

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(data[start:end])

    def _end(self) -> None:
        self.is_whole = True


class _Reader:
    def __init__(self, file_field: str, write: Write) -> None:
        self.form = Form()
        self._file_field = file_field
        self._write = write
        self._count = 0
        self._field: str | None = None
        self._bytes = b""

    async def take(self, event: _Event) -> None:
        if isinstance(event, _Began):
            self._begin(event.headers)
        elif self._field is None:
            await self._write(event)
        else:
            self._bytes += event
            if len(self._bytes) > MAX_FIELD_BYTES:
                raise InvalidInput(f"{self._field} has more than {MAX_FIELD_BYTES} bytes", param=self._field)
            self.form.fields[self._field] = self._bytes.decode("utf-8", "replace")

    def _begin(self, headers: Mapping[str, bytes]) -> None:
        self._count += 1
        if self._count > MAX_PARTS:
            raise InvalidInput(f"the multipart body has more than {MAX_PARTS} parts")
        _, options = parse_options_header(headers.get("content-disposition", b"").decode("latin-1"))
        name = options.get(b"name", b"").decode("utf-8", "replace")[:100]
        self._bytes = b""
        if name != self._file_field:
            self._field = name
            self.form.fields[name] = ""
            return
        if self.form.filename is not None:
            raise InvalidInput(f"there is more than one {name}: send one file a request", param=name)
        self._field = None
        self.form.filename = options.get(b"filename", b"").decode("utf-8", "replace") or "file"
