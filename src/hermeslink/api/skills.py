"""What a profile's agent can look up, switched on and off."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field, WithJsonSchema

from hermeslink.api.bodies import Body, CamelAnswer, CamelView
from hermeslink.api.dependencies import TheCaller, TheLink
from hermeslink.profiles.skills import ProfileSkill

router = APIRouter(prefix="/api/v1/profiles/{name}/skills", tags=["skills"])


class SkillView(CamelView):
    """`source` builtin came with the program, local is of this machine. `trust` says the same in the words of skill
    hubs: none is loaded from elsewhere. `relativePath`: its folder."""

    name: str
    category: str | None
    description: str
    enabled: bool
    source: Literal["builtin", "local"]
    trust: Literal["builtin", "local"]
    relative_path: str

    @classmethod
    def of(cls, skill: ProfileSkill) -> SkillView:
        return cls(
            name=skill.name,
            category=skill.category,
            description=skill.description,
            enabled=skill.is_enabled,
            source=skill.source,
            trust=skill.source,
            relative_path=skill.relative_path,
        )


class SkillList(CamelAnswer):
    profile_name: str
    skills: list[SkillView]
    categories: list[str]


class SkillAnswer(CamelAnswer):
    profile_name: str
    skill: SkillView


class SkillQuery(Body):
    include_disabled: bool = Field(True, description="Those that the agent is not told of, too.")


class Switch(Body):
    enabled: Annotated[Any, WithJsonSchema({"type": "boolean"})] = None


@router.get("")
async def list_skills(link: TheLink, name: str, asked: Annotated[SkillQuery, Query()]) -> SkillList:
    """The skills of a profile, by category and name."""
    found = [skill for skill in await link.skills.all(name) if asked.include_disabled or skill.is_enabled]
    categories = sorted({skill.category for skill in found if skill.category})
    return SkillList(profile_name=name, skills=[SkillView.of(skill) for skill in found], categories=categories)


@router.patch("/{skill_name}")
async def switch_skill(link: TheLink, caller: TheCaller, name: str, skill_name: str, body: Switch) -> SkillAnswer:
    """Tell the agent of a skill, or tell it no more. Its files stay."""
    skill = await link.skills.switch(caller, name, skill_name, body.enabled)
    return SkillAnswer(profile_name=name, skill=SkillView.of(skill))
