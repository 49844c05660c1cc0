"""/v1/files: what clients upload for the file_id parts of their messages (spec: api-server section 9)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from email.message import Message as Headers
from typing import Annotated, Any, BinaryIO, Literal
from urllib.parse import quote

from pydantic import Field
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hermes.api.answers import JsonAnswer, headers_of, owner_of
from hermes.api.documented import Answer, Query, Shape, documented, read_query
from hermes.api.files.multipart import Form, read_form
from hermes.api.services import Services
from hermes.core.errors import HermesError, InvalidInput, UnsupportedMedia
from hermes.core.file import PURPOSES, File
from hermes.files.uploads import Incoming, check_expiry, check_name, check_purpose

Purpose = Literal["assistants", "batch", "evals", "fine-tune", "user_data", "vision"]
ANCHOR, SECONDS = "expires_after[anchor]", "expires_after[seconds]"
PIECE_BYTES = 256 * 1024

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z")


class Upload(Shape):
    """The fields of the form. The body may be the file's own bytes instead: see UploadQuery."""

    file: Annotated[str, Field(json_schema_extra={"format": "binary"})]
    purpose: Purpose
    expires_after_anchor: Annotated[Literal["created_at"] | None, Field(alias=ANCHOR)] = None
    expires_after_seconds: Annotated[int | None, Field(alias=SECONDS, ge=3600, le=2_592_000)] = None


class UploadQuery(Query):
    """For a body that is the file itself; a form says these in its fields."""

    filename: Annotated[str | None, Field(min_length=1, max_length=1024)] = None
    purpose: Purpose = "user_data"
    expires_after_seconds: Annotated[int | None, Field(alias=SECONDS, ge=3600, le=2_592_000)] = None


class ListQuery(Query):
    limit: Annotated[int, Field(ge=1, le=10_000)] = 10_000
    order: Literal["asc", "desc"] = "desc"
    after: Annotated[str | None, Field(description="id of the last file of the page before")] = None
    purpose: Purpose | None = None


class FileObject(Answer):
    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: Purpose
    status: Literal["processed"]


class FileList(Answer):
    object: Literal["list"]
    data: list[FileObject]
    has_more: bool
    first_id: str | None
    last_id: str | None


class FileDeleted(Answer):
    id: str
    object: Literal["file"]
    deleted: Literal[True]


@documented(
    body=Upload,
    query=UploadQuery,
    answer=FileObject,
    errors=("body_too_large", "file_quota_exceeded", "unsupported_media_type"),
)
async def create(request: Request, services: Services) -> Response:
    """Upload a file.

    Either multipart/form-data with `file` and `purpose`, or the file's own bytes under its own Content-Type, named by
    `?filename=` or Content-Disposition. What the file is, its bytes tell; its name and type are not believed.
    """
    headers = headers_of(request)
    content_type = headers.get(b"content-type", b"").decode("latin-1")
    kind = _check_type(content_type, headers)
    query = read_query(request, UploadQuery)
    declared = headers.get(b"content-length", b"0")
    async with await services.files.receive(
        owner_of(request).id, int(declared) if declared.isdigit() and kind != "multipart/form-data" else 0
    ) as incoming:
        if kind == "multipart/form-data":
            form = await read_form(request, content_type, "file", incoming.write)
            record = await _keep_form(form, incoming)
        else:
            name = query.filename or _name_in(headers) or "file"
            check_name(name)
            await _read_raw(request, incoming)
            record = await incoming.keep(
                filename=name, purpose=query.purpose, expires_after_seconds=query.expires_after_seconds
            )
    return JsonAnswer(file_object(record))


@documented(query=ListQuery, answer=FileList)
async def list_files(request: Request, services: Services) -> Response:
    """List the key's files, newest first unless `order` says otherwise."""
    query = read_query(request, ListQuery)
    found, has_more = await services.files.list_files(
        owner_of(request).id, limit=query.limit, order=query.order, after=query.after, purpose=query.purpose
    )
    return JsonAnswer(
        {
            "object": "list",
            "data": [file_object(file) for file in found],
            "has_more": has_more,
            "first_id": found[0].id if found else None,
            "last_id": found[-1].id if found else None,
        }
    )


@documented(answer=FileObject, errors=("file_not_found",))
async def show(request: Request, services: Services) -> Response:
    """Read a file's record."""
    return JsonAnswer(file_object(await services.files.get(request.path_params["file_id"], owner_of(request).id)))


@documented(media_type="*/*", other_statuses=(206,), errors=("file_not_found", "range_not_satisfiable"))
async def content(request: Request, services: Services) -> ASGIApp:
    """Read a file's bytes, as they were uploaded.

    Always as an attachment, with the type that the bytes have. One `Range` of bytes is honoured (206).
    """
    record = await services.files.get(request.path_params["file_id"], owner_of(request).id)
    start, end, is_part = _wanted(request, record)
    file = await services.files.open_part(record, start, start if request.method == "HEAD" else end)
    return FileAnswer(record, file, start, end, is_part=is_part)


