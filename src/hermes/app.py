"""The composition root: the only file that joins every part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hermes import __version__
from hermes.agent.agent import Agent
from hermes.agent.approval import Allowances, Gate
from hermes.agent.compaction import CompactionSettings
from hermes.agent.memory import Snapshots
from hermes.agent.skills import SkillIndex
from hermes.core.clock import Clock, SystemClock
from hermes.core.model import Warms
from hermes.core.ports import ApprovalDesk
from hermes.core.redact import Redactor
from hermes.core.run import Ask, Limits
from hermes.files import Files, UploadSettings
from hermes.home.memory import Memories, memory_limits
from hermes.home.paths import Home
from hermes.home.settings import ModelSettings, Settings, secret_values
from hermes.home.skills import Skills
from hermes.jobs.definition import rules_of
from hermes.jobs.service import Jobs
from hermes.models.choice import ModelSetting
from hermes.models.resolve import Models
from hermes.models.settle import EmbeddedBuiltin, Progress
from hermes.runs.callbacks import SPREAD_SECONDS, Callbacks
from hermes.runs.node import Identity
from hermes.runs.node_object import node_objects
from hermes.runs.runner import Runner, RunnerSettings
from hermes.runs.signing import signing_secret
from hermes.runs.webhook import Webhooks
from hermes.sessions import KeptSummaries, Sessions
from hermes.store import approvals as approval_store
from hermes.store import facts
from hermes.store.database import Database
from hermes.store.shared_clock import SharedClock
from hermes.toolsets.environment import child_environment
from hermes.toolsets.processes import reap
from hermes.toolsets.registry import Registry, build_registry
from hermes.toolsets.settings import FileSettings, TerminalSettings

if TYPE_CHECKING:
    from hermes.api.app import Api
    from hermes.api.keyring import OwnerSource
    from hermes.api.services import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Everything below the protocols, running. One a gateway, one a script."""

    settings: Settings
    home: Home | None
    clock: Clock
    database: Database
    models: Models
    registry: Registry
    agent: Agent
    runner: Runner
    sessions: Sessions
    files: Files
    jobs: Jobs
    webhooks: Webhooks
    callbacks: Callbacks

    async def warm(self) -> None:
        """Do beforehand what the first answer would wait for. Raises what a run would fail with."""
        model = await self.models.resolve(None)
        if isinstance(model, Warms):
            await model.warm(*self.agent.opening(model))


@asynccontextmanager
async def open_engine(
    settings: Settings,
    *,
    home: Home | None,
    environ: Mapping[str, str],
    database_url: str | None = None,
    clock: Clock | None = None,
    platform: str = "api_server",
    identity: Identity | None = None,
    progress: Progress | None = None,
    memory_home: Home | None = None,
) -> AsyncIterator[Engine]:
    """`home` None: nothing on disk but what tools write; the database is in memory unless a URL is given. What is
    remembered, and the skills, are then those of `memory_home`, if there is one.

    `environ` is the process's own; keys of providers are looked up in `settings.environ` too, which holds the .env.
    `identity` is what other processes know this one by.
    `progress` hears of what takes long: the built-in model being put together and warmed.
    Raises StoreUnavailable when the database cannot be opened.
    """
    clock = clock or SystemClock()
    keys = {**environ, **settings.environ}
    secrets = secret_values(settings, keys)
    database = await _open_database(database_url or _database_url(settings, home), home)
    if home is not None:
        await asyncio.to_thread(reap, home.run_dir)  # what tools of a killed gateway left running
    models = _models(settings, keys, clock, progress)
    memories = _memories(settings, home or memory_home)
    skills = _skills(home or memory_home)
    sessions = Sessions(database, clock, forget=lambda session_id: agent.close_session(session_id))
    registry = build_registry(
        run_dir=home.run_dir if home else None,
        home=home.path if home else None,
        terminal=_terminal(settings),
        files=_files(settings),
        secrets=secrets,
        memories=memories,
        sessions=sessions,
        todos=sessions,
        skills=skills,
    )
    agent = _agent(settings, home, environ, registry, clock, secrets, platform, memories, skills, database, models)
    api = settings.api_server
    runner_settings = RunnerSettings(
        max_running=api.max_concurrent_runs,
        max_waiting=api.max_queued_runs,
        queue_timeout_seconds=api.queue_timeout_seconds,
        approval_timeout_seconds=settings.approvals.timeout,
    )
    webhooks = Webhooks(clock, lambda: signing_secret(database, home, api.callback_secret), hosts=api.callback_hosts)
    try:
        nodes_clock = await _clock_of(database, clock)
        async with Runner(
            database=database,
            agent=agent,
            models=models.resolve,
            clock=clock,
            settings=runner_settings,
            identity=identity,
        ) as runner:
            yield Engine(
                settings=settings,
                home=home,
                clock=clock,
                database=database,
                models=models,
                registry=registry,
                agent=agent,
                runner=runner,
                sessions=sessions,
                files=Files(database, home.files_dir if home else None, clock, _uploads(settings)),
                jobs=_jobs(settings, home, database, runner, webhooks, nodes_clock),
                webhooks=webhooks,
                callbacks=Callbacks(database, runner, webhooks, nodes_clock),
            )
    finally:
        await registry.close()
        await models.close()
        await database.close()


