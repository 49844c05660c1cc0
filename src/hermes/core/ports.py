"""What a lower part needs of a higher one, as protocols; `hermes.app` fills them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from hermes.core.clock import Clock
from hermes.core.event import RunEvent
from hermes.core.key import OWNER
from hermes.core.message import Message
from hermes.core.model import Model, ToolSpec
from hermes.core.run import Ask, Usage
from hermes.core.todo import Todo


class Sink(Protocol):
    """Where a turn's events and messages go. `hermes.runs` keeps them, then sends them; a script may just collect.

    `delta` gathers text and returns at once; it never raises for a slow store. `record` returns when all of it is
    committed, in order and behind every delta before it: a turn's next step starts only then.
    """

    def delta(self, event: RunEvent) -> None: ...

    async def record(self, *items: RunEvent | Message, usage: Usage | None = None) -> None: ...

    async def starting(self, tool_call_id: str) -> None:
        """The call takes effect now. Returns when that is kept, so that a restart knows its outcome as unknown."""


class ActionKind(StrEnum):
    COMMAND = "command"
    """Text for a shell, or for the input of a process that may be one."""
    WRITE = "write"
    """A file is written; `paths` are absolute."""
    READ = "read"
    """A file is read; `paths` are absolute."""
    SERVICE = "service"
    """Something in a home is switched; `text` is `domain.service`, what it is done to, and further data as JSON."""
    JOB = "job"
    """What runs by itself is made, changed or removed; `text` says all of it."""
    CALL = "call"
    """A tool of another program is called; `text` is its name, a space, and the arguments."""


@dataclass(frozen=True, slots=True)
class Action:
    """What a tool call would do, in the words of the approval rules. `text` is the real command or a summary.

    `is_trusted`: of a call, that the owner said beforehand that it needs no question.
    """

    kind: ActionKind
    text: str
    paths: tuple[Path, ...] = ()
    workdir: Path | None = None
    is_trusted: bool = False


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool may know of the run that calls it.

    `workdir` is where relative paths start. `home` is None where no home exists (a script).
    `environment` is what children get: secrets are out of it already.
    `state` lives as long as the session: the terminal keeps its directory there. `owner` is the id of the key that
    asked, `session_key` whom it asked for: together they say whose memory and whose sessions these are.
    `calls` is for a tool that calls others; None where there are none, and in a call that such a tool made.
    `account` is what a tool that asks a model puts its use on; None outside of a turn.
    """

    session_id: str
    run_id: str
    tool_call_id: str
    workdir: Path
    home: Path | None
    clock: Clock
    environment: Mapping[str, str]
    state: dict[str, Any]
    session_key: str | None = None
    owner: str = OWNER
    account: Account | None = None
    calls: Calls | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """`content` goes to the model, cut to size already, with a line that says what was cut and where the rest is.

    `is_error`: the call did not do what was asked; `content` then says why. `preview` is one line for a person.
    """

    content: str
    is_error: bool = False
    preview: str = ""


class Calls(Protocol):
    """The run's other tools, called by a tool. Each call passes the gate and is told of in events, as a model's is.

    `names` has the names of a tool's arguments, in order. `call` never raises ToolFailed: a failure is its result.
    """

    @property
    def names(self) -> Mapping[str, Sequence[str]]: ...

    async def call(self, name: str, arguments: Mapping[str, Any]) -> ToolResult: ...


class Tool(Protocol):
    """One tool. `run` raises `ToolFailed` with a message for the model, or lets cancellation through.

    `parse` takes the model's JSON arguments and gives the validated value that the others take; it raises
    `ToolFailed` naming the wrong argument. `action` is None where there is nothing to approve.
    `is_idempotent`: may be run again when its outcome was lost with the process.
    """

    @property
    def spec(self) -> ToolSpec: ...

    @property
    def is_idempotent(self) -> bool: ...

    def parse(self, arguments: str) -> Any: ...

    def preview(self, arguments: Any) -> str: ...

    def action(self, arguments: Any, context: ToolContext) -> Action | None: ...

    async def run(self, arguments: Any, context: ToolContext) -> ToolResult: ...


