"""Runs of other nodes: what is followed here and happens there, and the other way round.

A follower says so to the node that conducts the run, again every two seconds; that node tells it whenever it has kept
events. A word that is lost costs its reader a moment: it looks by itself as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from hermes.core.clock import Clock, pause
from hermes.core.run import Run

SAID_AGAIN_SECONDS = 2.0
FORGOTTEN_SECONDS = 10.0
LOOK_SECONDS = 1.0
LOOK_ALONE_SECONDS = 0.1
"""Where no word comes: another process of the same file."""
FEW = 1000


@dataclass(slots=True)
class _Followed:
    """How many readers here wait for word of a run."""

    event: asyncio.Event = field(default_factory=asyncio.Event)
    readers: int = 0


class Remote:
    """`tell(node, word)` says a word to a node; `me` gives this node's id."""

    def __init__(self, clock: Clock, *, tell: Callable[[str, str], None], me: Callable[[], str], is_told: bool) -> None:
        self._clock = clock
        self._tell = tell
        self._me = me
        self._look_seconds = LOOK_SECONDS if is_told else LOOK_ALONE_SECONDS
        self._followed: dict[str, _Followed] = {}
        self._heard: dict[str, int] = {}
        self._said: dict[str, tuple[str, float]] = {}
        self._watchers: dict[str, dict[str, float]] = {}
        self._many_said = self._many_watched = FEW

    def mark(self, run_id: str) -> int:
        """Take it before reading what is kept: `changed` knows by it what was said since."""
        return self._heard.get(run_id, 0)

    async def changed(self, run: Run, mark: int) -> None:
        """Until the run, which another node conducts, may have more events than at that mark."""
        self._follow(run)
        if self.mark(run.id) != mark:
            return
        followed = self._followed.setdefault(run.id, _Followed())
        followed.readers += 1
        try:
            await pause(self._clock, self._look_seconds, followed.event)
        finally:
            followed.readers -= 1
            if not followed.readers and self._followed.get(run.id) is followed:
                del self._followed[run.id]

    def heard_events(self, run_id: str) -> None:
        if run_id in self._said:
            self._heard[run_id] = self._heard.get(run_id, 0) + 1
        followed = self._followed.pop(run_id, None)
        if followed is not None:
            followed.event.set()

    def heard_follow(self, run_id: str, node_id: str) -> None:
        """The other node has read what is kept, perhaps before the last commit: it is told at once to look again."""
        self._tell(node_id, f"events {run_id}")  # first, since it refuses what cannot be a node
        now = self._clock.monotonic()
        if len(self._watchers) > self._many_watched:  # of runs that had ended, or were another's, when the word came
            self._watchers = {run: nodes for run, nodes in self._watchers.items() if max(nodes.values()) > now}
            self._many_watched = max(FEW, 2 * len(self._watchers))
        self._watchers.setdefault(run_id, {})[node_id] = now + FORGOTTEN_SECONDS

    def missed(self) -> None:
        """Words may have been lost."""
        for run_id in tuple(self._said):
            self.heard_events(run_id)
        self._said.clear()

    def kept(self, run_id: str) -> None:
        """The run, which this node conducts, has new events."""
        watchers = self._watchers.get(run_id)
        if watchers is None:
            return
        now = self._clock.monotonic()
        for node_id, until in tuple(watchers.items()):
            if now > until:
                del watchers[node_id]
            else:
                self._tell(node_id, f"events {run_id}")
        if not watchers:
            del self._watchers[run_id]

    def ended(self, run_id: str) -> None:
        """It ended here, or is another's: its followers look for themselves."""
        self.kept(run_id)
        self._watchers.pop(run_id, None)

    def _follow(self, run: Run) -> None:
        now = self._clock.monotonic()
        if run.node is None or run.node == self._me():
            return
        said_to, said_at = self._said.get(run.id, ("", 0.0))
        if said_to == run.node and now - said_at < SAID_AGAIN_SECONDS:
            return
        if len(self._said) > self._many_said:
            self._said = {run_id: said for run_id, said in self._said.items() if now - said[1] < FORGOTTEN_SECONDS}
            self._heard = {run_id: count for run_id, count in self._heard.items() if run_id in self._said}
            self._many_said = max(FEW, 2 * len(self._said))
        self._said[run.id] = (run.node, now)
        self._tell(run.node, f"follow {run.id} {self._me()}")
