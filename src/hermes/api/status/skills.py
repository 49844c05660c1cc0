"""GET /v1/skills: the skills in the home."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from hermes.api.answers import JsonAnswer
from hermes.api.documented import Answer, documented
from hermes.api.services import Services


class Skill(Answer):
    name: str
    description: str
    category: Annotated[str | None, Field(description="the folder above it, if any")]


class SkillList(Answer):
    object: Literal["list"]
    data: list[Skill]


@documented(answer=SkillList)
async def list_skills(request: Request, services: Services) -> Response:
    """The enabled skills, those of this home (skills/[category/]NAME/SKILL.md) and the built-in ones."""
    found = await asyncio.to_thread(services.skills.enabled) if services.skills is not None else []
    data = [{"name": skill.name, "description": skill.description, "category": skill.category} for skill in found]
    return JsonAnswer({"object": "list", "data": data})
