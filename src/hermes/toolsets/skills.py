"""The tools `skills_list`, `skill_view` and `skill_manage`: ways to do something, written down (`home/skills.py`)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Literal

from pydantic import Field

from hermes.core.errors import Conflict, InvalidInput, NotFound, ToolFailed
from hermes.core.key import OWNER
from hermes.core.ports import Action, ActionKind, ToolContext, ToolResult
from hermes.home import skill_files
from hermes.home.skills import FILE_NAME, Skills
from hermes.toolsets.tool import Arguments, BaseTool, one_line

SHOWN_CHARACTERS = 30_000
DESCRIPTION_CHARACTERS = 200


class SkillsListArguments(Arguments):
    category: str = ""


class SkillsListTool(BaseTool[SkillsListArguments]):
    name = "skills_list"
    description = "List all skills: written ways to do something."
    arguments = SkillsListArguments
    is_idempotent = True

    def __init__(self, skills: Skills) -> None:
        super().__init__()
        self._skills = skills

    def summary(self, arguments: SkillsListArguments) -> str:
        return arguments.category or "all"

    async def run(self, arguments: SkillsListArguments, context: ToolContext) -> ToolResult:
        there = await asyncio.to_thread(self._skills.enabled)
        found = [skill for skill in there if arguments.category in ("", skill.category)]
        if arguments.category and not found:
            categories = sorted({skill.category for skill in there if skill.category})
            raise ToolFailed(f"No skill in {arguments.category!r}; categories: {', '.join(categories) or 'none'}.")
        lines = [f"{skill.full_name}: {one_line(skill.description, DESCRIPTION_CHARACTERS)}" for skill in found]
        return ToolResult("\n".join(lines) or "There are no skills.", preview=f"{len(found)} skills")


class SkillViewArguments(Arguments):
    name: str
    file_path: str = Field("", description="A file that the skill names; default its text.")


class SkillViewTool(BaseTool[SkillViewArguments]):
    name = "skill_view"
    description = "Read a skill before you do what it is about, and follow it."
    arguments = SkillViewArguments
    is_idempotent = True

    def __init__(self, skills: Skills) -> None:
        super().__init__()
        self._skills = skills

    def summary(self, arguments: SkillViewArguments) -> str:
        return "/".join(filter(None, (arguments.name, arguments.file_path)))

    async def run(self, arguments: SkillViewArguments, context: ToolContext) -> ToolResult:
        return await asyncio.to_thread(self._read, arguments)

    def _read(self, arguments: SkillViewArguments) -> ToolResult:
        try:
            skill = self._skills.find(arguments.name, among=self._skills.enabled())
            file = skill_files.inside(skill, arguments.file_path or FILE_NAME)
        except (InvalidInput, NotFound, Conflict) as error:
            raise ToolFailed(f"{error.message}.", param=error.param) from error
        others = skill_files.other_files(skill)
        try:
            text = skill_files.read_text(file)
        except UnicodeDecodeError as error:
            raise ToolFailed(f"{file} is not text; use a program in the terminal.") from error
        except InvalidInput as error:
            raise ToolFailed(f"{error.message}.") from error
        except OSError as error:
            there = ", ".join(others) or "none"
            raise ToolFailed(f"{arguments.file_path}: {error.strerror}. Files of the skill: {there}.") from error
        if len(text) > SHOWN_CHARACTERS:
            text = f"{text[:SHOWN_CHARACTERS]}\n[cut: {len(text):,} characters in all, in {file}]"
        if not arguments.file_path:
            listed = f"\nfiles: {', '.join(others)}" if others else ""
            text = f"[skill {skill.full_name} in {skill.folder}{listed}]\n{text}"
        return ToolResult(text, preview=f"{len(text):,} characters")


class SkillManageArguments(Arguments):
    action: Literal["create", "edit", "patch", "delete", "write_file", "remove_file"]
    name: str
    content: str = Field("", description="create, edit: the whole SKILL.md; write_file: the file.")
    old_string: str = Field("", description="patch: unique text of SKILL.md.")
    new_string: str = ""
    file_path: str = Field("", description="In references/, templates/ or scripts/.")
    category: str = ""


class SkillManageTool(BaseTool[SkillManageArguments]):
    name = "skill_manage"
    description = """Write down how a task is done, so that it goes well the next time. SKILL.md: front matter with name
        and description between --- lines, then steps and pitfalls."""
    arguments = SkillManageArguments

    def __init__(self, skills: Skills) -> None:
        super().__init__()
        self._skills = skills

    def summary(self, arguments: SkillManageArguments) -> str:
        return " ".join(filter(None, (arguments.action, arguments.name, arguments.file_path)))

    def action(self, arguments: SkillManageArguments, context: ToolContext) -> Action | None:
        """A skill is told to the agent in every later session: it is asked about as its file would be."""
        directory = self._skills.directory
        if directory is None or not _is_theirs(context):
            return None
        said = " ".join(filter(None, (f"{arguments.action} the skill {arguments.name}", arguments.file_path)))
        file = self._folder(arguments, directory) / _file_name(arguments)
        in_home = Path(os.path.realpath(directory.parent)) / directory.name / file
        paths = dict.fromkeys((in_home, Path(os.path.realpath(in_home))))  # skills/ itself may be a link
        return Action(ActionKind.WRITE, said, tuple(paths), context.workdir)

    def _folder(self, arguments: SkillManageArguments, directory: Path) -> Path:
        """Where in skills/ the change is: never what the model calls a path, of which the gate might think better."""
        try:
            if arguments.action == "create":
                names = filter(None, (arguments.category, arguments.name))
                return Path(*(skill_files.check_name(name) for name in names))
            return self._skills.find(arguments.name).folder.relative_to(os.path.realpath(directory))
        except (InvalidInput, NotFound, Conflict, ValueError):
            return Path()

    async def run(self, arguments: SkillManageArguments, context: ToolContext) -> ToolResult:
        if not _is_theirs(context):
            raise ToolFailed("Skills belong to the owner of this agent; visitors and other keys cannot change them.")
        try:
            done = await asyncio.to_thread(self._change, arguments)
        except (InvalidInput, NotFound, Conflict) as error:
            raise ToolFailed(f"Nothing was changed: {error.message}.", param=error.param) from error
        except OSError as error:
            raise ToolFailed(f"The skill could not be written: {error.strerror or error}.") from error
        return ToolResult(done, preview=one_line(done))

    def _change(self, arguments: SkillManageArguments) -> str:
        skills, name, content = self._skills, arguments.name, arguments.content
        if arguments.action == "create":
            return f"Made {skill_files.create(skills, name, content, arguments.category or None)}."
        skill = skills.find(name)
        match arguments.action:
            case "edit":
                skill_files.write(skills, skill, content)
            case "patch":
                skill_files.patch(skills, skill, arguments.old_string, arguments.new_string)
            case "delete":
                skill_files.remove(skills, skill)
            case "write_file":
                return f"Wrote {skill_files.write_file(skills, skill, arguments.file_path, content)}."
            case "remove_file":
                skill_files.remove_file(skills, skill, arguments.file_path)
        return f"{'Removed' if arguments.action in ('delete', 'remove_file') else 'Changed'} {self.summary(arguments)}."


def _file_name(arguments: SkillManageArguments) -> Path:
    parts = Path(arguments.file_path).parts
    is_beside = arguments.action in ("write_file", "remove_file") and parts and parts[0] in skill_files.FOLDERS
    return Path(*parts) if is_beside and ".." not in parts else Path(FILE_NAME)


def _is_theirs(context: ToolContext) -> bool:
    return context.owner == OWNER and context.session_key is None
