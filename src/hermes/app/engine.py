"""Everything below the protocols, put together and running."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from hermes.agent.agent import Agent
from hermes.app.agent import build_agent
from hermes.app.api import model_id
from hermes.app.mcp import mcp_servers
from hermes.app.toolsets import Parts, build_toolsets, memories_of, remove_leftovers, skills_of
from hermes.core.clock import Clock, SystemClock
from hermes.core.errors import ConfigError
from hermes.core.model import Warms
from hermes.core.run import Ask
from hermes.files import Files, UploadSettings
from hermes.home.paths import Home
from hermes.home.settings import Settings, secret_values
from hermes.jobs.definition import rules_of
from hermes.jobs.service import Jobs
from hermes.jobs.tool import JobTool
from hermes.models.choice import setting_of
from hermes.models.resolve import Models
from hermes.models.settle import EmbeddedBuiltin, Progress
from hermes.runs.callbacks import SPREAD_SECONDS, Callbacks
from hermes.runs.delegation import DelegationSettings
from hermes.runs.node import Identity
from hermes.runs.runner import Runner, RunnerSettings
from hermes.runs.signing import signing_secret
from hermes.runs.webhook import Webhooks
from hermes.sessions import Sessions
from hermes.store import facts
from hermes.store.database import Database
from hermes.store.shared_clock import SharedClock
from hermes.toolsets.clarify import clarify_toolset
from hermes.toolsets.cronjob import cronjob_toolset
from hermes.toolsets.delegation import delegation_toolset
from hermes.toolsets.processes import reap
from hermes.toolsets.registry import Registry


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
        await remove_leftovers(settings, keys)
    models = _models(settings, keys, clock, progress)
    sessions = Sessions(database, clock, forget=lambda session_id: agent.close_session(session_id))
    parts = Parts(
        settings=settings,
        home=home,
        keys=keys,
        secrets=secrets,
        clock=clock,
        database=database,
        models=models,
        sessions=sessions,
        memories=memories_of(settings, home or memory_home),
        skills=skills_of(home or memory_home),
    )
    registry = build_toolsets(parts)
    servers = mcp_servers(parts, registry, environ, platform)
    agent = build_agent(parts, registry, environ, platform)
    api = settings.api_server
    runner_settings = RunnerSettings(
        max_running=api.max_concurrent_runs,
        max_waiting=api.max_queued_runs,
        queue_timeout_seconds=api.queue_timeout_seconds,
        approval_timeout_seconds=settings.approvals.timeout,
        delegation=_delegation(settings),
    )
    webhooks = Webhooks(clock, lambda: signing_secret(database, home, api.callback_secret), hosts=api.callback_hosts)
    try:
        if servers is not None:
            servers.start()
        nodes_clock = await _clock_of(database, clock)
        async with Runner(
            database=database,
            agent=agent,
            models=models.resolve,
            clock=clock,
            settings=runner_settings,
            identity=identity,
        ) as runner:
            registry.add(delegation_toolset(runner.delegation))
            registry.add(clarify_toolset(runner.clarifier))
            jobs = _jobs(settings, home, database, runner, webhooks, nodes_clock)
            registry.add(cronjob_toolset(JobTool(jobs, database) if home is not None else None))
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
                jobs=jobs,
                webhooks=webhooks,
                callbacks=Callbacks(database, runner, webhooks, nodes_clock),
            )
    finally:
        await registry.close()
        await models.close()
        await database.close()


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


def _delegation(settings: Settings) -> DelegationSettings:
    """Raises ConfigError for a model that a request could not name either: it would be another one without a word."""
    asked = settings.delegation
    if asked.model is not None and asked.model not in settings.model_routes and not settings.direct_model_requests:
        raise ConfigError(
            f"delegation.model: there is no {asked.model!r} in model_routes; name one of it, or leave it out",
            param="delegation.model",
        )
    return DelegationSettings(asked.max_children, asked.max_steps, asked.model)


def _jobs(
    settings: Settings, home: Home | None, database: Database, runner: Runner, webhooks: Webhooks, clock: Clock
) -> Jobs:
    ask = Ask.APPROVE if settings.approvals.cron_mode == "approve" else Ask.DENY
    rules = rules_of(settings, ("hermes-agent", model_id(settings, home)))
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


def _uploads(settings: Settings) -> UploadSettings:
    uploads = settings.uploads
    return UploadSettings(int(uploads.max_mb * 2**20), int(uploads.total_mb * 2**20), uploads.text_characters)


def _models(settings: Settings, keys: Mapping[str, str], clock: Clock, progress: Progress | None) -> Models:
    return Models(
        setting_of(settings.model),
        environ=keys,
        fallbacks=[setting_of(fallback) for fallback in settings.fallback_models],
        routes={name: setting_of(route) for name, route in settings.model_routes.items()},
        direct_model_requests=settings.direct_model_requests,
        own_names=("hermes-agent", settings.api_server.model_name or "hermes-agent"),
        own_ports=(8642, settings.api_server.port),
        clock=clock,
        builtin=EmbeddedBuiltin(progress),
    )
