"""The agent of a home: what its settings say about approvals, instructions, memory and long histories."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from hermes.agent.agent import Agent
from hermes.agent.approval import Allowances, Gate
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


def build_agent(parts: Parts, registry: Registry, environ: Mapping[str, str], platform: str) -> Agent:
    """`environ` is the process's own, out of which children get what is no secret."""
    settings, home, clock, database = parts.settings, parts.home, parts.clock, parts.database
    toolsets = settings.platform_toolsets.get(platform, settings.toolsets)
    limits = settings.limits
    allowances = Allowances(set(settings.command_allowlist))

    async def allow_always(pattern: str) -> None:
        assert home is not None
        await _add_to_allowlist(home, pattern)

    async def allowed_before(session_id: str) -> set[str]:
        return await database.read(approval_store.allowed, session_id)

    judge = Judge(_named(settings.approvals.model, parts.models))

    def gate(desk: ApprovalDesk) -> Gate:
        return Gate(
            desk=desk,
            mode=settings.approvals.mode,
            deny=settings.approvals.deny,
            allowances=allowances,
            home=home.path if home else None,
            allow_always=allow_always if home else None,
            allowed_before=allowed_before,
            hide=registry.redactor,
            judge=judge,
        )

    return Agent(
        toolbox=registry,
        make_gate=gate,
        forget_allowances=allowances.forget,
        clock=clock,
        home=home.path if home else None,
        workdir=Path(settings.terminal.cwd).expanduser() if settings.terminal.cwd else Path.cwd(),
        environment=child_environment(
            environ,
            secret_names=[] if home is None else [name for name in settings.environ if name not in environ],
            secret_values=list(parts.secrets),
            allowed=settings.terminal.env_passthrough,
        ),
        soul_file=home.soul_file if home else None,
        redactor=registry.redactor,
        toolsets=tuple(toolsets) if toolsets is not None else None,
        limits=Limits(limits.max_steps, limits.max_tokens, limits.max_seconds, limits.max_usd),
        memory=Snapshots(parts.memories) if parts.memories is not None else None,
        skills=SkillIndex(parts.skills, clock) if parts.skills is not None else None,
        compaction=_compaction(settings, parts.models),
        summaries=KeptSummaries(database, clock),
    )


def _compaction(settings: Settings, models: Models) -> CompactionSettings:
    compression = settings.compression
    return CompactionSettings(compression.enabled, compression.threshold, _named(compression.model, models))


def _named(name: str | None, models: Models) -> Callable[[], Awaitable[Model]] | None:
    return None if name is None else lambda: models.resolve(name)


async def _add_to_allowlist(home: Home, pattern: str) -> None:
    from hermes.home.config_file import add_to_config_list  # ruamel.yaml: not needed for a start without a config.yaml

    await asyncio.to_thread(add_to_config_list, home.config_file, "command_allowlist", pattern)
