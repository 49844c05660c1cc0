"""A tool call as an editor shows it: its kind, a title, the files it is about, and what it changed in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acp import schema

from hermes.core.event import ToolStarted
from hermes.core.toolset import TOOLS, Risk
from hermes.toolsets.patch_text import FileChange, parse_patch

Content = schema.ContentToolCallContent | schema.FileEditToolCallContent | schema.TerminalToolCallContent
Diff = schema.FileEditToolCallContent

KINDS: dict[str, schema.ToolKind] = {
    "terminal": "execute",
    "process": "execute",
    "execute_code": "execute",
    "search_files": "search",
    "session_search": "search",
    "web_search": "search",
    "web_extract": "fetch",
    "tool_search": "think",
    "todo": "think",
    "delegate_task": "think",
    "image_generate": "other",
    "text_to_speech": "other",
    "ha_call_service": "other",
    "clarify": "think",
    "memory": "other",
}
"""Where the risk of a tool does not say it."""
_BY_RISK: dict[Risk, schema.ToolKind] = {Risk.READ: "read", Risk.WRITE: "edit", Risk.RUN: "execute"}
_OF_FILES = ("read_file", "write_file", "search_files")


def kind_of(tool: str) -> schema.ToolKind:
    info = TOOLS.get(tool)
    return KINDS.get(tool) or (_BY_RISK[info.risk] if info is not None else "other")


def title_of(started: ToolStarted) -> str:
    """A command as it is; else what the tool does, and with what."""
    preview = " ".join(started.preview.split())
    if kind_of(started.tool) == "execute" and preview:
        return preview
    label = started.label or started.tool
    return f"{label}: {preview}" if preview and preview != started.tool else label


def locations_of(tool: str, args: Mapping[str, Any], workdir: Path) -> list[schema.ToolCallLocation]:
    path = args.get("path")
    if tool in _OF_FILES and isinstance(path, str) and path:
        line = args.get("offset") if tool == "read_file" else None
        return [schema.ToolCallLocation(path=_absolute(path, workdir), line=line if isinstance(line, int) else None)]
    if tool == "patch":
        places = [diff.path for diff in diffs_of(tool, args, workdir, {})]
        return [schema.ToolCallLocation(path=place) for place in dict.fromkeys(places)]
    return []


def diffs_of(tool: str, args: Mapping[str, Any], workdir: Path, before: Mapping[Path, str | None]) -> list[Diff]:
    """What the call changes in files, as far as its arguments tell: the whole of a written file, the passages of an
    edited one. `before` is what was in the files that are written whole."""
    match tool, args:
        case "write_file", {"path": str(path), "content": str(content)}:
            place = _absolute(path, workdir)
            old = next((text for file, text in before.items() if file == Path(place).resolve()), None)
            return [_diff(place, old, content)]
        case "patch", {"path": str(path), "old_string": str(old), "new_string": str(new)}:
            return [_diff(_absolute(path, workdir), old, new)]
        case "patch", {"patch": str(text)}:
            try:
                changes = parse_patch(text)
            except ValueError:
                return []
            return [diff for change in changes for diff in _of_change(change, workdir)]
    return []


def _of_change(change: FileChange, workdir: Path) -> list[Diff]:
    place = _absolute(change.new_path or change.path, workdir)
    match change.kind:
        case "add":
            return [_diff(place, None, change.content)]
        case "delete":
            return []
    return [_diff(place, "\n".join(hunk.before), "\n".join(hunk.result)) for hunk in change.hunks]


def _diff(path: str, old: str | None, new: str) -> Diff:
    return Diff(type="diff", path=path, old_text=old, new_text=new)


def _absolute(path: str, workdir: Path) -> str:
    return str(workdir / Path(path).expanduser())


def text_content(text: str) -> Content:
    block = schema.TextContentBlock(type="text", text=text)
    return schema.ContentToolCallContent(type="content", content=block)
