"""The text of a document. Plain text is decoded here; every other format is read by a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import orjson

from hermes.core.errors import HermesError
from hermes.core.reap import reap
from hermes.files.kinds import Kind, Use, text_encoding

READER = Path(__file__).with_name("reader.py")
SECONDS = 30.0
"""What one document may take, wherever its reader hangs."""
AT_ONCE = 2
REMEMBERED_CHARACTERS = 4_000_000
_ENVIRONMENT = ("PATH", "HOME", "PYTHONPATH", "SYSTEMROOT")


class Unreadable(Exception):
    """`reason` is a sentence's end: `report.pdf cannot be read: {reason}`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Document:
    """`about` says what was read ("12 pages"), `is_cut` that there was more text than was asked for."""

    text: str
    about: str = ""
    is_cut: bool = False


class Documents:
    """Reads documents, a few at a time. A stateless chat sends the same ones again and again: they are read once."""

    def __init__(self, *, seconds: float = SECONDS, at_once: int = AT_ONCE, reader: Path = READER) -> None:
        self._reader = reader
        self._seconds = seconds
        self._free = asyncio.Semaphore(at_once)
        self._known: OrderedDict[tuple[str, int], Document] = OrderedDict()
        self._known_characters = 0

    async def read(self, file: BinaryIO, kind: Kind, digest: str, limit: int) -> Document:
        """`file` is a real one, `digest` the SHA-256 of its bytes. Raises Unreadable."""
        if kind.use is Use.TEXT:
            return await asyncio.to_thread(_decode, file, limit)
        known = self._known.get((digest, limit))
        if known is not None:
            self._known.move_to_end((digest, limit))
            return known
        async with self._free:
            document = await self._in_a_process(file, kind, limit)
        self._remember((digest, limit), document)
        return document

    def _remember(self, name: tuple[str, int], document: Document) -> None:
        if self._known.setdefault(name, document) is document:
            self._known_characters += len(document.text)
        while self._known_characters > REMEMBERED_CHARACTERS:
            _, oldest = self._known.popitem(last=False)
            self._known_characters -= len(oldest.text)

    async def _in_a_process(self, file: BinaryIO, kind: Kind, limit: int) -> Document:
        file.seek(0)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-B", str(self._reader), kind.media_type, str(limit)),
            stdin=file,
            stdout=PIPE,
            stderr=DEVNULL,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(self._seconds):
                # JSON may take twelve bytes for one character
                said = await _output(process, most=12 * limit + 4096)
                code = await process.wait()
        except TimeoutError:
            raise Unreadable(f"reading it took longer than {self._seconds:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await reap(process)
        return _answer(said, code)


async def _output(process: Process, most: int) -> bytes:
    """What it prints; more than `most` bytes are not from our reader, and are not kept."""
    assert process.stdout is not None
    pieces: list[bytes] = []
    while piece := await process.stdout.read(1 << 16):
        pieces.append(piece)
        most -= len(piece)
        if most < 0:
            raise Unreadable("its reader said too much")
    return b"".join(pieces)


def _answer(said: bytes, code: int) -> Document:
    if code > 0:
        raise HermesError("the document reader could not be started; is the installation whole?")
    if code < 0:  # killed: by its limits, or by a parser that crashed
        raise Unreadable("reading it takes too much memory or time")
    answer = orjson.loads(said)
    if "error" in answer:
        raise Unreadable(answer["error"])
    return Document(answer["text"], answer["about"], answer["is_cut"])


def _decode(file: BinaryIO, limit: int) -> Document:
    file.seek(0)
    data = file.read(4 * limit + 4)  # no character takes more than four bytes
    is_whole = not file.read(1)
    encoding = text_encoding(data, is_whole=is_whole)
    if encoding is None:
        raise Unreadable("it is no text: there are control characters in it")
    text = data.decode(encoding, "replace")
    return Document(text[:limit], "read as Windows-1252" if encoding == "cp1252" else "", len(text) > limit)
