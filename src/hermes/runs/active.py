"""A run that this process conducts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from hermes.agent.turn import TurnResult
from hermes.core.clock import Clock
from hermes.core.event import RunEvent
from hermes.core.message import Message
from hermes.core.model import Model
from hermes.core.run import Limits, Run, RunRequest, Usage
from hermes.runs.approvals import Desk
from hermes.runs.clarify import ClarifyDesk
from hermes.runs.events import Recorder
from hermes.runs.line import Place
from hermes.runs.resume import Progress, resumable


@dataclass(slots=True)
class Steers:
    """A turn takes them right before each call of its model: the first time is when the model is first asked.

    `last` is the number of the newest that was taken up from the store.
    """

    clock: Clock
    messages: list[Message] = field(default_factory=list)
    first_taken_at: float | None = None
    last: int = 0

    def add(self, said: Sequence[tuple[int, str]]) -> None:
        """Numbered, oldest first; what was added before is left out."""
        for number, text in said:
            if number > self.last:
                self.last = number
                self.messages.append(Message("user", text))

    def take(self) -> tuple[Message, ...]:
        if self.first_taken_at is None:
            self.first_taken_at = self.clock.monotonic()
        taken, self.messages = tuple(self.messages), []
        return taken


@dataclass(slots=True)
class Family:
    """What a run has delegated. `places`: so many children at once. `waiting` are those that have not begun,
    `allowances` what each open one may use, `spent` what each ended one has. `told`: names of events and ids of
    children.
    """

    places: asyncio.Semaphore | None = None
    waiting: set[str] = field(default_factory=set)
    allowances: dict[str, Limits] = field(default_factory=dict)
    spent: dict[str, Usage] = field(default_factory=dict)
    told: set[tuple[str, str]] = field(default_factory=set)

    def found(self, children: Sequence[Run]) -> None:
        """The run is resumed, and had these: what an open one was given is its own still, whenever it goes on."""
        for child in children:
            request = None if child.status.is_final else resumable(child)
            if request is None:
                self.spent[child.id] = child.usage
            else:
                self.allowances[child.id] = request.limits

    def used(self) -> Usage:
        return sum(self.spent.values(), Usage())


@dataclass(slots=True)
class Active:
    """A run this process conducts. `why` is set when its turn was ended from outside; `is_parked`: it goes on when
    a gateway starts, or at another node; `is_lost`: another node has it. `began` on the clock that never goes back;
    `waited` are seconds in line. `progress` is of a run that is resumed; its model is found when it goes on.
    `limits` are those that hold for it, once its turn has begun.
    """

    run: Run
    request: RunRequest
    model: Model | None
    recorder: Recorder
    desk: Desk
    questions: ClarifyDesk
    place: Place
    steers: Steers
    began: float
    waited: float = 0.0
    turn: asyncio.Task[TurnResult | Exception] | None = None
    why: RunEvent | None = None
    is_parked: bool = False
    is_lost: bool = False
    progress: Progress | None = None
    limits: Limits = field(default_factory=Limits)
    family: Family = field(default_factory=Family)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_ending(self) -> bool:
        """It was ended from outside, or its turn is over and only its end is still to be kept."""
        return self.why is not None or (self.turn is not None and self.turn.done())
