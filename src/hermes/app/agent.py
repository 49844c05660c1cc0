"""The agent of a home: what its settings say about approvals, instructions, memory and long histories."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from hermes.agent.agent import Agent
from hermes.agent.approval import Allowances, Gate, Policy
from hermes.agent.compaction import CompactionSettings
from hermes.agent.judge import Judge
from hermes.agent.memory import Snapshots
from hermes.agent.skills import SkillIndex
from hermes.app.toolsets import Parts
from hermes.core.model import Model
from hermes.core.ports import ApprovalDesk
from hermes.core.run import Limits
from hermes.home.paths import Home
from hermes.home.settings import Settings
from hermes.models.resolve import Models
from hermes.sessions import KeptSummaries
from hermes.store import approvals as approval_store
from hermes.toolsets.environment import child_environment
from hermes.toolsets.registry import Registry


class AgentOfHome:
    """The agent, and what it takes up of settings that were changed.

    `environ` is the process's own, out of which children get what is no secret; `platform` the way in that it answers.
    `look` is asked before each action is judged, too: approvals count from the next one on.
    """

    def __init__(
        self,
        parts: Parts,
        registry: Registry,
        environ: Mapping[str, str],
        platform: str,
        look: Callable[[], Awaitable[None]],
    ) -> None:
        self._parts = parts
        self._registry = registry
        self._environ = environ
        self._platform = platform
        self._look = look
        self._allowances = Allowances(set(parts.settings.command_allowlist))
        home, clock = parts.home, parts.clock
        self.agent = Agent(
            toolbox=registry,
            make_gate=self._gate,
            forget_allowances=self._allowances.forget,
            clock=clock,
            home=home.path if home else None,
            workdir=Path(),
            environment={},
            soul_file=home.soul_file if home else None,
            redactor=registry.redactor,
            memory=Snapshots(parts.memories) if parts.memories is not None else None,
            skills=SkillIndex(parts.skills, clock) if parts.skills is not None else None,
            summaries=KeptSummaries(parts.database, clock),
            look=look,
        )
        self._settle(parts)

    def change(self, parts: Parts) -> None:
        """What a session was told of memory and skills is told anew where their settings are others now."""
        before, self._parts = self._parts, parts
        old, new = before.settings, parts.settings
        self._allowances.always -= set(old.command_allowlist) - set(new.command_allowlist)
        self._allowances.always |= set(new.command_allowlist)
        if parts.memories is not before.memories and parts.memories is not None:
            self.agent.memory = Snapshots(parts.memories)
        if old.skills != new.skills and parts.skills is not None:
            self.agent.skills = SkillIndex(parts.skills, parts.clock)
        self._settle(parts)

    def _settle(self, parts: Parts) -> None:
        settings, agent = parts.settings, self.agent
        toolsets = settings.toolsets_for(self._platform)
        limits = settings.limits
        agent.toolsets = tuple(toolsets) if toolsets is not None else None
        agent.limits = Limits(limits.max_steps, limits.max_tokens, limits.max_seconds, limits.max_usd)
        agent.workdir = Path(settings.terminal.cwd).expanduser() if settings.terminal.cwd else Path.cwd()
        agent.environment = child_environment(
            self._environ,
            secret_names=[] if parts.home is None else [n for n in settings.environ if n not in self._environ],
            secret_values=list(parts.secrets),
            allowed=settings.terminal.env_passthrough,
        )
        agent.compaction = _compaction(settings, parts.models)

    def _gate(self, desk: ApprovalDesk) -> Gate:
        home = self._parts.home
        return Gate(
            desk=desk,
            policy=self._policy,
            allowances=self._allowances,
            home=home.path if home else None,
            allow_always=self._allow_always if home else None,
            allowed_before=self._allowed_before,
            hide=self._registry.redactor,
        )

    async def _policy(self) -> Policy:
        await self._look()
        approvals = self._parts.settings.approvals
        return Policy(approvals.mode, tuple(approvals.deny), Judge(_named(approvals.model, self._parts.models)))

    async def _allow_always(self, pattern: str) -> None:
        assert self._parts.home is not None
        await _add_to_allowlist(self._parts.home, pattern)

    async def _allowed_before(self, session_id: str) -> set[str]:
        return await self._parts.database.read(approval_store.allowed, session_id)


def _compaction(settings: Settings, models: Models) -> CompactionSettings:
    compression = settings.compression
    return CompactionSettings(compression.enabled, compression.threshold, _named(compression.model, models))


def _named(name: str | None, models: Models) -> Callable[[], Awaitable[Model]] | None:
    return None if name is None else lambda: models.resolve(name)


async def _add_to_allowlist(home: Home, pattern: str) -> None:
    from hermes.home.config_file import add_to_config_list  # ruamel.yaml: not needed for a start without a config.yaml

    await asyncio.to_thread(add_to_config_list, home.config_file, "command_allowlist", pattern)
