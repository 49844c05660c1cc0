"""Which settings a running gateway takes up by itself, with the next run, and which only a restart brings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hermes.home.names import canonical, env_names

if TYPE_CHECKING:
    from hermes.home.settings import Settings

NEEDS_RESTART = frozenset(
    {
        "api_server.enabled",
        "api_server.host",
        "api_server.port",
        "api_server.key",
        "api_server.cors_origins",
        "api_server.allowed_hosts",
        "api_server.trusted_proxies",
        "api_server.model_name",
        "api_server.profiles",
        "api_server.callback_hosts",
        "database.url",
        "logging.level",
        "mcp_servers",
    }
)
"""What the listener, the database, the log and the servers of others are made with."""
LIVE_IN_ENV = frozenset({"API_SERVER_KEY"})
"""What the gateway looks at in .env, though not in config.yaml."""


def needs_restart(setting_name: str) -> bool:
    """Whether a running gateway goes on without a change of this setting. The name as `hermes config set` takes it:
    dotted (`api_server.port`, an alias of it, a section, an entry such as `mcp_servers.mine`), or of .env
    (`API_SERVER_PORT`). A name that is none, such as a provider's key, needs no restart: .env is read anew.
    """
    if setting_name in LIVE_IN_ENV:
        return False
    name = canonical(env_names().get(setting_name, setting_name))
    return any(name == one or name.startswith(f"{one}.") or one.startswith(f"{name}.") for one in NEEDS_RESTART)


def waiting(started: Settings, now: Settings) -> tuple[str, ...]:
    """The settings that are others now than the gateway was started with, and that it goes on without."""
    return tuple(
        name
        for name in sorted(NEEDS_RESTART)
        if _value(started, name) != _value(now, name) and not _is_live_in_env(name, now)
    )


def _is_live_in_env(name: str, now: Settings) -> bool:
    return now.sources.get(name) == ".env" and any(env_names()[env] == name for env in LIVE_IN_ENV)


def _value(settings: Settings, name: str) -> Any:
    value: Any = settings
    for key in name.split("."):
        value = getattr(value, key)
    return value
