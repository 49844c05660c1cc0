"""The gateway in the background: a process in a session of its own, that commands start, stop and restart.

One command at a time (a lock); whether a gateway runs is asked of its own lock, so that a pid which a killed one left
behind is never believed. What it prints goes to logs/gateway.out.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from contextlib import AbstractContextManager

from hermes.core.errors import ConfigError, Conflict
from hermes.home import background
from hermes.home.background import Started, Stopped
from hermes.home.keys import check_key
from hermes.home.locks import GatewayProcess, file_lock, last_gateway, running_gateway
from hermes.home.paths import Home
from hermes.home.settings import Settings, load_settings

MARGIN_SECONDS = 2.0
"""What a gateway may take beyond its drain_timeout to end."""
MODEL_LINE = "Model: "
"""How the gateway begins the line that names its model."""


def start(home: Home, environ: Mapping[str, str]) -> Started:
    """Returns when /health answers, or, with the API switched off, when its jobs run.

    Raises ConfigError or HermesError `gateway_not_started` with the last lines it printed.
    """
    with _control(home):
        return _start(home, environ)


def stop(home: Home, environ: Mapping[str, str]) -> Stopped | None:
    """None when it did not run. Raises HermesError `gateway_not_stopped` when it takes longer than it should."""
    if not home.exists():
        return None  # and nothing is made of a name that was mistyped
    with _control(home):
        process = running_gateway(home.pid_file)
        return _stop(home, environ, process) if process is not None else None


def restart(home: Home, environ: Mapping[str, str]) -> tuple[Stopped | None, Started]:
    """Open runs get their time, then a new process takes the same address. One that was killed is just started.

    Raises ConfigError, with the old process still at work, for settings that the new one would refuse.
    """
    check_start(home, load_settings(home, environ))
    with _control(home):
        process = running_gateway(home.pid_file)
        port = kept_port(home, environ, process or last_gateway(home.pid_file))
        stopped = _stop(home, environ, process) if process is not None else None
        return stopped, _start(home, environ, port=port)


def check_start(home: Home, settings: Settings) -> list[str]:
    """What the owner is warned of. Raises ConfigError for what he has to change first.

    Spec: api-server section 10. Nothing listens before this has passed; where nothing will, no key is needed.
    """
    api = settings.api_server
    if not api.enabled:
        return settings.problems
    verdict = check_key(api.key, api.host, command=home.command)
    if verdict.is_refused:
        raise ConfigError(verdict.text)
    return [*([verdict.text] if verdict.text else []), *settings.problems]


def made_home(home: Home) -> str:
    return f"Made a home in {home.path}, with a random API key in {home.env_file}.\n"


def kept_port(home: Home, environ: Mapping[str, str], process: GatewayProcess | None) -> int | None:
    """The port it had, unless the settings name one: then the owner may have changed it."""
    if process is None or process.url is None:
        return None
    settings = _settings(home, environ)
    if "api_server.port" in settings.sources and settings.api_server.port != 0:
        return None
    return urllib.parse.urlsplit(process.url).port


def answers(url: str, timeout_seconds: float = 2.0) -> bool:
    """Whether /health of a gateway at `url` says that it lives: 503 does, too, and says that it is about to stop."""
    return background.answers(reachable(url), "/health", (200, 503), timeout_seconds=timeout_seconds)


def reachable(url: str) -> str:
    """An address of every interface, as one that this machine can call."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def _control(home: Home) -> AbstractContextManager[None]:
    return file_lock(home.run_dir / "control.lock")


def _service(home: Home) -> background.Service:
    out, logs = home.logs_dir / "gateway.out", f"{home.command} logs"
    return background.Service("the gateway", "gateway", "hermes", home.pid_file, out, logs, answers)


def _start(home: Home, environ: Mapping[str, str], *, port: int | None = None) -> Started:
    """With the line that says which model answers, if it comes soon: without one nothing else works."""
    profile = ("-p", home.name) if home.is_profile else ()
    own = {"HERMES_HOME": str(home.root), **({"API_SERVER_PORT": str(port)} if port is not None else {})}
    return _service(home).start(("hermes", *profile, "gateway", "run"), {**environ, **own}, line=MODEL_LINE)


def _stop(home: Home, environ: Mapping[str, str], process: GatewayProcess) -> Stopped:
    if process.is_guest:
        raise Conflict(
            f"profile {home.name} is open in the default profile's gateway (pid {process.pid}), which serves others, "
            "too; stop that one with: hermes -p default gateway stop",
            code="gateway_running",
        )
    api = _settings(home, environ).api_server
    limit = api.drain_delay + api.drain_timeout + MARGIN_SECONDS
    return _service(home).stop(process, limit)


def _settings(home: Home, environ: Mapping[str, str]) -> Settings:
    return load_settings(home, environ, is_lenient=True)
