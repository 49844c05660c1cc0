"""Everything about all profiles at once, from their files: what an app shows before anybody chose one.

What cannot be read of one is told beside it, and hides nothing of the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from hermes.core.errors import HermesError, NotFound, StoreUnavailable
from hermes.home.paths import Home
from hermes.home.skills import Skills
from hermeslink.hermes.servers import ApiServers
from hermeslink.profiles import model_configs, permissions
from hermeslink.profiles.files import ProfileFiles, telling
from hermeslink.profiles.model_configs import ModelConfigs
from hermeslink.profiles.permissions import Permissions
from hermeslink.profiles.profiles import Profile, Profiles

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """None: the files that would say so cannot be read. The tools are those of toolsets that are on and lack nothing;
    those of MCP servers only the gateway knows."""

    default_model: str | None
    model_count: int | None
    skill_count: int | None
    tool_count: int | None


@dataclass(frozen=True, slots=True)
class Trouble:
    """`part`: what it hides, as the entry calls it."""

    part: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Entry:
    """None: among the `errors`."""

    profile: Profile
    capabilities: Capabilities
    permissions: Permissions | None
    models: ModelConfigs | None
    errors: tuple[Trouble, ...]


class Catalog:
    """`environ` speaks for the default profile."""

    def __init__(
        self, files: ProfileFiles, profiles: Profiles, servers: ApiServers, environ: Mapping[str, str]
    ) -> None:
        self._files = files
        self._profiles = profiles
        self._servers = servers
        self._environ = environ

    async def all(self) -> list[Entry]:
        """The default first, the others by name; one that is deleted meanwhile is left out."""
        names = await asyncio.to_thread(self._servers.profiles)
        found = await asyncio.gather(*(self._one_if_there(name) for name in names))
        return [entry for entry in found if entry is not None]

    async def one(self, name: str) -> Entry:
        """Raises NotFound `profile_not_found`."""
        return await self._files.read(name, self._entry)

    async def _one_if_there(self, name: str) -> Entry | None:
        try:
            return await self.one(name)
        except NotFound:
            return None

    def _entry(self, home: Home) -> Entry:
        errors: list[Trouble] = []

        def part(name: str, read: Callable[[], T]) -> T | None:
            try:
                with telling(home):
                    return read()
            except HermesError as error:
                hidden = isinstance(error, StoreUnavailable)  # it names places of this machine
                told = "the files cannot be read; the log of Link says why" if hidden else error.message
                errors.append(Trouble(name, error.code, told))
                return None

        allowed = part("permissions", lambda: permissions.of(home, self._environ))
        models = part("modelConfigs", lambda: model_configs.of(home, self._environ))
        skills = part("skills", lambda: len(Skills(home.skills_dir, home.config_file).enabled()))
        capabilities = Capabilities(
            default_model=models.default_model if models else None,
            model_count=len(models.models) if models else None,
            skill_count=skills,
            tool_count=_tools(allowed) if allowed else None,
        )
        return Entry(self._profiles.shown(home), capabilities, allowed, models, tuple(errors))


def _tools(allowed: Permissions) -> int:
    return sum(len(one.info.tools) for one in allowed.toolsets if one.is_enabled and one.is_configured)
