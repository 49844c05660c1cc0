"""The skills of a profile (hermes.home.skills), as a person sees them and switches them on and off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hermes.core.errors import InvalidInput, NotFound
from hermes.home.paths import Home
from hermes.home.skills import Skill, Skills, switch_skill
from hermeslink.core.caller import Caller
from hermeslink.profiles.files import ProfileFiles

Source = Literal["builtin", "local"]


@dataclass(frozen=True, slots=True)
class ProfileSkill:
    """`source`: with the program, or of the home. Both are trusted alike: nothing is loaded from elsewhere.

    `relative_path`: of its folder, in the folder of the skills that it came with.
    """

    name: str
    category: str | None
    description: str
    is_enabled: bool
    source: Source
    relative_path: str

    @classmethod
    def of(cls, skill: Skill) -> ProfileSkill:
        path = "/".join(filter(None, (skill.category, skill.folder.name)))
        source: Source = "builtin" if skill.is_builtin else "local"
        return cls(skill.name, skill.category, skill.description, skill.is_enabled, source, path)


class ProfileSkills:
    """Errors are those of `ProfileFiles`, and those that are named."""

    def __init__(self, files: ProfileFiles) -> None:
        self._files = files

    async def all(self, profile: str) -> list[ProfileSkill]:
        """By category and name."""
        return await self._files.read(profile, _all)

    async def switch(self, caller: Caller, profile: str, name: str, enabled: object) -> ProfileSkill:
        """All that have the name. Raises InvalidInput `skill_enabled_required`, NotFound `skill_not_found`."""
        if not isinstance(enabled, bool):
            raise InvalidInput(
                "say in enabled whether the agent is told of the skill: true or false",
                code="skill_enabled_required",
                param="enabled",
            )

        def work(home: Home) -> ProfileSkill:
            _find(home, name)
            switch_skill(home.config_file, name, is_on=enabled)
            return _find(home, name)

        action = "skill.enabled" if enabled else "skill.disabled"
        return await self._files.change(caller, profile, action, work, {"skill": name})


def _all(home: Home) -> list[ProfileSkill]:
    return [ProfileSkill.of(skill) for skill in Skills(home.skills_dir, home.config_file).all()]


def _find(home: Home, name: str) -> ProfileSkill:
    found = next((skill for skill in _all(home) if skill.name == name), None)
    if found is None:
        raise NotFound(f"the profile {home.name} has no skill {name[:64]!r}", code="skill_not_found")
    return found
