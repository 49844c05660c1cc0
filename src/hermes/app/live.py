"""What an engine makes of its settings, and how it takes up those that were changed while it runs.

A turn keeps what it began with. What is put in place here counts for those that begin from then on; approvals count
from the next action on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from hermes.app.api import model_id
from hermes.app.mcp import change_mcp_servers, servers_of
from hermes.app.toolsets import change_toolsets, memories_of
from hermes.core.errors import ConfigError
from hermes.core.run import Ask
from hermes.core.toolset import COMPOSITES, TOOLSETS
from hermes.files import UploadSettings
from hermes.home.logs import hide_in_logs
from hermes.home.settings import secret_values
from hermes.jobs.definition import Rules, rules_of
from hermes.models.choice import ModelSetting, setting_of
from hermes.runs.delegation import DelegationSettings
from hermes.runs.runner import RunnerSettings

if TYPE_CHECKING:
    from hermes.app.agent import AgentOfHome
    from hermes.app.toolsets import Parts
    from hermes.files import Files
    from hermes.home.live import LiveSettings
    from hermes.home.paths import Home
    from hermes.home.settings import Settings
    from hermes.jobs.service import Jobs
    from hermes.runs.runner import Runner
    from hermes.toolsets.registry import Registry

log = logging.getLogger(__name__)


class ModelChoices(TypedDict):
    environ: Mapping[str, str]
    fallbacks: list[ModelSetting]
    routes: dict[str, ModelSetting]
    direct_model_requests: bool


@dataclass(slots=True)
class LiveEngine:
    """The parts of an engine that hold something of the settings. `environ` is the process's own."""

    live: LiveSettings
    parts: Parts
    registry: Registry
    agent: AgentOfHome
    runner: Runner
    jobs: Jobs
    files: Files
    environ: Mapping[str, str]
    has_other_models: bool = False
    has_other_servers: bool = False

    def follow(self) -> None:
        self.live.check(runner_settings)
        self.live.check(self._check_toolsets)
        self.live.check(check_paths)
        self.live.on_change(self._change)
        self.live.behind(self._catch_up)

    def _check_toolsets(self, settings: Settings) -> None:
        """A slip would fail every run from now on, and so would a server that is gone and still named. What was one
        before is left to the doctor."""
        known = _known_toolsets(settings)
        slips = set(_toolsets_of(self.live.now)) - _known_toolsets(self.live.now).keys()
        for name in _toolsets_of(settings):
            if name not in known and name not in slips:
                there = ", ".join(known)
                raise ConfigError(f"toolsets: there is no {name!r}; there are {there}", param="toolsets")

    def _change(self, before: Settings, now: Settings) -> None:
        parts = self.parts
        keys = {**self.environ, **now.environ}
        secrets = secret_values(now, keys)
        hide_in_logs(secrets)
        is_remembered_otherwise = before.memory != now.memory and parts.memories is not None
        self.parts = replace(
            parts,
            settings=now,
            keys=keys,
            secrets=secrets,
            memories=memories_of(now, parts.home) if is_remembered_otherwise else parts.memories,
        )
        if keys != parts.keys or _of_models(before) != _of_models(now):
            parts.models.change(setting_of(now.model), **model_choices(now, keys))
            self.has_other_models = True
        if keys != parts.keys or before.mcp_servers != now.mcp_servers:
            self.has_other_servers = True
        change_toolsets(self.registry, parts, self.parts)
        self.agent.change(self.parts)
        self.runner.change(runner_settings(now))
        self.jobs.take_up(ask=asks(now), rules=job_rules(now, parts.home), keep_runs=now.jobs.keep_runs)
        self.files.settings = upload_settings(now)

    async def _catch_up(self) -> None:
        """Also what an earlier call did not come to, since whoever waited for it left."""
        if self.has_other_servers:
            await change_mcp_servers(self.parts, self.registry, self.environ)
            self.has_other_servers = False
        if self.has_other_models:
            await self.parts.models.start()
            self.has_other_models = False


def runner_settings(settings: Settings) -> RunnerSettings:
    """Raises ConfigError for a model of sub-agents that a request could not name either: it would be another one
    without a word."""
    api, asked = settings.api_server, settings.delegation
    if asked.model is not None and asked.model not in settings.model_routes and not settings.direct_model_requests:
        raise ConfigError(
            f"delegation.model: there is no {asked.model!r} in model_routes; name one of it, or leave it out",
            param="delegation.model",
        )
    return RunnerSettings(
        max_running=api.max_concurrent_runs,
        max_waiting=api.max_queued_runs,
        queue_timeout_seconds=api.queue_timeout_seconds,
        approval_timeout_seconds=settings.approvals.timeout,
        delegation=DelegationSettings(asked.max_children, asked.max_steps, asked.model),
    )


def check_paths(settings: Settings) -> None:
    """Raises ConfigError for a home folder of somebody who is not there."""
    terminal = settings.terminal
    paths: Mapping[str, Sequence[str | None]] = {
        "terminal.cwd": [terminal.cwd],
        "terminal.bubblewrap.binds": terminal.bubblewrap.binds,
        "terminal.ssh.key_file": [terminal.ssh.key_file],
        "terminal.ssh.known_hosts": [terminal.ssh.known_hosts],
        "file.roots": settings.file.roots,
    }
    for name, given in paths.items():
        for path in given:
            try:
                Path(path or "").expanduser()
            except RuntimeError as error:
                raise ConfigError(f"{name}: {path!r} is in the home folder of no user of this machine") from error


def asks(settings: Settings) -> Ask:
    """What a job does when it would have to ask."""
    return Ask.APPROVE if settings.approvals.cron_mode == "approve" else Ask.DENY


def job_rules(settings: Settings, home: Home | None) -> Rules:
    return rules_of(settings, ("hermes-agent", model_id(settings, home)))


def upload_settings(settings: Settings) -> UploadSettings:
    uploads = settings.uploads
    return UploadSettings(int(uploads.max_mb * 2**20), int(uploads.total_mb * 2**20), uploads.text_characters)


def model_choices(settings: Settings, keys: Mapping[str, str]) -> ModelChoices:
    """`keys`: the environment over .env."""
    return ModelChoices(
        environ=keys,
        fallbacks=[setting_of(fallback) for fallback in settings.fallback_models],
        routes={name: setting_of(route) for name, route in settings.model_routes.items()},
        direct_model_requests=settings.direct_model_requests,
    )


def _toolsets_of(settings: Settings) -> list[str]:
    return [*(settings.toolsets or ()), *(name for names in settings.platform_toolsets.values() for name in names)]


def _known_toolsets(settings: Settings) -> dict[str, None]:
    servers = sorted(server.toolset for server in servers_of(settings, {}))
    return dict.fromkeys([*TOOLSETS, *COMPOSITES, *servers])


def _of_models(settings: Settings) -> object:
    return settings.model, settings.fallback_models, settings.model_routes, settings.direct_model_requests
