"""What is done to the nodes while clients talk to them."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.torture.cluster import Cluster, Node
from tests.torture.ledger import Ledger

DRAIN_SECONDS = 12.0
"""How long a gateway may take to stop (DESIGN section 5)."""


@dataclass
class Chaos:
    """`done` counts what was done. `pause_seconds`: least and most between two."""

    cluster: Cluster
    ledger: Ledger
    dice: random.Random
    pause_seconds: tuple[float, float] = (1.0, 4.0)
    done: Counter[str] = field(default_factory=Counter)
    story: list[tuple[float, str]] = field(default_factory=list)

    async def go_on(self, seconds: float, least: int) -> None:
        """For so long, and until at least so much was done. Every node is up and awake when it returns."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline or sum(self.done.values()) < least:
            # a machine on which a start takes long needs as long to get something done before the next
            slow = max(node.start_seconds for node in self.cluster.nodes)
            await asyncio.sleep(self.dice.uniform(*self.pause_seconds) + slow)
            await self.strike()

    async def strike(self) -> None:
        node = self.dice.choice(list(self.cluster.nodes))
        names, weights = zip(*self._means().items(), strict=True)
        [what] = self.dice.choices(names, weights)
        self.story.append((time.time(), f"{what} of {node.name}"))
        try:
            await self._strike(what, node)
        except AssertionError as error:  # a node that does not start again is the end of the test
            self.ledger.wrong(f"{node.name} did not come back after {what}: {error}")
            raise
        self.done[what] += 1
        self.story.append((time.time(), f"{what} of {node.name} is over"))

    def _means(self) -> dict[str, int]:
        is_alone = len(self.cluster.nodes) == 1
        means = {"kill -9": 14, "kill -9 of two at once": 0, "SIGTERM": 3, "freeze": 1, "pause": 1}
        if not is_alone:
            means |= {"kill -9 of two at once": 2, "freeze": 4}
        if self.cluster.postgres is not None:
            means |= {"restart of PostgreSQL": 2}
        return means

    async def _strike(self, what: str, node: Node) -> None:
        match what:
            case "kill -9":
                await self._kill(node)
            case "kill -9 of two at once":
                others = [one for one in self.cluster.nodes if one is not node]
                await asyncio.gather(self._kill(node), self._kill(self.dice.choice(others)))
            case "SIGTERM":
                await self._stop(node)
            case "freeze":
                await node.freeze(self.dice.uniform(8, 12))
            case "pause":
                await node.freeze(self.dice.uniform(0.5, 3))
            case "restart of PostgreSQL":
                assert self.cluster.postgres is not None
                await asyncio.to_thread(self.cluster.postgres.restart)

    async def _kill(self, node: Node) -> None:
        await node.kill()
        if len(self.cluster.nodes) > 1:
            await asyncio.sleep(self.dice.choice((0.0, 0.5, 3.0, 9.0)))
        await node.start()

    async def _stop(self, node: Node) -> None:
        began = time.time()
        code = await node.stop()
        took = time.time() - began
        if code != 0 or took > DRAIN_SECONDS:
            self.ledger.wrong(f"{node.name} stopped with {code} after {took:.1f} s")
        await node.start()
