"""How much there is, in the database and on the API servers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hermes.store.database import Database
from hermeslink.hermes.problems import ServerRefused, ServerUnavailable
from hermeslink.hermes.servers import ApiServer, ApiServers
from hermeslink.store import statistics as statistics_store
from hermeslink.store.statistics import Stored

ANSWER_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Offered:
    """Their names. None: no API server that could say so answers, and none did before."""

    models: frozenset[str] | None = None
    skills: frozenset[str] | None = None
    tools: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Statistics:
    stored: Stored
    offered: Offered
    profiles: int


class StatisticsBook:
    def __init__(self, database: Database, servers: ApiServers) -> None:
        self._database = database
        self._servers = servers
        self._known: dict[tuple[str, str], frozenset[str]] = {}
        """What an API server said last, by profile and list: it holds while the server is away."""

    async def read(self, profile: str | None = None) -> Statistics:
        """Of one profile or of all. Raises NotFound `profile_not_found`."""
        names = await asyncio.to_thread(self._servers.profiles) if profile is None else [profile]
        servers = [self._servers.of(name) for name in names]
        stored = await self._database.read(statistics_store.read, profile)
        lists = await asyncio.gather(
            *(self._all(servers, "models"), self._all(servers, "skills"), self._all(servers, "toolsets"))
        )
        return Statistics(stored, Offered(*lists), len(names))

    async def _all(self, servers: list[ApiServer], what: str) -> frozenset[str] | None:
        said = await asyncio.gather(*(self._named(server, what) for server in servers))
        known = [names for names in said if names is not None]
        return frozenset().union(*known) if known else None

    async def _named(self, server: ApiServer, what: str) -> frozenset[str] | None:
        key = server.profile, what
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await {"models": server.models, "skills": server.skills, "toolsets": server.toolsets}[what]()
        except (ServerUnavailable, ServerRefused, TimeoutError):
            return self._known.get(key)
        self._known[key] = names = frozenset(_names(answer, what))
        return names


def _names(answer: Mapping[str, Any], what: str) -> list[str]:
    """As far as the answer has the shape that API servers give it."""
    data = answer.get("data")
    items = [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []
    if what == "toolsets":
        tools = [item.get("tools") for item in items if item.get("enabled", True)]
        found = [name for names in tools if isinstance(names, list) for name in names]
    else:
        found = [item.get("id" if what == "models" else "name") for item in items]
    return [name for name in found if isinstance(name, str)]
