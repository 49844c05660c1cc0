"""`skills_list`, `skill_view`, `skill_manage`: what they show, whom they let write, and how they fail."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hermes.agent.rules import Level, Verdict, classify
from hermes.core.clock import SystemClock
from hermes.core.errors import ToolFailed
from hermes.core.ports import ToolContext, ToolResult
from hermes.home.config_file import set_config
from hermes.home.skill_files import MOST_BYTES
from hermes.home.skills import Skills
from hermes.toolsets.skills import SHOWN_CHARACTERS, SkillManageTool, SkillsListTool, SkillViewTool
from hermes.toolsets.tool import BaseTool

TEA = "---\nname: brew-tea\ndescription: Make tea\n---\nBoil water.\n"
TOOLS: dict[str, Callable[[Skills], BaseTool[Any]]] = {
    "skills_list": SkillsListTool,
    "skill_view": SkillViewTool,
    "skill_manage": SkillManageTool,
}


@pytest.fixture
def skills(tmp_path: Path) -> Skills:
    return Skills(tmp_path / "home" / "skills", tmp_path / "home" / "config.yaml", builtin=None)


async def call(
    skills: Skills, named: str, /, *, owner: str = "owner", visitor: str | None = None, **arguments: Any
) -> ToolResult:
    tool: BaseTool[Any] = TOOLS[named](skills)
    where = ToolContext("s", "run_1", "call_1", Path("/"), None, SystemClock(), {}, {}, visitor, owner)
    return await tool.run(tool.parse(json.dumps(arguments)), where)


async def failure(skills: Skills, named: str, /, **arguments: Any) -> str:
    with pytest.raises(ToolFailed) as failed:
        await call(skills, named, **arguments)
    return failed.value.message


async def make(skills: Skills, **more: Any) -> None:
    await call(skills, "skill_manage", action="create", name="brew-tea", content=TEA, **more)


async def test_a_skill_is_written_down_found_and_read(skills: Skills) -> None:
    assert (await call(skills, "skills_list")).content == "There are no skills."
    await make(skills, category="kitchen")
    await call(
        skills, "skill_manage", action="write_file", name="brew-tea", file_path="references/l.md", content="Assam"
    )
    assert (await call(skills, "skills_list")).content == "kitchen/brew-tea: Make tea"
    assert (await call(skills, "skills_list", category="kitchen")).preview == "1 skills"
    shown = (await call(skills, "skill_view", name="brew-tea")).content
    assert shown.endswith(f"files: references/l.md]\n{TEA}")
    assert (await call(skills, "skill_view", name="brew-tea", file_path="references/l.md")).content == "Assam"


async def test_a_skill_is_patched_and_deleted(skills: Skills) -> None:
    await make(skills)
    patch = {"action": "patch", "name": "brew-tea", "old_string": "Boil", "new_string": "Heat"}
    assert (await call(skills, "skill_manage", **patch)).content == "Changed patch brew-tea."
    assert "Heat water." in (await call(skills, "skill_view", name="brew-tea")).content
    await call(skills, "skill_manage", action="delete", name="brew-tea")
    assert (await call(skills, "skills_list")).content == "There are no skills."


async def test_what_is_disabled_is_not_shown(skills: Skills, tmp_path: Path) -> None:
    await make(skills)
    set_config(tmp_path / "home" / "config.yaml", ["skills", "disabled"], ["brew-tea"])
    assert (await call(skills, "skills_list")).content == "There are no skills."
    assert "no skill 'brew-tea'" in await failure(skills, "skill_view", name="brew-tea")


@pytest.mark.parametrize("who", [{"owner": "key_1"}, {"visitor": "v1"}])
async def test_only_the_owner_has_skills_written(skills: Skills, who: dict[str, Any]) -> None:
    with pytest.raises(ToolFailed, match="visitors and other keys cannot change them"):
        await call(skills, "skill_manage", action="create", name="brew-tea", content=TEA, **who)
    assert skills.all() == []


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("skill_view", {"name": "x"}, "no skill 'x'; there are 1"),
        ("skill_view", {"name": "brew-tea", "file_path": "../../config.yaml"}, "leaves the folder of the skill"),
        ("skill_view", {"name": "brew-tea", "file_path": "references/x.md"}, "Files of the skill: none."),
        ("skill_view", {}, "name: is missing"),
        ("skills_list", {"category": "x"}, "No skill in 'x'; categories: none."),
        ("skill_manage", {"action": "burn", "name": "x"}, "action: Input should be 'create'"),
        ("skill_manage", {"action": "create", "name": "brew-tea", "content": TEA}, "is there already; edit it"),
        ("skill_manage", {"action": "create", "name": "../x", "content": TEA}, "is made of a-z"),
        ("skill_manage", {"action": "patch", "name": "brew-tea", "old_string": "e"}, "stands in it 7 times"),
        (
            "skill_manage",
            {"action": "patch", "name": "brew-tea", "old_string": "name"},
            "needs a name and a description",
        ),
        ("skill_manage", {"action": "edit", "name": "brew-tea", "content": TEA + "cat ~/.ssh/id_rsa"}, "open keys"),
        ("skill_manage", {"action": "remove_file", "name": "brew-tea", "file_path": "SKILL.md"}, "no file 'SKILL.md'"),
    ],
)
async def test_what_does_not_work_is_told(skills: Skills, tool: str, arguments: dict[str, Any], said: str) -> None:
    await make(skills)
    assert said in await failure(skills, tool, **arguments)
    assert skills.find("brew-tea").file.read_text() == TEA


async def test_a_long_skill_is_cut_with_a_word(skills: Skills) -> None:
    await make(skills)
    skills.find("brew-tea").file.write_text(TEA + "x" * SHOWN_CHARACTERS)
    assert "[cut: 30,0" in (await call(skills, "skill_view", name="brew-tea")).content
    (skills.find("brew-tea").folder / "bin").write_bytes(b"\xff")
    assert "is not text" in await failure(skills, "skill_view", name="brew-tea", file_path="bin")


CREATE = {"action": "create", "name": "x", "content": TEA}


def asked(skills: Skills, tmp_path: Path, *, visitor: str | None = None, **arguments: str) -> Verdict | None:
    tool = SkillManageTool(skills)
    where = ToolContext("s", "run_1", "call_1", tmp_path, None, SystemClock(), {}, {}, visitor)
    action = tool.action(tool.parse(json.dumps(arguments)), where)
    return None if action is None else classify(action, home=tmp_path / "home")


def own_files(verdict: Verdict | None) -> list[str]:
    assert verdict is not None and (verdict.level, verdict.rule) == (Level.DANGEROUS, "own-files")
    return [pattern.partition("/skills/")[2] for pattern in verdict.patterns]


async def test_writing_one_is_asked_about_as_its_file_would_be(skills: Skills, tmp_path: Path) -> None:
    assert own_files(asked(skills, tmp_path, **CREATE)) == ["x/SKILL.md"]
    await make(skills, category="kitchen")
    edit = {"action": "edit", "name": "brew-tea", "content": TEA}
    assert own_files(asked(skills, tmp_path, **edit)) == ["kitchen/brew-tea/SKILL.md"]
    write = {"action": "write_file", "name": "brew-tea", "file_path": "scripts/boil.sh"}
    assert own_files(asked(skills, tmp_path, **write)) == ["kitchen/brew-tea/scripts/boil.sh"]


@pytest.mark.parametrize("action", ["create", "edit", "patch", "delete", "write_file", "remove_file"])
@pytest.mark.parametrize("outside", ["/tmp", "../../../tmp", "../workspace", "../../home/workspace"])
async def test_no_path_of_the_model_hides_from_the_gate_what_is_written(
    skills: Skills, tmp_path: Path, action: str, outside: str
) -> None:
    await make(skills)
    own_files(asked(skills, tmp_path, action=action, name="brew-tea", category=outside))
    own_files(asked(skills, tmp_path, action=action, name=f"{outside}/x"))
    for file in (f"{outside}/x", f"scripts/../../../{outside}/x"):
        own_files(asked(skills, tmp_path, action=action, name="brew-tea", file_path=file))


async def test_the_gate_sees_through_links(skills: Skills, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "real")
    assert own_files(asked(skills, tmp_path, **CREATE)) == ["x/SKILL.md"]
    (tmp_path / "dotfiles").mkdir()
    (tmp_path / "real" / "skills").symlink_to(tmp_path / "dotfiles")
    assert own_files(asked(skills, tmp_path, **CREATE)) == ["x/SKILL.md"]


def test_nobody_is_asked_about_what_is_refused_anyway(skills: Skills, tmp_path: Path) -> None:
    assert asked(skills, tmp_path, visitor="v1", **CREATE) is None


async def test_what_is_no_ordinary_file_or_very_large_is_not_opened(skills: Skills) -> None:
    await make(skills)
    folder = skills.find("brew-tea").folder
    os.mkfifo(folder / "pipe")
    assert "is no ordinary file" in await failure(skills, "skill_view", name="brew-tea", file_path="pipe")
    with (folder / "large.md").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    assert "is larger than 10 MiB" in await failure(skills, "skill_view", name="brew-tea", file_path="large.md")
