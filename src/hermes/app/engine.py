"""Everything below the protocols, put together and running."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from hermes.agent.agent import Agent
from hermes.app.agent import AgentOfHome
from hermes.app.live import LiveEngine, asks, check_paths, job_rules, model_choices, runner_settings, upload_settings
from hermes.app.mcp import mcp_servers
from hermes.app.toolsets import Parts, build_toolsets, memories_of, remove_leftovers, skills_of
from hermes.core.clock import Clock, SystemClock
from hermes.core.model import Warms
from hermes.files import Files
from hermes.home.live import LiveSettings
from hermes.home.paths import Home
from hermes.home.settings import Settings, secret_values
from hermes.jobs.service import Jobs
from hermes.jobs.tool import JobTool
from hermes.models.choice import setting_of
from hermes.models.resolve import Models
from hermes.models.settle import EmbeddedBuiltin, Progress
from hermes.runs.callbacks import SPREAD_SECONDS, Callbacks
from hermes.runs.node import Identity
from hermes.runs.runner import Runner
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

    live: LiveSettings
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

    @property
    def settings(self) -> Settings:
        """As they are now."""
        return self.live.now

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
    is_live: bool = False,
) -> AsyncIterator[Engine]:
    """`home` None: nothing on disk but what tools write; the database is in memory unless a URL is given. What is
    remembered, and the skills, are then those of `memory_home`, if there is one.

    `environ` is the process's own; keys of providers are looked up in `settings.environ` too, which holds the .env.
    `identity` is what other processes know this one by.
    `progress` hears of what takes long: the built-in model being put together and warmed.
    `is_live`: what is changed in the home's files is taken up; nothing of `settings` was set otherwise then.
    Raises StoreUnavailable when the database cannot be opened, ConfigError for settings nothing can be made with.
    """
    clock = clock or SystemClock()
    check_paths(settings)
    keys = {**environ, **settings.environ}
    secrets = secret_values(settings, keys)
    database = await _open_database(database_url or _database_url(settings, home), home)
    if home is not None:
        await asyncio.to_thread(reap, home.run_dir)  # what tools of a killed gateway left running
        await remove_leftovers(settings, keys)
    live = LiveSettings(settings, home=home if is_live else None, environ=environ, clock=clock)
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
    of_home = AgentOfHome(parts, registry, environ, platform, live.look)
    agent = of_home.agent
    webhooks = Webhooks(
        clock,
        lambda: signing_secret(database, home, live.now.api_server.callback_secret),
        hosts=settings.api_server.callback_hosts,
    )
    try:
        if servers is not None:
            servers.start()
        nodes_clock = await _clock_of(database, clock)
        async with Runner(
            database=database,
            agent=agent,
            models=models.resolve,
            clock=clock,
            settings=runner_settings(settings),
            identity=identity,
        ) as runner:
            registry.add(delegation_toolset(runner.delegation))
            registry.add(clarify_toolset(runner.clarifier))
            jobs = _jobs(settings, home, database, runner, webhooks, nodes_clock, live)
            registry.add(cronjob_toolset(JobTool(jobs, database) if home is not None else None))
            files = Files(database, home.files_dir if home else None, clock, upload_settings(settings))
            LiveEngine(live, parts, registry, of_home, runner, jobs, files, environ).follow()
            yield Engine(
                live=live,
                home=home,
                clock=clock,
                database=database,
                models=models,
                registry=registry,
                agent=agent,
                runner=runner,
                sessions=sessions,
                files=files,
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


def _jobs(
    settings: Settings,
    home: Home | None,
    database: Database,
    runner: Runner,
    webhooks: Webhooks,
    clock: Clock,
    live: LiveSettings,
) -> Jobs:
    return Jobs(
        database,
        runner,
        webhooks,
        clock,
        ask=asks(settings),
        rules=job_rules(settings, home),
        keep_runs=settings.jobs.keep_runs,
        spread_seconds=SPREAD_SECONDS if database.is_shared else 0.0,
        look=live.look,
    )


async def _clock_of(database: Database, clock: Clock) -> Clock:
    """One that all nodes of a database have, for what they take turns at."""
    if not database.is_shared:
        return clock
    shared = SharedClock(database, clock)
    await shared.look()
    return shared


def _models(settings: Settings, keys: Mapping[str, str], clock: Clock, progress: Progress | None) -> Models:
    return Models(
        setting_of(settings.model),
        **model_choices(settings, keys),
        own_names=("hermes-agent", settings.api_server.model_name or "hermes-agent"),
        own_ports=(8642, settings.api_server.port),
        clock=clock,
        builtin=EmbeddedBuiltin(progress),
    )