def build_api(engine: Engine, *, bound_host: str, environ: Mapping[str, str] | None = None) -> tuple[Services, Api]:
    """The HTTP side of an engine, and the services through which the gateway stops it.

    `environ` is the process's own, where it speaks for this home.
    """
    from hermes.api.access_log import AccessFile, to_log
    from hermes.api.app import build_api as build
    from hermes.api.hosts import AllowedHosts
    from hermes.api.keyring import HomeKeys, StoredKeys
    from hermes.api.services import ApiSettings, Services, ToolsetStatus
    from hermes.api.status.checks import readiness

    settings, home = engine.settings, engine.home
    api = settings.api_server

    def toolsets() -> list[ToolsetStatus]:
        return [
            ToolsetStatus(
                state.name, state.label, state.description, state.is_enabled, state.is_configured, state.tools
            )
            for state in engine.registry.toolsets(engine.agent.toolsets)
        ]

    services = Services(
        runner=engine.runner,
        keys=HomeKeys(
            owner_key(settings, home, environ or {}, engine.registry.redactor),
            StoredKeys(engine.database),
            engine.clock,
        ),
        hosts=AllowedHosts(bound_host, api.allowed_hosts),
        clock=engine.clock,
        version=__version__,
        settings=ApiSettings(
            host=bound_host,
            model_id=_model_id(settings, home),
            model_aliases=tuple(settings.model_routes),
            is_direct_model=settings.direct_model_requests,
            is_streaming=settings.streaming.enabled,
            tool_progress=api.tool_progress,
            disconnect_grace_seconds=api.disconnect_grace,
            queue_timeout_seconds=api.queue_timeout_seconds,
            cors_origins=tuple(api.cors_origins),
            trusted_proxies=tuple(api.trusted_proxies),
            tool_items=settings.responses.tool_items,
        ),
        database=engine.database,
        sessions=engine.sessions,
        jobs=engine.jobs,
        files=engine.files,
        callbacks=engine.callbacks,
        toolsets=toolsets,
        checks=readiness(
            database=engine.database,
            runner=engine.runner,
            models=engine.models,
            settings=settings,
            home=home,
            clock=engine.clock,
        ),
        runs=engine.runner.tally,
        skills=_skills(home),
        state=lambda: "draining" if engine.runner.is_draining else "running",
        nodes=lambda: engine.database.read(node_objects, engine.database.path),
        access=AccessFile(home.logs_dir / "access.log", engine.registry.redactor) if home is not None else to_log,
    )
    return services, build(services)


def owner_key(
    settings: Settings, home: Home | None, environ: Mapping[str, str], redactor: Redactor | None = None
) -> OwnerSource:
    """Where the owner's key of a home comes from. The process's environment cannot change; .env can, and what it then
    says is a secret that nobody knew of before.
    """
    from hermes.api.auth import OwnerKey
    from hermes.api.keyring import FixedKey, KeyFile
    from hermes.home.env import read_env
    from hermes.home.logs import hide_in_logs

    if home is None or environ.get("API_SERVER_KEY", "").strip():
        key = settings.api_server.key or ""
        return FixedKey(OwnerKey(key, is_local_only=is_weak(key)))
    in_config = settings.api_server.key if settings.sources.get("api_server.key") != ".env" else None

    def read() -> tuple[str, bool]:
        key = read_env(home.env_file).get("API_SERVER_KEY", "").strip() or in_config or ""
        hide_in_logs([key])
        if redactor is not None:
            redactor.add([key])
        return key, is_weak(key)

    return KeyFile(home.env_file, read)


def is_weak(key: str) -> bool:
    """Too weak for anything but this machine, wherever the server listens."""
    from hermes.home.keys import check_key

    return check_key(key, "0.0.0.0").is_refused  # noqa: S104 the question is whether it would do anywhere


async def _open_database(url: str, home: Home | None) -> Database:
    """Raises ConfigError where it is another profile's, and what opening it raises."""
    database = await Database.open(url)
    if database.is_shared and home is not None:
        try:
            await database.write(facts.belongs_to, home.name, durable=True)
            await database.read(facts.check_profile, home.name, home.command)
        except BaseException:
            await database.close()
            raise
    return database


