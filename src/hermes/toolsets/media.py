"""Pictures and sound that a tool call names, and where those that a tool makes are put."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes

from hermes.core.errors import ToolFailed
from hermes.core.ports import Action, ActionKind, ToolContext
from hermes.toolsets import disk
from hermes.toolsets.fetch import Fetcher
from hermes.toolsets.paths import Reach, resolve

PICTURES: dict[str, re.Pattern[bytes]] = {
    "png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "jpeg": re.compile(rb"\xff\xd8\xff"),
    "gif": re.compile(rb"GIF8[79]a"),
    "webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
}
SOUNDS: dict[str, re.Pattern[bytes]] = {
    "wav": re.compile(rb"RIFF....WAVE", re.DOTALL),
    "flac": re.compile(rb"fLaC"),
    "ogg": re.compile(rb"OggS"),
    "webm": re.compile(rb"\x1a\x45\xdf\xa3"),
    "m4a": re.compile(rb"....ftyp", re.DOTALL),
    "mp3": re.compile(rb"ID3|\xff[\xe0-\xff]", re.DOTALL),  # behind the others: two bytes say little
}
SUFFIXES = {"jpeg": "jpg"}
"""How a file of a kind is called, where that is not the kind's name."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """`name` is its last part, fit for a file name. `kind` is one of those that were asked for."""

    data: bytes
    name: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Gets what a call names: an https URL, a data: URL, or a file that the file tools may read."""

    reach: Reach
    fetcher: Fetcher
    kinds: dict[str, re.Pattern[bytes]]
    what: str
    most_bytes: int

    def action(self, text: str, context: ToolContext) -> Action | None:
        """None where no file is read."""
        if _is_url(text):
            return None
        path = resolve(_path(text), context.workdir)
        return Action(ActionKind.READ, f"read {path}", (path,), context.workdir)

    async def load(self, text: str, context: ToolContext) -> Loaded:
        """Raises ToolFailed for what cannot be had, is too large or of no known kind."""
        text = text.strip()
        if text[:5].lower() == "data:":
            data, name = _of_data_url(text), "data"
        elif _is_url(text):
            fetched = await self.fetcher.get(text, most_bytes=self.most_bytes)
            data, name = fetched.data, unquote(fetched.url.partition("?")[0].rstrip("/").rpartition("/")[2])
        else:
            path = resolve(_path(text), context.workdir)
            data, name = await asyncio.to_thread(self._read, path), path.name
        if len(data) > self.most_bytes:
            raise ToolFailed(f"{name} has {len(data):,} bytes; at most {self.most_bytes:,} are taken.")
        kind = kind_of(data, self.kinds)
        if kind is None:
            raise ToolFailed(f"{name or text[:100]} is no {self.what} of a known kind ({', '.join(self.kinds)}).")
        return Loaded(data, re.sub(r"[^\w.-]", "_", name)[-100:] or "data", kind)

    def _read(self, path: Path) -> bytes:
        with disk.opened(path, self.reach) as descriptor:
            size = os.fstat(descriptor).st_size
            if size > self.most_bytes:
                raise ToolFailed(f"{path} has {size:,} bytes; at most {self.most_bytes:,} are taken.")
            with os.fdopen(os.dup(descriptor), "rb") as file:
                return file.read(self.most_bytes + 1)


@dataclass(frozen=True, slots=True)
class Target:
    """Where what a tool makes is put. `named`: the call said where, and the name stays as it is."""

    path: Path
    named: bool

    def of_kind(self, kind: str) -> Path:
        return self.path if self.named else self.path.with_suffix(f".{SUFFIXES.get(kind, kind)}")

    def action(self, text: str, kinds: tuple[str, ...], context: ToolContext) -> Action:
        paths = tuple(dict.fromkeys(self.of_kind(kind) for kind in kinds))
        return Action(ActionKind.WRITE, f"{text} into {paths[0]}", paths, context.workdir)


def target(text: str, path: str, prefix: str, context: ToolContext) -> Target:
    """`path`, else a file of the working directory named for the text and the call: a second call has a name of its
    own, the same call asked twice has not. Ids of calls alone do not part them: some models begin anew at each step."""
    if path:
        return Target(resolve(path, context.workdir), True)
    words = "-".join(re.findall(r"\w+", text.lower(), re.ASCII)[:6])[:40].strip("-_")
    call = f"{context.session_id} {context.run_id} {context.tool_call_id} {text}"
    digest = hashlib.sha256(call.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return Target(resolve("-".join(filter(None, (prefix, words, digest))), context.workdir), False)


def kind_of(data: bytes, kinds: dict[str, re.Pattern[bytes]]) -> str | None:
    """By how it begins, whatever it is called."""
    return next((kind for kind, begins in kinds.items() if begins.match(data)), None)


def _is_url(text: str) -> bool:
    return re.match(r"\s*(?:data:|https?://)", text, re.IGNORECASE) is not None


def _path(text: str) -> str:
    text = text.strip()
    return unquote(text[7:]) if text[:7].lower() == "file://" else text


def _of_data_url(text: str) -> bytes:
    head, comma, body = text.partition(",")
    if not comma:
        raise ToolFailed("The data: URL has no comma before its data.")
    if not head.lower().endswith(";base64"):
        return unquote_to_bytes(body)
    try:
        return base64.b64decode("".join(unquote(body).split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ToolFailed(f"The data: URL is not valid base64 ({error}).") from error
