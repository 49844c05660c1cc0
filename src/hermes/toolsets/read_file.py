"""The `read_file` tool."""

from __future__ import annotations

import asyncio
import codecs
import io
import mimetypes
import os
from pathlib import Path

from pydantic import Field

from hermes.core.errors import ToolFailed
from hermes.core.ports import Action, ActionKind, ToolContext, ToolResult
from hermes.toolsets import disk, output
from hermes.toolsets.paths import Reach, resolve
from hermes.toolsets.settings import FileSettings
from hermes.toolsets.tool import Arguments, BaseTool

LOOK_BYTES = 8192
"""How much of a file's start decides whether it is text."""
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
COUNTED_BYTES = 64 << 20
"""Past this the lines of a file are not counted to its end."""


class ReadFileArguments(Arguments):
    path: str = Field(description="The file, absolute or from the working directory.")
    offset: int = Field(1, ge=1, description="First line.")
    limit: int | None = Field(None, ge=1, description="Lines. Default 2000.")


class ReadFileTool(BaseTool[ReadFileArguments]):
    name = "read_file"
    description = "Read a text file. Lines come as NUMBER|TEXT; the number is not part of the file."
    arguments = ReadFileArguments
    is_idempotent = True

    def __init__(self, reach: Reach, settings: FileSettings) -> None:
        super().__init__()
        self._reach = reach
        self._settings = settings

    def summary(self, arguments: ReadFileArguments) -> str:
        return arguments.path if arguments.offset == 1 else f"{arguments.path} from line {arguments.offset}"

    def action(self, arguments: ReadFileArguments, context: ToolContext) -> Action:
        path = resolve(arguments.path, context.workdir)
        return Action(ActionKind.READ, f"read {path}", (path,), context.workdir)

    async def run(self, arguments: ReadFileArguments, context: ToolContext) -> ToolResult:
        path = resolve(arguments.path, context.workdir)
        return await asyncio.to_thread(self._read, path, arguments)

    def _read(self, path: Path, arguments: ReadFileArguments) -> ToolResult:
        settings = self._settings
        limit = min(arguments.limit or settings.read_lines, settings.read_lines)
        with disk.opened(path, self._reach) as descriptor, os.fdopen(os.dup(descriptor), "rb") as raw:
            size = os.fstat(descriptor).st_size
            encoding = encoding_of(raw.read(LOOK_BYTES), path, size)
            raw.seek(0)
            shown: list[str] = []
            characters, number, is_full, is_counted = 0, 0, False, True
            with io.TextIOWrapper(raw, encoding, errors="replace") as lines:
                for number, line in enumerate(lines, 1):
                    if number < arguments.offset or is_full:
                        is_counted = not is_full or raw.tell() <= COUNTED_BYTES
                        if not is_counted:
                            break
                        continue
                    row = f"{number}|{self._fit(line)}"
                    if len(shown) == limit or characters + len(row) > settings.read_characters:
                        is_full = True
                        continue
                    shown.append(row)
                    characters += len(row) + 1
        return _result(path, shown, arguments.offset, number if is_counted else None, size)

    def _fit(self, line: str) -> str:
        line = output.clean(line.rstrip("\r\n"))
        most = self._settings.line_characters
        return line if len(line) <= most else f"{line[:most]}[… {len(line) - most:,} more characters in this line]"


def encoding_of(start: bytes, path: Path, size: int) -> str:
    """The encoding by the byte order mark, else UTF-8. Raises ToolFailed for a file that is not text."""
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if start.startswith(mark):
            return encoding
    if b"\0" in start:
        kind = mimetypes.guess_type(path.name)[0] or "binary"
        raise ToolFailed(f"{path} is not text ({kind}, {size:,} bytes); use a program in the terminal to look into it.")
    return "utf-8"


def _result(path: Path, shown: list[str], offset: int, total: int | None, size: int) -> ToolResult:
    if not shown:
        if total == 0:
            return ToolResult(f"[{path} is empty]", preview="empty")
        return ToolResult(f"{path} has only {total} lines; offset {offset} is past its end.", is_error=True)
    last = offset + len(shown) - 1
    lines = "\n".join(shown)
    if total is not None and last >= total:
        return ToolResult(lines, preview=f"{len(shown)} lines")
    of = f"of {total}" if total is not None else f"of a file of {size:,} bytes"
    return ToolResult(
        f"{lines}\n[lines {offset}-{last} {of}; go on with offset={last + 1}]", preview=f"{len(shown)} lines {of}"
    )