def _database_url(settings: Settings, home: Home | None) -> str:
    if settings.database.url:
        return settings.database.url
    return f"sqlite:///{home.state_db}" if home else "sqlite://"


def _jobs(
    settings: Settings, home: Home | None, database: Database, runner: Runner, webhooks: Webhooks, clock: Clock
) -> Jobs:
    ask = Ask.APPROVE if settings.approvals.cron_mode == "approve" else Ask.DENY
    rules = rules_of(settings, ("hermes-agent", _model_id(settings, home)))
    return Jobs(
        database,
        runner,
        webhooks,
        clock,
        ask=ask,
        rules=rules,
        keep_runs=settings.jobs.keep_runs,
        spread_seconds=SPREAD_SECONDS if database.is_shared else 0.0,
    )


async def _clock_of(database: Database, clock: Clock) -> Clock:
    """One that all nodes of a database have, for what they take turns at."""
    if not database.is_shared:
        return clock
    shared = SharedClock(database, clock)
    await shared.look()
    return shared


def _terminal(settings: Settings) -> TerminalSettings:
    terminal = settings.terminal
    return TerminalSettings(
        timeout_seconds=terminal.timeout,
        max_timeout_seconds=terminal.max_timeout,
        output_characters=terminal.output_characters,
        max_processes=terminal.max_processes,
        shell=terminal.shell,
    )


def _files(settings: Settings) -> FileSettings:
    return FileSettings(roots=tuple(Path(root).expanduser() for root in settings.file.roots))


def _memories(settings: Settings, home: Home | None) -> Memories | None:
    return None if home is None else Memories(home.memories_dir, memory_limits(settings))


def _skills(home: Home | None) -> Skills | None:
    return None if home is None else Skills(home.skills_dir, home.config_file)


def _uploads(settings: Settings) -> UploadSettings:
    uploads = settings.uploads
    return UploadSettings(int(uploads.max_mb * 2**20), int(uploads.total_mb * 2**20), uploads.text_characters)


def _models(settings: Settings, keys: Mapping[str, str], clock: Clock, progress: Progress | None) -> Models:
    return Models(
        _model_setting(settings.model),
        environ=keys,
        fallbacks=[_model_setting(fallback) for fallback in settings.fallback_models],
        routes={name: _model_setting(route) for name, route in settings.model_routes.items()},
        direct_model_requests=settings.direct_model_requests,
        own_names=("hermes-agent", settings.api_server.model_name or "hermes-agent"),
        own_ports=(8642, settings.api_server.port),
        clock=clock,
        builtin=EmbeddedBuiltin(progress),
    )


def _model_setting(model: ModelSettings) -> ModelSetting:
    return ModelSetting(
        name=model.default,
        provider=model.provider,
        base_url=model.base_url,
        api_key=model.api_key,
        key_env=model.key_env,
        context_length=model.context_length,
    )


def _agent(
    settings: Settings,
    home: Home | None,
    environ: Mapping[str, str],
    registry: Registry,
    clock: Clock,
    secrets: Iterable[str],
    platform: str,
    memories: Memories | None,
    skills: Skills | None,
    database: Database,
    models: Models,
) -> Agent:
    toolsets = settings.platform_toolsets.get(platform, settings.toolsets)
    limits = settings.limits
    allowances = Allowances(set(settings.command_allowlist))

    async def allow_always(pattern: str) -> None:
        assert home is not None
        await _add_to_allowlist(home, pattern)

    async def allowed_before(session_id: str) -> set[str]:
        return await database.read(approval_store.allowed, session_id)

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
            secret_values=list(secrets),
            allowed=settings.terminal.env_passthrough,
        ),
        soul_file=home.soul_file if home else None,
        redactor=registry.redactor,
        toolsets=tuple(toolsets) if toolsets is not None else None,
        limits=Limits(limits.max_steps, limits.max_tokens, limits.max_seconds, limits.max_usd),
        memory=Snapshots(memories) if memories is not None else None,
        skills=SkillIndex(skills, clock) if skills is not None else None,
        compaction=_compaction(settings, models),
        summaries=KeptSummaries(database, clock),
    )


def _compaction(settings: Settings, models: Models) -> CompactionSettings:
    compression = settings.compression
    name = compression.model
    return CompactionSettings(
        compression.enabled, compression.threshold, None if name is None else lambda: models.resolve(name)
    )


async def _add_to_allowlist(home: Home, pattern: str) -> None:
    from hermes.home.config_file import add_to_config_list  # ruamel.yaml: not needed for a start without a config.yaml

    await asyncio.to_thread(add_to_config_list, home.config_file, "command_allowlist", pattern)


def _model_id(settings: Settings, home: Home | None) -> str:
    if settings.api_server.model_name:
        return settings.api_server.model_name
    return home.name if home is not None and home.is_profile else "hermes-agent"
