"""What the agent of a home can do: each toolset gets its settings and the part of the engine that it needs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hermes.app.media import media_toolsets
from hermes.core.clock import Clock
from hermes.core.errors import ToolFailed
from hermes.files.reading import ReadDocuments
from hermes.home.memory import Memories, memory_limits
from hermes.home.paths import Home
from hermes.home.settings import Settings
from hermes.home.skills import Skills
from hermes.models.resolve import Models
from hermes.sessions import Sessions
from hermes.store import nodes as node_store
from hermes.store.database import Database
from hermes.toolsets.backends import docker
from hermes.toolsets.backends.bubblewrap import BubblewrapSettings
from hermes.toolsets.backends.choice import Place
from hermes.toolsets.backends.docker import DockerSettings
from hermes.toolsets.backends.ssh import SshSettings
from hermes.toolsets.browser import browser_toolset
from hermes.toolsets.code_execution import CodeSettings, code_execution_toolset
from hermes.toolsets.registry import Registry, build_registry, memory_toolset
from hermes.toolsets.settings import BrowserSettings, FileSettings, TerminalSettings, WebSettings
from hermes.toolsets.toolset import Toolset
from hermes.toolsets.web import web_toolset

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a toolset may be made of. `keys`: the environment and .env, where keys of services are looked up; `secrets`
    are the values among them that must not leave."""

    settings: Settings
    home: Home | None
    keys: Mapping[str, str]
    secrets: Sequence[str]
    clock: Clock
    database: Database
    models: Models
    sessions: Sessions
    memories: Memories | None
    skills: Skills | None


def build_toolsets(parts: Parts) -> Registry:
    """All toolsets but those that need the runner, which `open_engine` adds."""
    home = parts.home
    registry = build_registry(
        run_dir=home.run_dir if home else None,
        home=home.path if home else None,
        terminal=_terminal(parts.settings, home),
        environ=parts.keys,
        files=_files(parts.settings),
        secrets=parts.secrets,
        memories=parts.memories,
        sessions=parts.sessions,
        todos=parts.sessions,
        skills=parts.skills,
    )
    for toolset in _further(parts):
        registry.add(toolset)
    if registry.terminal_problem:
        log.warning("no command runs: %s", registry.terminal_problem)
    return registry


def _further(parts: Parts) -> list[Toolset]:
    return [*_plain(parts), browser_toolset(_browser(parts.settings))]


def _plain(parts: Parts) -> list[Toolset]:
    """Those that hold nothing between two calls."""
    return [
        web_toolset(_web(parts.settings), documents=ReadDocuments()),
        code_execution_toolset(_code(parts.settings)),
        *media_toolsets(parts.settings, parts.home, parts.keys, parts.models),
    ]


def change_toolsets(registry: Registry, before: Parts, parts: Parts) -> None:
    """For turns that begin from now on. A browser whose settings are the same keeps its pages."""
    registry.redactor.add(parts.secrets)
    home = parts.home
    registry.place_terminal(
        _terminal(parts.settings, home),
        _files(parts.settings),
        home=home.path if home else None,
        environ=parts.keys,
    )
    registry.add(memory_toolset(parts.memories, registry.redactor))
    for toolset in _plain(parts):
        registry.add(toolset)
    if _browser(before.settings) != _browser(parts.settings):
        registry.add(browser_toolset(_browser(parts.settings)))
    if registry.terminal_problem:
        log.warning("no command runs: %s", registry.terminal_problem)


def _code(settings: Settings) -> CodeSettings:
    code = settings.code_execution
    return CodeSettings(seconds=code.timeout, memory_bytes=code.memory_mb << 20, max_calls=code.max_calls)


def _web(settings: Settings) -> WebSettings:
    web = settings.web
    return WebSettings(
        search_backend=web.search_backend,
        region=web.region,
        max_results=web.max_results,
        timeout_seconds=web.timeout,
        searxng_url=web.searxng_url,
        allow_private_hosts=tuple(web.allow_private_hosts),
        max_bytes=int(web.max_mb * 2**20),
        output_characters=web.output_characters,
    )


def _browser(settings: Settings) -> BrowserSettings:
    browser = settings.browser
    return BrowserSettings(
        executable=browser.executable,
        is_headless=browser.headless,
        is_sandboxed=browser.sandbox,
        timeout_seconds=browser.timeout,
        idle_seconds=browser.idle_timeout,
        output_characters=browser.output_characters,
        allow_private_hosts=tuple(settings.web.allow_private_hosts),
    )


def _terminal(settings: Settings, home: Home | None) -> TerminalSettings:
    terminal = settings.terminal
    return TerminalSettings(
        timeout_seconds=terminal.timeout,
        max_timeout_seconds=terminal.max_timeout,
        output_characters=terminal.output_characters,
        max_processes=terminal.max_processes,
        shell=terminal.shell,
        place=place_of(settings, home),
    )


def place_of(settings: Settings, home: Home | None) -> Place:
    """Where the settings say that commands run."""
    terminal = settings.terminal
    hidden = home.path if home else None
    match terminal.backend:
        case "bubblewrap":
            binds = tuple(Path(path).expanduser() for path in terminal.bubblewrap.binds)
            return BubblewrapSettings(
                network=terminal.bubblewrap.network, binds=binds, home=hidden, hidden=_database_files(settings)
            )
        case "docker":
            container = terminal.docker
            return DockerSettings(
                image=container.image,
                network=container.network,
                memory=container.memory,
                shares_workspace=container.mount,
                home=hidden,
            )
        case "ssh":
            ssh = terminal.ssh
            return SshSettings(
                host=ssh.host or "",
                user=ssh.user,
                port=ssh.port,
                key_file=Path(ssh.key_file).expanduser() if ssh.key_file else None,
                known_hosts=Path(ssh.known_hosts).expanduser() if ssh.known_hosts else None,
                directory=ssh.cwd,
            )
    return None


def _database_files(settings: Settings) -> tuple[Path, ...]:
    """Of a database that is not in the home."""
    file = node_store.file_of(settings.database.url) if settings.database.url else None
    return () if file is None else tuple(file.with_name(f"{file.name}{end}") for end in ("", "-wal", "-shm"))


async def remove_leftovers(settings: Settings, environ: Mapping[str, str]) -> None:
    """Containers that a gateway left which was killed. They are never in the way of a start."""
    if settings.terminal.backend == "docker":
        try:
            await asyncio.to_thread(docker.remove_leftovers, environ)
        except ToolFailed as failed:
            log.warning("terminal.backend is docker: %s; no command runs until it works", failed.message)


def _files(settings: Settings) -> FileSettings:
    return FileSettings(roots=tuple(Path(root).expanduser() for root in settings.file.roots))


def memories_of(settings: Settings, home: Home | None) -> Memories | None:
    return None if home is None else Memories(home.memories_dir, memory_limits(settings))


def skills_of(home: Home | None) -> Skills | None:
    return None if home is None else Skills(home.skills_dir, home.config_file)
