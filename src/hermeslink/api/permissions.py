"""What a profile's agent may do, read and changed in its config.yaml (spec: link-api, section 3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field

from hermes.core.toolset import Risk
from hermeslink.api.bodies import Body, CamelAnswer, CamelView, refusing_with
from hermeslink.api.dependencies import TheCaller, TheLink
from hermeslink.profiles.permissions import INVALID, Permissions, ToolsetPermission

router = APIRouter(
    prefix="/api/v1/profiles/{name}/permissions", tags=["permissions"], route_class=refusing_with(INVALID)
)

Mode = Literal["manual", "smart", "off"]
CronMode = Literal["deny", "approve"]
Backend = Literal["local", "bubblewrap", "docker", "ssh"]


class ApprovalsView(CamelView):
    """Who is asked before something dangerous. `timeout`: seconds until no answer is a no."""

    mode: Mode
    timeout: float
    cron_mode: CronMode
    deny: list[str]


class BubblewrapView(CamelView):
    network: bool
    binds: list[str]


class DockerView(CamelView):
    image: str
    network: bool
    memory: str | None
    mount: bool


class SshView(CamelView):
    host: str | None
    user: str | None
    port: int | None
    key_file: str | None
    known_hosts: str | None
    cwd: str | None


class TerminalView(CamelView):
    """Where commands run, and how long and how much they may; null is what the machine says."""

    backend: Backend
    cwd: str | None
    timeout: float
    max_timeout: float
    output_characters: int
    max_processes: int
    shell: str | None
    env_passthrough: list[str]
    bubblewrap: BubblewrapView
    docker: DockerView
    ssh: SshView


class ToolsetItem(CamelView):
    """`risk`: of the most risky of its tools. `configured`: nothing is missing that a setting or key would give; only
    then is the agent offered what is enabled."""

    key: str
    label: str
    description: str
    risk: Risk
    enabled: bool
    requires_config: bool
    configured: bool

    @classmethod
    def of(cls, permission: ToolsetPermission) -> ToolsetItem:
        info = permission.info
        return cls(
            key=info.name,
            label=info.label,
            description=info.description,
            risk=permission.risk,
            enabled=permission.is_enabled,
            requires_config=permission.requires_config,
            configured=permission.is_configured,
        )


class ToolsetsView(CamelView):
    """`mcp_enabled`: whether the agent gets the tools of MCP servers."""

    items: list[ToolsetItem]
    mcp_enabled: bool


class PermissionsView(CamelView):
    """`problems`: wrong values in the files; each is shown as its default."""

    profile_name: str
    config_path: str
    approvals: ApprovalsView
    terminal: TerminalView
    toolsets: ToolsetsView
    command_allowlist: list[str]
    problems: list[str]

    @classmethod
    def of(cls, permissions: Permissions) -> PermissionsView:
        return cls(
            profile_name=permissions.profile,
            config_path=str(permissions.config_file),
            approvals=ApprovalsView.model_validate(permissions.approvals),
            terminal=TerminalView.model_validate(permissions.terminal),
            toolsets=ToolsetsView(
                items=[ToolsetItem.of(toolset) for toolset in permissions.toolsets], mcp_enabled=permissions.mcp_enabled
            ),
            command_allowlist=list(permissions.allowlist),
            problems=list(permissions.problems),
        )


class PermissionsAnswer(CamelAnswer):
    permissions: PermissionsView


Seconds = Annotated[float | None, Field(gt=0, le=366 * 86400, allow_inf_nan=False, strict=True)]
Count = Annotated[int | None, Field(gt=0, lt=2**31, strict=True)]
Flag = Annotated[bool | None, Field(strict=True)]


class ApprovalsChange(Body):
    """The mode off takes a device with the scope admin, as every change here does."""

    mode: Mode | None = None
    timeout: Seconds = None
    cron_mode: CronMode | None = None
    deny: list[str] | None = None


class BubblewrapChange(Body):
    network: Flag = None
    binds: list[str] | None = None


class DockerChange(Body):
    image: str | None = None
    network: Flag = None
    memory: str | None = None
    mount: Flag = None


class SshChange(Body):
    host: str | None = None
    user: str | None = None
    port: Annotated[int | None, Field(ge=1, le=65535, strict=True)] = None
    key_file: str | None = None
    known_hosts: str | None = None
    cwd: str | None = None


class TerminalChange(Body):
    backend: Backend | None = None
    cwd: str | None = None
    timeout: Seconds = None
    max_timeout: Seconds = None
    output_characters: Count = None
    max_processes: Count = None
    shell: str | None = None
    env_passthrough: list[str] | None = None
    bubblewrap: BubblewrapChange | None = None
    docker: DockerChange | None = None
    ssh: SshChange | None = None


class ToolsetsChange(Body):
    """`enabled_toolsets`: all that are to be on, of the items' keys. Those of MCP servers stay as they are."""

    enabled_toolsets: list[str] | None = None
    mcp_enabled: Flag = None


class PermissionsChange(Body):
    """What is sent is changed; null is the default again, but for what holds others."""

    approvals: ApprovalsChange | None = None
    terminal: TerminalChange | None = None
    toolsets: ToolsetsChange | None = None
    command_allowlist: list[str] | None = None

    def settings(self) -> dict[str, Any]:
        """By their dotted names."""
        sent = self.model_dump(exclude_unset=True, exclude={"toolsets": {"enabled_toolsets"}})
        toolsets = sent.pop("toolsets", None) or {}
        return {**toolsets, **dict(_dotted(sent))}


@router.get("")
async def show_permissions(link: TheLink, name: str) -> PermissionsAnswer:
    """Who is asked, where commands run, which toolsets there are and which of them are on."""
    return PermissionsAnswer(permissions=PermissionsView.of(await link.permissions.show(name)))


@router.patch("")
async def change_permissions(
    link: TheLink, caller: TheCaller, name: str, body: PermissionsChange | None = None
) -> PermissionsAnswer:
    """All that is sent, or nothing where something of it is wrong. A running gateway goes by it with the next run, and
    in approvals with the next action."""
    body = body or PermissionsChange()
    toolsets = body.toolsets and body.toolsets.enabled_toolsets
    changed = await link.permissions.change(caller, name, body.settings(), toolsets)
    return PermissionsAnswer(permissions=PermissionsView.of(changed))


def _dotted(sent: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """null for what holds others says nothing."""
    for name, value in sent.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{above}{name}.")
        elif value is not None or f"{above}{name}" not in _HOLDING:
            yield f"{above}{name}", value


_HOLDING = frozenset({"approvals", "terminal", "terminal.bubblewrap", "terminal.docker", "terminal.ssh"})