class Toolbox(Protocol):
    """The tools there are.

    `select`: None means what is on by default; raises InvalidInput naming an unknown toolset. With `is_setting` the
    names are the home's, not a request's, and what cannot work here is left out. `brought` are tools that came with
    the session, for its runs alone. `ready` waits, a few seconds at most, for tools that are still being looked for.
    `end_run`: the run was stopped, so whatever it started ends, what runs in the background too.
    `close_session`: the session is gone, so whatever it started ends, and what it left on disk goes.
    """

    def select(
        self, enabled: tuple[str, ...] | None, disabled: tuple[str, ...] = (), *, is_setting: bool = False
    ) -> dict[str, Tool]: ...

    def brought(self, session_id: str) -> dict[str, Tool]: ...

    async def ready(self, enabled: tuple[str, ...] | None) -> None: ...

    async def end_run(self, run_id: str) -> None: ...

    async def close_session(self, session_id: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalQuestion:
    """`pattern` is what `session` and `always` would allow from now on."""

    id: str
    run_id: str
    session_id: str
    tool: str
    tool_call_id: str
    command: str
    description: str
    pattern: str
    choices: tuple[str, ...] = ("once", "session", "always", "deny")
    allow_permanent: bool = True


@dataclass(frozen=True, slots=True)
class ApprovalAnswer:
    """`choice`: once, session, always or deny. `outcome`: user, timeout or policy."""

    choice: str
    outcome: str
    by: str | None = None
    reason: str | None = None


class ApprovalDesk(Protocol):
    """Where a question waits for a person. It records the question and its answer as events of the run.

    `ask` always returns: a time-out is an answer (`deny`, `timeout`). It is cancelled with the run.
    """

    async def ask(self, question: ApprovalQuestion) -> ApprovalAnswer: ...


class Account(Protocol):
    """What a call of a model that is no step of the turn goes on: the run's limits, its usage, its list of events.

    `model` is the one that the run is of. `may_spend`: no limit is reached. `spent` records what a call used,
    `happened` what came of it.
    """

    @property
    def model(self) -> Model: ...

    def may_spend(self) -> bool: ...

    async def spent(self, usage: Usage) -> None: ...

    async def happened(self, *what: RunEvent) -> None: ...


class ApprovalGate(Protocol):
    """What every tool call passes. `check` returns when the call may run and raises ToolFailed when it may not.

    Without an `account` no model judges: a person is asked.
    """

    async def check(
        self,
        *,
        tool: str,
        tool_call_id: str,
        action: Action,
        run_id: str,
        session_id: str,
        ask: Ask,
        account: Account | None = None,
    ) -> object: ...


@dataclass(frozen=True, slots=True)
class DelegatedTask:
    """`toolsets`: fewer than the run has; None: the same."""

    goal: str
    context: str = ""
    toolsets: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class DelegatedResult:
    """`status` is how the child run ended. `text` is its last message; `problem` says what is wrong with it, empty when
    nothing."""

    run_id: str
    status: str
    text: str
    problem: str = ""


class Delegates(Protocol):
    """Gives tasks to runs of their own, side by side. Results come in the order of the tasks.

    Asked again for the same tool call, after a restart, it goes on where it was. Raises ToolFailed for what the calling
    run may not delegate. Cancelled, it returns when all of them are gone.
    """

    async def delegate(self, context: ToolContext, tasks: Sequence[DelegatedTask]) -> Sequence[DelegatedResult]: ...


@dataclass(frozen=True, slots=True)
class ToldJobs:
    """`jobs` as /api/jobs shows them; `note` is one line about what was done."""

    jobs: Sequence[Mapping[str, Any]]
    note: str = ""


class CronJobs(Protocol):
    """Jobs for a tool. `action`: create, list, update, pause, resume, run or remove; `fields` as /api/jobs takes them.

    Raises ToolFailed in the words of /api/jobs, and for whoever may not use that.
    """

    async def call(self, context: ToolContext, action: str, job_id: str, fields: Mapping[str, Any]) -> ToldJobs: ...


CLARIFY = "clarify"
"""The tool that asks the person something."""


@dataclass(frozen=True, slots=True)
class ClarifyAnswer:
    """`text` is None where nobody answered. `outcome`: user, timeout, or policy, where nobody could be asked."""

    text: str | None
    outcome: str
    by: str | None = None


class Clarifies(Protocol):
    """Asks the person behind a run, and waits. It always returns: that nobody answers is an answer. Cancelled with the
    run."""

    async def clarify(self, context: ToolContext, question: str, choices: Sequence[str]) -> ClarifyAnswer: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Something that was said: `text` is a snippet with marks around what was looked for, or the message's beginning.
    `title` is the session's, or how it began. `created_at` in unix seconds."""

    session_id: str
    title: str
    role: str
    created_at: float
    text: str


@dataclass(frozen=True, slots=True)
class Recalled:
    """`pending`: messages that are not in the index yet and may be missing."""

    said: Sequence[Said]
    has_more: bool = False
    pending: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Whose:
    """Who may be told: the owner's sessions and, with a session key, those that were begun with it. What belongs to
    the run that asks is left out."""

    owner: str
    session_key: str | None
    session_id: str
    run_id: str


class SessionRecall(Protocol):
    """What was said in sessions, for a tool.

    `recall` looks through all of them but the one that asks, or through `session_id` alone; it raises InvalidInput
    naming the query. `last_said` gives the newest words of one session, oldest first; both raise NotFound for a session
    of somebody else. `recent` lists the latest sessions, as they began.
    """

    async def recall(self, whose: Whose, query: str, *, limit: int, session_id: str | None = None) -> Recalled: ...

    async def last_said(self, whose: Whose, session_id: str, *, limit: int) -> Recalled: ...

    async def recent(self, whose: Whose, *, limit: int) -> Recalled: ...


class TodoKeeper(Protocol):
    """The list of a session. `change_todos` reads, changes and keeps in one step, and gives what is kept; whatever
    `change` raises leaves the list as it was. Raises NotFound when the session is gone."""

    async def change_todos(
        self, session_id: str, change: Callable[[Sequence[Todo]], Sequence[Todo]]
    ) -> Sequence[Todo]: ...


class DocumentUnreadable(Exception):
    """The message is a sentence's end: `the document cannot be read: …`."""


class DocumentReader(Protocol):
    """PDF and Office documents as text. `read` gives the text, what was read ("12 pages") and whether there is more
    than `most_characters`; it raises DocumentUnreadable."""

    def can_read(self, data: bytes) -> bool: ...

    async def read(self, data: bytes, most_characters: int) -> tuple[str, str, bool]: ...


@dataclass(frozen=True, slots=True)
class Summary:
    """What was said in the first `covers` messages of a session, in few words. `digest` is of those messages."""

    covers: int
    digest: str
    text: str


class Summaries(Protocol):
    """The newest summary of a session, kept beside its messages, which stay as they are."""

    async def latest(self, session_id: str) -> Summary | None: ...

    async def keep(self, session_id: str, summary: Summary) -> None: ...


class Steering(Protocol):
    """What a person said to the run since it was last read; read before each call of the model."""

    def take(self) -> tuple[Message, ...]: ...


ModelSource = Callable[[str | None], Awaitable[Model]]
"""The model for a request's `model` field (None: the default). Raises InvalidInput or NoModel."""


@dataclass(frozen=True, slots=True)
class NoSteering:
    messages: tuple[Message, ...] = field(default=())

    def take(self) -> tuple[Message, ...]:
        return ()
