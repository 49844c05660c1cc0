"""The HTTP side of an engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hermes import __version__
from hermes.app.toolsets import skills_of
from hermes.core.redact import Redactor
from hermes.home.paths import Home
from hermes.home.settings import Settings
from hermes.runs.node_object import node_objects

if TYPE_CHECKING:
    from hermes.api.app import Api
    from hermes.api.keyring import OwnerSource
    from hermes.api.services import Services
    from hermes.app.engine import Engine
    from hermes.core.hosts import AllowedHosts
    from hermes.expose.published import Published


def build_api(engine: Engine, *, bound_host: str, environ: Mapping[str, str] | None = None) -> tuple[Services, Api]:
    """The HTTP side of an engine, and the services through which the gateway stops it.

    `environ` is the process's own, where it speaks for this home.
    """
    from hermes.api.access_log import AccessFile, to_log
    from hermes.api.app import build_api as build
    from hermes.api.keyring import HomeKeys, StoredKeys
    from hermes.api.services import ApiSettings, Services, ToolsetStatus
    from hermes.api.status.checks import readiness
    from hermes.expose.published import Published

    settings, home = engine.settings, engine.home
    api = settings.api_server
    published = Published(home.run_dir, environ, now=engine.clock.now) if home is not None else None

    def toolsets() -> list[ToolsetStatus]:
        return [
            ToolsetStatus(
                state.name,
                state.label,
                state.description,
                state.is_enabled,
                state.is_configured,
                state.tools,
                state.problem,
            )
            for states in (engine.registry.toolsets, engine.registry.composites)
            for state in states(engine.agent.toolsets)
        ]

    def api_settings() -> ApiSettings:
        now = engine.settings
        return ApiSettings(
            host=bound_host,
            model_id=model_id(settings, home),
            model_aliases=tuple(now.model_routes),
            is_direct_model=now.direct_model_requests,
            is_streaming=now.streaming.enabled,
            tool_progress=now.api_server.tool_progress,
            disconnect_grace_seconds=now.api_server.disconnect_grace,
            queue_timeout_seconds=now.api_server.queue_timeout_seconds,
            cors_origins=tuple(api.cors_origins),
            trusted_proxies=tuple(api.trusted_proxies),
            tool_items=now.responses.tool_items,
        )

    def change(*_: object) -> None:
        services.settings = api_settings()

    services = Services(
        runner=engine.runner,
        keys=HomeKeys(
            owner_key(settings, home, environ or {}, engine.registry.redactor),
            StoredKeys(engine.database),
            engine.clock,
        ),
        hosts=_hosts(bound_host, api.allowed_hosts, published),
        clock=engine.clock,
        version=__version__,
        settings=api_settings(),
        look=engine.live.look,
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
            live=engine.live,
            home=home,
            clock=engine.clock,
            servers=lambda: engine.registry.servers,
        ),
        runs=engine.runner.tally,
        skills=skills_of(home),
        state=lambda: "draining" if engine.runner.is_draining else "running",
        nodes=lambda: engine.database.read(node_objects, engine.database.path),
        access=AccessFile(home.logs_dir / "access.log", engine.registry.redactor) if home is not None else to_log,
        tunnel=published.tunnel if published is not None else lambda: "none",
    )
    engine.live.on_change(change)
    return services, build(services)


def _hosts(bound_host: str, allowed: list[str], published: Published | None) -> AllowedHosts:
    from hermes.core.hosts import AllowedHosts

    if published is None:
        return AllowedHosts(bound_host, allowed)
    return AllowedHosts(bound_host, allowed, also=published.names, learn=published.learn)


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


def model_id(settings: Settings, home: Home | None) -> str:
    if settings.api_server.model_name:
        return settings.api_server.model_name
    return home.name if home is not None and home.is_profile else "hermes-agent"
