"""Attachments of a conversation."""

from __future__ import annotations

import re
from typing import Any, BinaryIO, Literal
from urllib.parse import quote

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hermes.core.errors import HermesError, InvalidInput
from hermeslink.api.bodies import Answer
from hermeslink.api.dependencies import TheCaller, TheLink
from hermeslink.api.uploads import read_upload
from hermeslink.blobs.threads import in_thread
from hermeslink.core.blob import Blob
from hermeslink.core.times import iso

router = APIRouter(prefix="/api/v1", tags=["blobs"])

PIECE_BYTES = 256 * 1024
CONTENT_SECURITY_POLICY = "sandbox; default-src 'none'; frame-ancestors 'none'"

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z", re.ASCII)
_FILE = {"type": "string", "format": "binary"}
_UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": _FILE},
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"file": _FILE}, "required": ["file"]},
            },
        },
    }
}
_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file", "content": {"*/*": {"schema": _FILE}}},
    206: {"description": "The part of it that Range asks for", "content": {"*/*": {"schema": _FILE}}},
    304: {"description": "It is what If-None-Match names"},
}


class BlobView(BaseModel):
    """`mime` is what the bytes say, whatever their sender said."""

    id: str
    size: int
    mime: str
    filename: str
    sha256: str
    created_at: str
    conversation_ids: list[str]


class BlobAnswer(Answer):
    blob: BlobView
    blob_id: str


class BlobDeleted(Answer):
    deleted: Literal[True] = True
    blob_id: str


@router.post(
    "/conversations/{conversation_id}/blobs", status_code=201, response_model=BlobAnswer, openapi_extra=_UPLOAD
)
async def create(conversation_id: str, request: Request, link: TheLink, caller: TheCaller) -> BlobAnswer:
    """Upload an attachment: as the body itself, named by Content-Disposition, or as the file of a form. 50 MiB."""
    async with await link.blobs.receive(conversation_id, device_id=caller.device_id) as incoming:
        name = await read_upload(request, incoming.write)
        blob = await incoming.keep(name or "")
    return BlobAnswer(blob=blob_view(blob), blob_id=blob.id)


@router.get("/conversations/{conversation_id}/blobs/{blob_id}", response_class=Response, responses=_BYTES)
async def content(conversation_id: str, blob_id: str, request: Request, link: TheLink) -> Response:
    """The bytes. Pictures, sound, films and PDF may be shown in place; anything else comes as a file to save."""
    blob = await link.blobs.get(conversation_id, blob_id)
    if {etag_of(blob), "*"} & _tags(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers={"ETag": etag_of(blob)})
    start, end, is_part = wanted_range(request, blob)
    return BlobContent(blob, await link.blobs.open(blob), start, end, is_part=is_part)


@router.delete("/conversations/{conversation_id}/blobs/{blob_id}", response_model=BlobDeleted)
async def delete(conversation_id: str, blob_id: str, link: TheLink) -> BlobDeleted:
    """Delete an attachment that no message carries."""
    await link.blobs.delete(conversation_id, blob_id)
    return BlobDeleted(blob_id=blob_id)


def blob_view(blob: Blob) -> BlobView:
    return BlobView(
        id=blob.id,
        size=blob.size,
        mime=blob.mime,
        filename=blob.filename,
        sha256=blob.sha256,
        created_at=iso(blob.created_at),
        conversation_ids=[blob.conversation_id],
    )


class BlobContent(Response):
    """Bytes `start` to `end` of a file, which it closes."""

    def __init__(self, blob: Blob, file: BinaryIO, start: int, end: int, *, is_part: bool) -> None:
        super().__init__(status_code=206 if is_part else 200)
        self._blob, self._file, self._start, self._end = blob, file, start, end
        self.raw_headers = [(name.encode(), value.encode()) for name, value in self._said(is_part).items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await in_thread(self._file.seek, self._start)
            left = self._end - self._start
            while left > 0:
                piece = await in_thread(self._file.read, min(left, PIECE_BYTES))
                if not piece:
                    raise HermesError(f"the bytes of {self._blob.id} are not whole")
                left -= len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    def _said(self, is_part: bool) -> dict[str, str]:
        blob = self._blob
        disposition = "inline" if blob.is_shown else "attachment"
        headers = {
            "content-type": blob.mime,
            "content-length": str(self._end - self._start),
            "content-disposition": f"{disposition}; filename*=utf-8''{quote(blob.filename, safe='')}",
            "content-security-policy": CONTENT_SECURITY_POLICY,
            "accept-ranges": "bytes",
            "etag": etag_of(blob),
        }
        return headers | ({"content-range": f"bytes {self._start}-{self._end - 1}/{blob.size}"} if is_part else {})


class RangeNotSatisfiable(InvalidInput):
    code = "range_not_satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(f"the attachment has {size} bytes, and the range begins behind them", param="Range")
        self.headers = {"Content-Range": f"bytes */{size}"}


def wanted_range(request: Request, blob: Blob) -> tuple[int, int, bool]:
    """Start, end, and whether it is a part. A range that is not understood, or of more than one part, is the whole."""
    found = _RANGE.match(request.headers.get("range", "").strip())
    whole = (0, blob.size, False)
    if found is None or not (found[1] or found[2]):
        return whole
    if request.headers.get("if-range", etag_of(blob)) != etag_of(blob):
        return whole
    start = int(found[1]) if found[1] else max(0, blob.size - int(found[2]))
    end = min(blob.size, int(found[2]) + 1) if found[1] and found[2] else blob.size
    if start >= blob.size:
        raise RangeNotSatisfiable(blob.size)
    return (start, end, True) if start < end else whole


def etag_of(blob: Blob) -> str:
    return f'"{blob.sha256}"'


def _tags(header: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}
