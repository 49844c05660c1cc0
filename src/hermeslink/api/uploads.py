"""A file as it comes in: a body that is the file, or multipart/form-data with the file in one of its parts.

Its bytes are passed on as they arrive; nothing is gathered in memory or in a temporary file, as a form parser would.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from email.message import Message as Headers

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from hermes.core.errors import InvalidInput, UnsupportedMedia

Write = Callable[[bytes], Awaitable[None]]

MOST_PARTS = 32


async def read_upload(request: Request, write: Write) -> str | None:
    """Gives the file's bytes to `write`, whose errors it passes on, and returns its name as its sender said it.

    Raises InvalidInput for a body that is not whole, or `blob_empty` for a form without a file; UnsupportedMedia.
    """
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMedia("the body must not be compressed (Content-Encoding)")
    content_type = request.headers.get("content-type", "")
    is_form = content_type.partition(";")[0].strip().lower() == "multipart/form-data"
    try:
        if is_form:
            return await _read_form(request, content_type, write)
        async for chunk in request.stream():
            await write(chunk)
    except ClientDisconnect as gone:
        raise InvalidInput("the connection closed before the file was whole") from gone
    return name_in(request.headers.get("content-disposition", "").encode("latin-1"))


def name_in(disposition: bytes) -> str | None:
    """The filename of a Content-Disposition, in any of the forms that clients write it; None where there is none, and
    an empty text where it cannot be read."""
    parsed = Headers()
    try:
        parsed["Content-Disposition"] = " ".join(disposition.decode("utf-8", "replace").split())
        return parsed.get_filename()
    except ValueError:  # a charset that cannot be asked, a part with a number of 5,000 digits
        return ""


async def _read_form(request: Request, content_type: str, write: Write) -> str | None:
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise InvalidInput("the Content-Type names no boundary of the parts")
    form = _Form()
    try:
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
        async for chunk in request.stream():
            parser.write(chunk)
            for piece in form.take():
                await write(piece)
    except FormParserError as error:
        raise InvalidInput(f"the multipart body is broken: {error}") from error
    if not form.is_whole:
        raise InvalidInput("the multipart body ended before its last boundary")
    if form.name is None:
        raise InvalidInput("no part of the form is a file: one must have a filename", code="blob_empty")
    return form.name


class _Form:
    """What the parser calls. The first part with a filename is the file; fields beside it mean nothing here."""

    def __init__(self) -> None:
        self.is_whole = False
        self.name: str | None = None
        self._pieces: list[bytes] = []
        self._count = 0
        self._is_in_file = False
        self._header = b""
        self._disposition = b""

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self._part_begins,
            "on_header_field": self._header_named,
            "on_header_value": self._header_valued,
            "on_header_end": self._header_ends,
            "on_headers_finished": self._data_begins,
            "on_part_data": self._data_comes,
            "on_end": self._ends,
        }

    def take(self) -> list[bytes]:
        pieces, self._pieces = self._pieces, []
        return pieces

    def _part_begins(self) -> None:
        self._count += 1
        if self._count > MOST_PARTS:
            raise InvalidInput(f"the multipart body has more than {MOST_PARTS} parts")
        self._disposition = b""

    def _header_named(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_valued(self, data: bytes, start: int, end: int) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition += data[start:end]

    def _header_ends(self) -> None:
        self._header = b""

    def _data_begins(self) -> None:
        name = name_in(self._disposition)
        self._is_in_file = name is not None
        if name is None:
            return
        if self.name is not None:
            raise InvalidInput("there is more than one file in the form: send one a request")
        self.name = name

    def _data_comes(self, data: bytes, start: int, end: int) -> None:
        if self._is_in_file:
            self._pieces.append(data[start:end])

    def _ends(self) -> None:
        self.is_whole = True
