"""What the protocol needs of the engine. `hermes.app` fills it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hermes.core.clock import Clock
from hermes.runs.runner import Runner
from hermes.sessions import Sessions

SOURCE = "mcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """`may_send` False: only what reads is offered. `may_approve` False: nobody answers questions here, so that what
    would ask is refused at once. `hide` takes secrets out of what is shown."""

    runner: Runner
    sessions: Sessions
    clock: Clock
    version: str
    may_send: bool = True
    may_approve: bool = True
    hide: Callable[[str], str] = str
