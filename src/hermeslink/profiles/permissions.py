"""What a profile's agent may do: who is asked, where commands run, which toolsets it is offered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermes.core.errors import InvalidInput
from hermes.core.toolset import COMPOSITES, MCP_PREFIX, TOOLSETS, Risk, ToolsetInfo, enabled
from hermes.home.edit import change_settings
from hermes.home.paths import Home
from hermes.home.sections import ApprovalSettings, TerminalSettings
from hermes.home.services import NEEDING, lacking
from hermes.home.settings import Settings
from hermeslink.core.caller import Caller
from hermeslink.profiles.files import ProfileFiles, readable_settings

PLATFORM = "api_server"
"""The way in whose toolsets are meant: the one that Link takes."""
ALLOWLIST = "command_allowlist"
ENABLED = "toolsets.enabled_toolsets"
INVALID = "profile_permissions_invalid"
RISKS = tuple(Risk)
MOST_PATTERNS = 1000
MOST_PATTERN_CHARACTERS = 4000


@dataclass(frozen=True, slots=True)
class ToolsetPermission:
    """`risk`: of its most risky tool. `is_configured`: nothing is missing that a setting or key would give."""

    info: ToolsetInfo
    risk: Risk
    is_enabled: bool
    requires_config: bool
    is_configured: bool


@dataclass(frozen=True, slots=True)
class Permissions:
    """`problems`: values in the files that are wrong, each shown as its default. A gateway does not start with them;
    one that runs goes on with what it had."""

    profile: str
    config_file: Path
    approvals: ApprovalSettings
    terminal: TerminalSettings
    toolsets: tuple[ToolsetPermission, ...]
    mcp_enabled: bool
    allowlist: tuple[str, ...]
    problems: tuple[str, ...]


class ProfilePermissions:
    """Errors are those of `ProfileFiles`, and InvalidInput `profile_permissions_invalid` naming the field."""

    def __init__(self, files: ProfileFiles, environ: Mapping[str, str]) -> None:
        self._files = files
        self._environ = environ

    async def show(self, profile: str) -> Permissions:
        return await self._files.read(profile, lambda home: of(home, self._environ))

    async def change(
        self,
        caller: Caller,
        profile: str,
        settings: Mapping[str, Any],
        toolsets: object = None,
    ) -> Permissions:
        """`settings` by their dotted names, None back to the default; `toolsets`: the names of those that are to be
        on, None as they are. Raises InvalidInput `profile_permissions_update_empty`."""
        if not settings and toolsets is None:
            raise InvalidInput(
                "say what to change: approvals, terminal, toolsets or command_allowlist",
                code="profile_permissions_update_empty",
            )
        _check_texts(settings)
        _check_directory(settings.get("terminal.cwd"))

        def work(home: Home) -> dict[str, Any]:
            return _changed(home, settings, toolsets)

        changed = await self._files.write(profile, work)
        if changed:
            await self._files.note(caller, profile, "permissions.changed", changed)
        return await self.show(profile)


def of(home: Home, environ: Mapping[str, str]) -> Permissions:
    """As the files say; `environ` speaks for the default profile, where a key may be in it. Raises ConfigUnreadable."""
    settings = readable_settings(home, environ)
    on = enabled(settings.toolsets_for(PLATFORM))
    return Permissions(
        profile=home.name,
        config_file=home.config_file,
        approvals=settings.approvals,
        terminal=settings.terminal,
        toolsets=tuple(_permission(info, settings, home, is_enabled=info.name in on) for info in TOOLSETS.values()),
        mcp_enabled=settings.mcp_enabled,
        allowlist=tuple(settings.command_allowlist),
        problems=tuple(error.partition(", not ")[0] for error in settings.errors),  # what it says may be a secret
    )


def _permission(info: ToolsetInfo, settings: Settings, home: Home, *, is_enabled: bool) -> ToolsetPermission:
    return ToolsetPermission(
        info=info,
        risk=max((tool.risk for tool in info.tools), key=RISKS.index),
        is_enabled=is_enabled,
        requires_config=info.name in NEEDING,
        is_configured=not lacking(info.name, settings, settings.environ, home.command),
    )


def _changed(home: Home, settings: Mapping[str, Any], toolsets: object) -> dict[str, Any]:
    """For the audit: name → what it is now, of what was something else before."""
    wanted: dict[str, Any] = dict(settings)

    def changes(now: Settings) -> Mapping[str, Any]:
        if toolsets is not None:
            key = f"platform_toolsets.{PLATFORM}" if PLATFORM in now.platform_toolsets else "toolsets"
            wanted[key] = _toolsets(toolsets, now)
        return wanted

    try:
        names = change_settings(home, changes)
    except InvalidInput as error:
        field = ENABLED if error.param in ("toolsets", f"platform_toolsets.{PLATFORM}") else error.param
        raise InvalidInput(error.message, code=INVALID, param=field) from error
    told = {name: wanted[name] for name in names}
    return {name: f"{len(value)} patterns" if name == ALLOWLIST and value else value for name, value in told.items()}


def _toolsets(asked: object, now: Settings) -> list[str]:
    """Those that are asked for, and those of MCP servers as they are, unless they are named."""
    servers = [f"{MCP_PREFIX}{server}" for server in now.mcp_servers]
    known = {*TOOLSETS, *COMPOSITES, *servers}
    names = _texts(asked, ENABLED)
    for name in names:
        if name not in known:
            there = ", ".join([*TOOLSETS, *COMPOSITES, *servers])
            raise InvalidInput(f"no toolset {name[:80]!r}; there are {there}", param=ENABLED)
    if any(name.startswith(MCP_PREFIX) for name in names):
        return names
    before = now.platform_toolsets.get(PLATFORM, now.toolsets)
    return [*names, *(servers if before is None else (name for name in before if name.startswith(MCP_PREFIX)))]


def _check_texts(settings: Mapping[str, Any]) -> None:
    for name, value in settings.items():
        if isinstance(value, str) and not value.isprintable():
            raise InvalidInput(f"{name}: expected text on one line", code=INVALID, param=name)
    for name in ("terminal.env_passthrough", "terminal.bubblewrap.binds"):
        if any(not text.strip() or not text.isprintable() for text in _texts(settings.get(name) or [], name)):
            raise InvalidInput(f"{name}: expected texts on one line each", code=INVALID, param=name)
    for name in (ALLOWLIST, "approvals.deny"):
        patterns = _texts(settings.get(name) or [], name)
        if len(patterns) > MOST_PATTERNS or any(
            not pattern.strip() or len(pattern) > MOST_PATTERN_CHARACTERS or "\0" in pattern for pattern in patterns
        ):
            told = f"{name}: up to {MOST_PATTERNS:,} patterns of 1 to {MOST_PATTERN_CHARACTERS:,} characters"
            raise InvalidInput(told, code=INVALID, param=name)


def _check_directory(cwd: object) -> None:
    """Where a session begins has to be there: else each of them would fail."""
    if isinstance(cwd, str):
        try:
            path = Path(cwd).expanduser()
            is_there = path.is_absolute() and path.is_dir()
        except (OSError, RuntimeError, ValueError):  # too long, ~nobody, NUL
            is_there = False
        if not is_there:
            told = "terminal.cwd: expected the absolute path of a directory on this machine"
            raise InvalidInput(told, code=INVALID, param="terminal.cwd")


def _texts(value: object, name: str) -> list[str]:
    if not isinstance(value, list) or any(not isinstance(one, str) for one in value):
        raise InvalidInput(f"{name}: expected a list of texts", code=INVALID, param=name)
    return list(dict.fromkeys(value))
