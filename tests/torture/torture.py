"""The whole of it: nodes, clients, chaos; then quiet; then the questions."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.torture.chaos import Chaos
from tests.torture.client import Client
from tests.torture.cluster import Cluster, cluster
from tests.torture.door import PATIENCE_SECONDS, TIMEOUT, Door
from tests.torture.ledger import Ledger
from tests.torture.report import Figures, print_story, print_violation
from tests.torture.verdict import judge


@dataclass(frozen=True)
class Conditions:
    """`seconds` of chaos, and at least `strikes`."""

    database: str = "sqlite"
    nodes: int = 1
    clients: int = 6
    seconds: float = 60.0
    strikes: int = 3
    seed: int = 0
    pause_seconds: tuple[float, float] = (1.0, 4.0)


@dataclass
class Result:
    conditions: Conditions
    ledger: Ledger
    done: Counter[str] = field(default_factory=Counter)
    figures: Figures = field(default_factory=Figures)

    @property
    def is_clean(self) -> bool:
        return not self.ledger.violations


def torture(conditions: Conditions, root: Path) -> Result:
    """Everything of it below `root`. What is wrong is printed and in the ledger."""
    with cluster(root, conditions.database, conditions.nodes) as made:
        return asyncio.run(_torture(conditions, made))


async def _torture(conditions: Conditions, made: Cluster) -> Result:
    ledger = Ledger()
    chaos = Chaos(made, ledger, random.Random(f"{conditions.seed} chaos"), conditions.pause_seconds)
    for node in made.nodes:
        await node.start()
    await made.are_ready(30)
    began = time.monotonic()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    async with httpx.AsyncClient(timeout=TIMEOUT, limits=limits) as http:
        clients = [_client(number, conditions, made, ledger, http) for number in range(conditions.clients)]
        living = [asyncio.ensure_future(client.live()) for client in clients]
        with suppress(AssertionError):
            await chaos.go_on(conditions.seconds, conditions.strikes)
        for client in clients:
            client.is_over = True
        took = time.monotonic() - began
        done, late = await asyncio.wait(living, timeout=2 * PATIENCE_SECONDS)
        for one in late:
            one.cancel()
            ledger.wrong("a client did not come to its end")
        for one in done:
            if error := one.exception():
                ledger.wrong(f"a client broke: {error!r}")
        door = _door("judge", conditions, made, ledger, http)
        figures = await judge(made, ledger, door)
    result = Result(conditions, ledger, chaos.done, figures)
    figures.seconds = took
    for violation in ledger.violations:
        print_violation(violation, made, ledger)
    if ledger.violations:
        print_story(chaos.story)
    return result


async def talk(made: Cluster, ledger: Ledger, clients: int, seconds: float, seed: int) -> None:
    """Clients alone: nothing is done to the nodes, which are up. One of them does everything once."""
    conditions = Conditions(clients=clients, seed=seed)
    async with httpx.AsyncClient(timeout=TIMEOUT) as http:
        talking = [_client(number, conditions, made, ledger, http) for number in range(clients)]
        living = [asyncio.ensure_future(client.live()) for client in talking]
        await asyncio.gather(asyncio.sleep(seconds), _client(clients, conditions, made, ledger, http).tour())
        for client in talking:
            client.is_over = True
        await asyncio.gather(*living)


def _client(number: int, conditions: Conditions, made: Cluster, ledger: Ledger, http: httpx.AsyncClient) -> Client:
    name = f"c{number}"
    dice = random.Random(f"{conditions.seed} {name}")
    return Client(name, _door(name, conditions, made, ledger, http), dice, "shared")


def _door(name: str, conditions: Conditions, made: Cluster, ledger: Ledger, http: httpx.AsyncClient) -> Door:
    return Door(made.urls, made.key, random.Random(f"{conditions.seed} {name} door"), ledger, http)
