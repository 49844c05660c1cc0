"""A client chooses ids of sessions: the next owner of one must find nothing of the earlier session."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hermes.agent.agent import Agent
from hermes.agent.approval import Allowances
from hermes.core.clock import SystemClock
from hermes.core.errors import NotFound
from hermes.core.model import Model
from hermes.runs.runner import Runner
from hermes.store import sessions as session_store
from hermes.store.database import Database
from tests.support.database import new_url
from tests.support.engine import AskingGate, Tools, ask
from tests.support.models import ScriptedModel, says
from tests.support.store import a_session


@dataclass
class Closing(Tools):
    """Tells whose processes and outputs it ended."""

    closed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(())

    async def close_session(self, session_id: str) -> None:
        self.closed.append(session_id)


@dataclass
class Bench:
    runner: Runner
    database: Database
    tools: Closing
    allowances: Allowances
    asked_for: list[str | None]

    async def run(self, session_id: str, owner: str) -> None:
        run = await self.runner.start(ask(session_id=session_id, owner=owner))
        assert [one async for one in self.runner.follow(run.id)]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    database, tools, allowances = await Database.open(new_url()), Closing(), Allowances()
    agent = Agent(
        toolbox=tools,
        make_gate=AskingGate,
        clock=SystemClock(),
        home=None,
        workdir=Path("/"),
        environment={},
        forget_allowances=allowances.forget,
    )
    asked_for: list[str | None] = []

    async def models(name: str | None) -> Model:
        asked_for.append(name)
        return ScriptedModel([says("hi")])

    async with Runner(database=database, agent=agent, models=models, clock=SystemClock()) as runner:
        yield Bench(runner, database, tools, allowances, asked_for)
    await database.close()


async def test_a_session_under_the_id_of_one_that_was_dropped_begins_with_nothing_of_it(bench: Bench) -> None:
    await bench.run("main", "alice")
    bench.allowances.sessions["main"] = {"delete_tree"}
    bench.tools.closed.clear()
    await bench.run("main", "alice")  # it lives: what runs in the background stays, and so does what was allowed
    assert (bench.tools.closed, "main" in bench.allowances.sessions) == ([], True)
    await bench.database.write(session_store.delete, "main")  # as the last response of a chain does
    await bench.run("main", "bob")
    assert (bench.tools.closed, bench.allowances.sessions) == (["main"], {})


async def test_what_a_session_chose_shows_in_nobody_elses_errors(bench: Bench) -> None:
    await bench.database.write(session_store.create, a_session("main", owner="alice", model_choice="secret-model"))
    with pytest.raises(NotFound) as refused:
        await bench.runner.start(ask(session_id="main", owner="bob"))
    assert refused.value.code == "session_not_found"
    assert bench.asked_for == []