@documented(answer=FileDeleted, errors=("file_not_found",))
async def delete(request: Request, services: Services) -> Response:
    """Delete a file. Sessions keep what a model was given of it."""
    file_id = request.path_params["file_id"]
    await services.files.delete(file_id, owner_of(request).id)
    return JsonAnswer({"id": file_id, "object": "file", "deleted": True})


def file_object(file: File) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created_at),
        "expires_at": None if file.expires_at is None else int(file.expires_at),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
    }


class FileAnswer:
    """Sends bytes `start` to `end` of a file that stands at `start`, and closes it."""

    def __init__(self, record: File, file: BinaryIO, start: int, end: int, *, is_part: bool) -> None:
        self.record = record
        self.file = file
        self.start = start
        self.end = end
        self.is_part = is_part

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self.file:
            status = 206 if self.is_part else 200
            await send({"type": "http.response.start", "status": status, "headers": self._headers()})
            left = 0 if scope["method"] == "HEAD" else self.end - self.start
            while left > 0:
                piece = await asyncio.to_thread(self.file.read, min(left, PIECE_BYTES))
                if not piece:
                    raise HermesError(f"the bytes of {self.record.id} are not whole")
                left -= len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    def _headers(self) -> list[tuple[bytes, bytes]]:
        record = self.record
        headers = {
            "content-type": record.media_type,
            "content-length": str(self.end - self.start),
            "content-disposition": f"attachment; filename*=utf-8''{quote(record.filename, safe='')}",
            "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
            "accept-ranges": "bytes",
            "etag": _etag(record),
        }
        if self.is_part:
            headers["content-range"] = f"bytes {self.start}-{self.end - 1}/{record.bytes}"
        return [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]


class RangeNotSatisfiable(InvalidInput):
    code = "range_not_satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(f"the file has {size} bytes, and the range begins behind them", param="Range")
        self.headers = {"Content-Range": f"bytes */{size}"}


def _wanted(request: Request, record: File) -> tuple[int, int, bool]:
    """Start, end, and whether it is a part. A range that is not understood, or of more than one part, is the whole."""
    headers = headers_of(request)
    found = _RANGE.match(headers.get(b"range", b"").decode("latin-1").strip())
    whole = (0, record.bytes, False)
    if found is None or not (found[1] or found[2]):
        return whole
    if headers.get(b"if-range", _etag(record).encode()) != _etag(record).encode():
        return whole
    start = int(found[1]) if found[1] else max(0, record.bytes - int(found[2]))
    end = min(record.bytes, int(found[2]) + 1) if found[1] and found[2] else record.bytes
    if start >= record.bytes:
        raise RangeNotSatisfiable(record.bytes)
    return (start, end, True) if start < end else whole


def _etag(record: File) -> str:
    return f'"{record.sha256}"'


def _check_type(content_type: str, headers: Mapping[bytes, bytes]) -> str:
    """The media type in lower case. Raises UnsupportedMedia."""
    kind = content_type.partition(";")[0].strip().lower()
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise UnsupportedMedia("the body must not be compressed (Content-Encoding)")
    is_other_form = kind == "application/x-www-form-urlencoded" or kind.startswith("multipart/")
    if "/" not in kind or (is_other_form and kind != "multipart/form-data"):
        raise UnsupportedMedia(
            "this route takes multipart/form-data, or a file's bytes under its own Content-Type such as "
            f"application/pdf, not {kind[:100] or 'a body without a type'}"
        )
    return kind


def _name_in(headers: Mapping[bytes, bytes]) -> str | None:
    parsed = Headers()
    parsed["Content-Disposition"] = headers.get(b"content-disposition", b"").decode("latin-1")
    try:
        name = parsed.get_filename()
    except ValueError as error:  # a charset that cannot be asked, a part with a number of 5,000 digits
        raise InvalidInput("the filename of Content-Disposition cannot be read", param="filename") from error
    # some charsets give what UTF-8, and so any answer, cannot hold
    return name.encode("utf-8", "replace").decode() if name else None


async def _read_raw(request: Request, incoming: Incoming) -> None:
    try:
        async for chunk in request.stream():
            await incoming.write(chunk)
    except ClientDisconnect as gone:
        raise InvalidInput("the connection closed before the file was whole") from gone


async def _keep_form(form: Form, incoming: Incoming) -> File:
    fields = form.fields
    if form.filename is None:
        raise InvalidInput("file is missing: one part of the form must be the file", param="file")
    if "purpose" not in fields:
        raise InvalidInput(f"purpose is missing: one of {', '.join(PURPOSES)}", param="purpose")
    check_purpose(fields["purpose"])
    seconds = fields.get(SECONDS)
    if fields.get(ANCHOR, "created_at") != "created_at":
        raise InvalidInput(f"{ANCHOR} must be created_at", param=ANCHOR)
    if seconds is not None and not re.fullmatch(r"[0-9]{1,9}", seconds):
        raise InvalidInput(f"{SECONDS} must be a number of seconds", param=SECONDS)
    after = None if seconds is None else int(seconds)
    check_expiry(after)
    return await incoming.keep(filename=form.filename, purpose=fields["purpose"], expires_after_seconds=after)
