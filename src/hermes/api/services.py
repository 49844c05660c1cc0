"""What the HTTP edge needs of the parts below; `hermes.app` fills it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from hermes.api.access_log import AccessSink, to_log
from hermes.api.auth import KeyRing
from hermes.core.addresses import Resolver
from hermes.core.clock import Clock
from hermes.core.event import KeptEvent
from hermes.core.hosts import AllowedHosts
from hermes.core.peers import Tunnel
from hermes.core.ports import ApprovalQuestion
from hermes.core.run import Limits, Run, RunRequest, RunStatus
from hermes.core.tally import HttpTally, RunTally

if TYPE_CHECKING:
    from hermes.files import Files
    from hermes.home.skills import Skills
    from hermes.jobs.service import Jobs
    from hermes.runs.callbacks import Callbacks
    from hermes.sessions import Sessions
    from hermes.store.database import Database

JSON_LIMIT_BYTES = 10 * 1024 * 1024
UPLOAD_LIMIT_BYTES = 50 * 1024 * 1024


class PendingApproval(Protocol):
    @property
    def question(self) -> ApprovalQuestion: ...

    @property
    def expires_at(self) -> float: ...


class PendingClarification(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def question(self) -> str: ...

    @property
    def choices(self) -> tuple[str, ...]: ...

    @property
    def expires_at(self) -> float: ...


class RunnerPort(Protocol):
    """`hermes.runs.runner.Runner`; each method raises what is said there."""

    @property
    def active(self) -> int: ...

    @property
    def queued(self) -> int: ...

    async def start(self, request: RunRequest) -> Run: ...

    def follow(self, run_id: str, after: int = 0) -> AsyncIterator[KeptEvent]: ...

    async def get(self, run_id: str, owner: str) -> Run: ...

    async def list_runs(
        self,
        owner: str,
        *,
        session_id: str | None = None,
        statuses: Collection[RunStatus] = (),
        limit: int = 50,
        before: tuple[float, str] | None = None,
    ) -> Sequence[Run]: ...

    async def pending_approvals(self, run_id: str, owner: str) -> Sequence[PendingApproval]: ...

    async def answer(
        self,
        run_id: str,
        owner: str,
        choice: object,
        *,
        approval_id: str | None = None,
        all_pending: bool = False,
        by: str | None = None,
        reason: str | None = None,
    ) -> int: ...

    async def pending_clarifications(self, run_id: str, owner: str) -> Sequence[PendingClarification]: ...

    async def clarify(
        self, owner: str, run_id: str, answer: object, clarify_id: str | None = None, *, by: str | None = None
    ) -> str: ...

    async def steer(self, run_id: str, owner: str, text: str, *, by: str | None = None) -> None: ...

    async def has_pending_steer(self, run_id: str) -> bool: ...

    async def stop(self, run_id: str, owner: str, reason: str = ...) -> None: ...


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Plain values, seconds throughout. `host` is the address that was bound.

    `model_aliases` are the names of `model_routes`. `trusted_proxies` are addresses or networks whose
    X-Forwarded-For is believed.
    """

    host: str = "127.0.0.1"
    model_id: str = "hermes-agent"
    model_aliases: tuple[str, ...] = ()
    is_direct_model: bool = False
    is_streaming: bool = True
    tool_progress: Literal["events", "inline"] = "events"
    disconnect_grace_seconds: float = 2.0
    queue_timeout_seconds: float = 30.0
    keepalive_seconds: float = 10.0
    body_timeout_seconds: float = 30.0
    json_limit_bytes: int = JSON_LIMIT_BYTES
    upload_limit_bytes: int = UPLOAD_LIMIT_BYTES
    tool_items: Literal["function_call", "mcp_call"] = "function_call"
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)

    def chosen_model(self, name: str | None) -> str | None:
        """What a request's `model` asks for: an alias, or a model of the provider where that is allowed.

        None where it is only echoed.
        """
        if name in self.model_aliases or (self.is_direct_model and name not in (None, self.model_id)):
            return name
        return None


@dataclass(frozen=True, slots=True)
class ToolsetStatus:
    """`is_enabled`: the model is offered it; `is_configured`: nothing is missing for it to work, or else `problem` says
    what."""

    name: str
    label: str
    description: str
    is_enabled: bool
    is_configured: bool
    tools: tuple[str, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One row of readiness. `detail` is for the owner: no secret in it."""

    is_ok: bool
    detail: str = ""


class Stop:
    """Set when the server stops; ends the streams that are still open. uvicorn alone waits for them for ever.

    `is_announced` comes before: from then on /health tells load balancers to send nothing new, and each answer closes
    its connection.
    """

    def __init__(self) -> None:
        self.is_set = False
        self.is_announced = False
        self._listeners: set[Callable[[], None]] = set()

    def set(self) -> None:
        self.is_set = True
        for listener in tuple(self._listeners):
            listener()

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Called when it is set. Returns the function that ends the listening."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)


def _absent() -> Any:
    return None


async def _nothing_new() -> None:
    pass


async def _alone() -> list[dict[str, Any]]:
    return []


@dataclass(slots=True, kw_only=True)
class Services:
    """`state` is what /health/detailed calls gateway_state: starting, running, draining, stopped.

    `look` takes up settings that were changed; `settings` is another then.
    `nodes` gives those of the database (`hermes.runs.node_object`). `toolsets` is asked at each request. `checks` are
    the readiness checks by name. `access` gets a line a request. `tunnel`: what `expose` has put in front. `resolve`
    looks up the hosts of image URLs; None asks the system. `runs` and `http` are what /metrics tells. What has
    `_absent` for a default is always there in a gateway; a test of a route that does not touch it leaves it out.
    """

    runner: RunnerPort
    keys: KeyRing
    hosts: AllowedHosts
    clock: Clock
    version: str
    settings: ApiSettings = field(default_factory=ApiSettings)
    look: Callable[[], Awaitable[None]] = _nothing_new
    toolsets: Callable[[], Sequence[ToolsetStatus]] = lambda: ()
    checks: Mapping[str, Callable[[], Awaitable[Check]]] = field(default_factory=dict)
    state: Callable[[], str] = lambda: "running"
    nodes: Callable[[], Awaitable[list[dict[str, Any]]]] = _alone
    stop: Stop = field(default_factory=Stop)
    access: AccessSink = to_log
    tunnel: Callable[[], Tunnel] = lambda: "none"
    resolve: Resolver | None = None
    runs: RunTally = field(default_factory=RunTally)
    http: HttpTally = field(default_factory=HttpTally)
    skills: Skills | None = None
    database: Database = field(default_factory=_absent)
    sessions: Sessions = field(default_factory=_absent)
    jobs: Jobs = field(default_factory=_absent)
    files: Files = field(default_factory=_absent)
    callbacks: Callbacks = field(default_factory=_absent)
    started_at: float = 0.0

    @property
    def is_leaving(self) -> bool:
        """It takes no more runs, or will take none in a moment."""
        return self.stop.is_announced or self.state() == "draining"

    def __post_init__(self) -> None:
        if not self.started_at:
            self.started_at = self.clock.now()
