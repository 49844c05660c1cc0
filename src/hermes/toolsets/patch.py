"""The `patch` tool: replace text in one file, or apply a patch to several, wholly or not at all."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from hermes.core.errors import ToolFailed
from hermes.core.ports import Action, ActionKind, ToolContext, ToolResult
from hermes.toolsets import disk, edits
from hermes.toolsets.edits import Text
from hermes.toolsets.patch_text import FileChange, apply, parse_patch
from hermes.toolsets.paths import Reach, resolve
from hermes.toolsets.settings import FileSettings
from hermes.toolsets.tool import Arguments, BaseTool


class PatchArguments(Arguments):
    mode: Literal["replace", "patch"] = Field("replace", description="replace: one text in one file. patch: a patch.")
    path: str | None = Field(None, description="replace: the file.")
    old_string: str | None = Field(None, description="replace: text to find; unique unless replace_all.")
    new_string: str | None = Field(None, description="replace: what comes in its place; empty deletes it.")
    replace_all: bool = Field(False, description="replace: every occurrence.")
    patch: str | None = Field(
        None,
        description="patch: '*** Begin Patch', '*** Update File: PATH' (or Add, Delete), lines with ' ', '-', '+', "
        "'*** End Patch'; or a unified diff.",
        max_length=5_000_000,
    )
    _changes: list[FileChange] = PrivateAttr(default_factory=list)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.mode == "patch":
            if not self.patch:
                raise ValueError("mode patch needs patch")
            self._changes.extend(parse_patch(self.patch))
            return self
        missing = [name for name in ("path", "old_string", "new_string") if getattr(self, name) is None]
        if missing:
            raise ValueError(f"mode replace needs {', '.join(missing)}")
        return self


@dataclass(frozen=True, slots=True)
class _Step:
    """One file's change: `before` and `after` are its bytes, None where there is no file."""

    path: Path
    before: bytes | None
    after: bytes | None
    diff: str = ""


class PatchTool(BaseTool[PatchArguments]):
    name = "patch"
    description = """Edit files. mode replace puts new_string in the place of old_string; mode patch changes several
        files at once, wholly or not at all."""
    arguments = PatchArguments

    def __init__(self, reach: Reach, settings: FileSettings) -> None:
        super().__init__()
        self._reach = reach
        self._settings = settings

    def summary(self, arguments: PatchArguments) -> str:
        return arguments.path or ", ".join(change.new_path or change.path for change in arguments._changes)

    def action(self, arguments: PatchArguments, context: ToolContext) -> Action:
        paths = _paths(arguments, context)
        verb = "edit" if arguments.mode == "replace" else "patch"
        return Action(ActionKind.WRITE, f"{verb} {', '.join(map(str, paths))}", paths, context.workdir)

    async def run(self, arguments: PatchArguments, context: ToolContext) -> ToolResult:
        return await asyncio.to_thread(self._run, arguments, context)

    def _run(self, arguments: PatchArguments, context: ToolContext) -> ToolResult:
        if arguments.mode == "replace":
            return self._replace(arguments, context)
        steps: list[_Step] = []
        notes: list[str] = []
        for change in arguments._changes:
            made, said = self._prepare(change, context)
            if clash := {step.path for step in steps} & {step.path for step in made}:
                raise ToolFailed(f"The patch names {clash.pop()} more than once; put its hunks under one header.")
            steps += made
            notes += said
        self._write_all(steps)
        lines = [*(_done(step) for step in steps), *notes, *(step.diff for step in steps if step.diff)]
        return ToolResult("\n".join(lines), preview=f"changed {len(steps)} file(s)")

    def _replace(self, arguments: PatchArguments, context: ToolContext) -> ToolResult:
        assert arguments.path is not None and arguments.old_string is not None and arguments.new_string is not None
        path = resolve(arguments.path, context.workdir)
        before = self._read(path)
        text = Text.from_bytes(before, str(path))
        old, new = text.own(arguments.old_string), text.own(arguments.new_string)
        replaced = edits.replace(text.text, old, new, every=arguments.replace_all, name=str(path))
        disk.write_bytes(path, text.to_bytes(replaced.text), self._reach)
        times = f", {replaced.count} times" if replaced.count > 1 else ""
        lines = [f"Edited {path}{times}.", replaced.note, edits.diff(text.text, replaced.text, path.name)]
        return ToolResult("\n".join(filter(None, lines)), preview=f"edited {path.name}{times}")

    def _prepare(self, change: FileChange, context: ToolContext) -> tuple[list[_Step], list[str]]:
        path = resolve(change.path, context.workdir)
        if change.kind == "add":
            self._reach.check(path)
            if disk.exists(path):
                raise ToolFailed(f"{path} exists already; use '*** Update File' to change it.")
            return [_Step(path, None, change.content.encode())], []
        before = self._read(path)
        if change.kind == "delete":
            return [_Step(path, before, None)], []
        text = Text.from_bytes(before, str(path))
        result, notes = apply(change, text.text)
        after, shown = text.to_bytes(result), edits.diff(text.text, result, path.name)
        if change.new_path is None:
            return [_Step(path, before, after, shown)], notes
        target = resolve(change.new_path, context.workdir)
        self._reach.check(target)
        if target != path and disk.exists(target):
            raise ToolFailed(f"{target} exists already; {path} is not moved over it.")
        return [_Step(target, None, after, shown), _Step(path, before, None)], notes

    def _read(self, path: Path) -> bytes:
        return disk.read_bytes(path, self._reach, self._settings.max_edit_bytes)

    def _write_all(self, steps: list[_Step]) -> None:
        """Nothing was written before every hunk fitted; if writing fails in the middle, what was done is undone."""
        done: list[_Step] = []
        try:
            for step in steps:
                self._put(step.path, step.after)
                done.append(step)
        except ToolFailed:
            for step in reversed(done):
                with contextlib.suppress(ToolFailed):
                    self._put(step.path, step.before)
            raise

    def _put(self, path: Path, data: bytes | None) -> None:
        if data is None:
            disk.delete(path, self._reach)
        else:
            disk.write_bytes(path, data, self._reach)


def _paths(arguments: PatchArguments, context: ToolContext) -> tuple[Path, ...]:
    if arguments.mode == "replace":
        return (resolve(arguments.path or "", context.workdir),)
    names = [name for change in arguments._changes for name in (change.path, change.new_path) if name]
    return tuple(dict.fromkeys(resolve(name, context.workdir) for name in names))


def _done(step: _Step) -> str:
    if step.after is None:
        return f"Deleted {step.path}."
    return f"{'Added' if step.before is None else 'Edited'} {step.path}."
