"""What the clients of the torture test were told. It is what the server is held to afterwards."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum

from tests.torture.plan import Plan


class Kind(StrEnum):
    """How the turn was said."""

    RUN = "run"
    RESPONSE = "background response"
    CHAT = "plain chat"
    KEPT_CHAT = "chat that outlives its connection"
    SESSION_CHAT = "session chat"
    JOB = "job"


@dataclass
class Turn:
    """Something that was said. `is_acknowledged`: the server said that it took it; where it gave no answer at all it
    may have taken it or not, but never twice. `is_durable`: a restart may not end it. `run_ids` are all that the server
    named for it: there may be one only.

    `steers`: text → whether it was accepted. `choices`: approval id → what was answered and acknowledged.
    """

    token: str
    kind: Kind
    plan: Plan
    session_id: str | None = None
    is_acknowledged: bool = False
    is_durable: bool = True
    run_ids: set[str] = field(default_factory=set)
    steers: dict[str, bool] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)
    is_stopped: bool = False
    may_be_stopped: bool = False
    is_deleted: bool = False
    job_id: str | None = None
    answers: list[str] = field(default_factory=list)
    response_ids: set[str] = field(default_factory=set)
    idempotency_key: str | None = None
    sent_session: str | None = None
    bodies: set[bytes] = field(default_factory=set)
    said_at: float = field(default_factory=time.time)

    @property
    def run_id(self) -> str | None:
        return next(iter(self.run_ids), None)


@dataclass
class Reader:
    """One reader of a list of events, over all its connections. `seen`: number → the data as it came."""

    of: str
    seen: dict[int, str] = field(default_factory=dict)
    has_ended: bool = False
    connections: int = 0


@dataclass
class Upload:
    file_id: str
    content: bytes
    is_deleted: bool = False


@dataclass
class Job:
    """`session_id`: where its output is told. `is_due`: it fires by itself, once; others are only fired by hand."""

    job_id: str
    token: str
    session_id: str | None = None
    is_due: bool = False
    is_done: bool = False
    by_hand: set[str] = field(default_factory=set)


@dataclass
class Violation:
    what: str
    run_id: str | None = None
    at: float = field(default_factory=time.time)


@dataclass
class Ledger:
    turns: list[Turn] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)
    response_readers: list[Reader] = field(default_factory=list)
    uploads: list[Upload] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    titles: dict[str, str] = field(default_factory=dict)
    sessions: set[str] = field(default_factory=set)
    deleted_sessions: set[str] = field(default_factory=set)
    forks: dict[str, str] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    retries: int = 0
    acknowledgements: list[tuple[float, str, str]] = field(default_factory=list)
    """What was said to be kept whatever comes: when, what kind of thing, which."""

    def acknowledge(self, kind: str, which: str) -> None:
        self.acknowledgements.append((time.time(), kind, which))

    def wrong(self, what: str, run_id: str | None = None) -> None:
        self.violations.append(Violation(what, run_id))

    @property
    def acknowledged(self) -> int:
        """Everything that a client was told is done."""
        turns = sum(turn.is_acknowledged for turn in self.turns)
        said = sum(sum(turn.steers.values()) + len(turn.choices) + turn.is_stopped for turn in self.turns)
        return turns + said + len(self.uploads) + len(self.jobs) + len(self.titles) + len(self.forks)
