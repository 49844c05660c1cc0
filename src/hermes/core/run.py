"""A run is one turn of a session. Status, limits, usage, what is asked, and the record that is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from hermes.core.message import Message

if TYPE_CHECKING:
    from hermes.core.model import ToolSpec


class RunStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING_FOR_APPROVAL = "waiting_for_approval"
    STOPPING = "stopping"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def is_final(self) -> bool:
        return not TRANSITIONS[self]


_ENDS = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.INTERRUPTED})

TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    RunStatus.QUEUED: frozenset({RunStatus.RUNNING, RunStatus.STOPPING}) | _ENDS,
    RunStatus.RUNNING: frozenset({RunStatus.WAITING_FOR_APPROVAL, RunStatus.STOPPING}) | _ENDS,
    RunStatus.WAITING_FOR_APPROVAL: frozenset({RunStatus.RUNNING, RunStatus.STOPPING}) | _ENDS,
    RunStatus.STOPPING: _ENDS,
    RunStatus.COMPLETED: frozenset(),
    RunStatus.FAILED: frozenset(),
    RunStatus.CANCELLED: frozenset(),
    RunStatus.INTERRUPTED: frozenset(),
}


class Ask(StrEnum):
    """Who is asked about a dangerous call (spec: api-server section 3)."""

    WAIT = "wait"
    """A person can answer: wait the whole time limit."""
    DENY = "deny"
    """Nobody can answer: deny at once, as policy."""
    APPROVE = "approve"
    """The owner said beforehand that nobody is asked (cron_mode: approve)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """None means no limit. `max_steps` counts calls of the model, `max_tokens` input and output of the whole run."""

    max_steps: int | None = 90
    max_tokens: int | None = None
    max_seconds: float | None = None
    max_usd: float | None = None

    def within(self, usd: float) -> Limits:
        """The same, and at most so much money; nothing where it is less than that."""
        usd = max(usd, 0.0)
        return replace(self, max_usd=usd if self.max_usd is None else min(self.max_usd, usd))


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call or, added up, of a run. `cost_usd` is None where the model's price is unknown."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    api_calls: int = 0
    cost_usd: float | None = None

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        costs = [cost for cost in (self.cost_usd, other.cost_usd) if cost is not None]
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.api_calls + other.api_calls,
            sum(costs) if costs else None,
        )


@dataclass(frozen=True, slots=True)
class IdempotencyClaim:
    """`key` is the caller's header, `fingerprint` the SHA-256 of what was asked (route and body)."""

    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class ChildOf:
    """The run that delegates, its session, and the id that the child gets: the same whenever it is asked again."""

    run_id: str
    session_id: str
    child_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What every way in hands to `Runner.start`.

    `messages` is the new turn: at least one user message, or the tool results that answer an open client call.
    `history` replaces the stored history and is not stored (a stateless chat re-sends it); None reads the session's.
    `may_clarify`: somebody answers the model's questions; None: where somebody answers about dangerous calls.
    `owner` is the id of the key that asked; what one owner made, another cannot see. `model` None: the session's
    choice, else the default. `child_of`: another run delegates this one. `keep` are functions `(conn, run)` of the
    store that are called in the transaction that keeps the run, after its session and before its messages: for what
    must be there with the run or not at all. What one raises undoes everything, and is raised by `Runner.start`.
    """

    owner: str
    source: str
    messages: tuple[Message, ...]
    session_id: str | None = None
    session_key: str | None = None
    history: tuple[Message, ...] | None = None
    is_stateless: bool = False
    instructions: str = ""
    model: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    client_tools: tuple[ToolSpec, ...] = ()
    tool_choice: str = "auto"
    toolsets: tuple[str, ...] | None = None
    disabled_toolsets: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    ask: Ask = Ask.WAIT
    may_clarify: bool | None = None
    is_durable: bool = False
    may_wait_forever: bool = False
    idempotency: IdempotencyClaim | None = None
    workdir: str | None = None
    skip_context_files: bool = False
    skip_memory: bool = False
    warnings: tuple[str, ...] = ()
    child_of: ChildOf | None = None
    keep: tuple[Callable[[Any, Run], object], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The kept record. Times are unix seconds. `request` is what a restart needs to go on (JSON values)."""

    id: str
    session_id: str
    owner: str
    source: str
    status: RunStatus
    created_at: float
    updated_at: float
    model: str = ""
    started_at: float | None = None
    finished_at: float | None = None
    last_event: str | None = None
    last_seq: int = 0
    output: str | None = None
    finish_reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    error: Mapping[str, Any] | None = None
    is_durable: bool = False
    resumed: int = 0
    request: Mapping[str, Any] = field(default_factory=dict)
    node: str | None = None
    """The id of the node that conducts it, or did; None: nobody does."""
    parent_run_id: str | None = None
    """The run that delegated this one."""
    delegated: Usage | None = None
    """What the runs that it delegated have used by now, none of which `usage` holds; None: it delegated nothing. It is
    read from their rows."""
    is_replay: bool = False
    """Set on the answer of `start` when an idempotency key named an earlier run; never stored."""
    warnings: tuple[str, ...] = ()
    """Set on the answer of `start`: what of the request is not honoured; stored as events only."""
