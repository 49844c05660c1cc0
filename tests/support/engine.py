"""A runner on a database in memory, with a scripted model and counting tools."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hermes.agent.agent import Agent
from hermes.core.clock import Clock, SystemClock
from hermes.core.errors import ToolFailed
from hermes.core.ids import new_id
from hermes.core.message import Message
from hermes.core.model import Model
from hermes.core.ports import Account, Action, ApprovalDesk, ApprovalQuestion, Tool
from hermes.core.run import Ask, RunRequest
from hermes.runs.node import Identity
from hermes.runs.runner import Runner, RunnerSettings
from hermes.store.database import Database
from tests.support.database import new_url
from tests.support.tools import EchoTool


class Tools:
    """Stands where the registry stands: every tool is offered."""

    def __init__(self, tools: Iterable[EchoTool]) -> None:
        self.tools = {tool.name: tool for tool in tools}

    async def end_run(self, run_id: str) -> None:
        pass

    async def close_session(self, session_id: str) -> None:
        pass

    def select(
        self, enabled: tuple[str, ...] | None, disabled: tuple[str, ...] = (), *, is_setting: bool = False
    ) -> dict[str, Tool]:
        return dict(self.tools)

    def brought(self, session_id: str) -> dict[str, Tool]:
        return {}

    async def ready(self, enabled: tuple[str, ...] | None) -> None:
        pass


class AskingGate:
    """Asks the desk about everything that is an action."""

    def __init__(self, desk: ApprovalDesk) -> None:
        self.desk = desk

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
    ) -> None:
        question = ApprovalQuestion(
            id=new_id("appr"),
            run_id=run_id,
            session_id=session_id,
            tool=tool,
            tool_call_id=tool_call_id,
            command=action.text,
            description="a test asks",
            pattern=action.text,
        )
        answer = await self.desk.ask(question)
        if answer.choice == "deny":
            raise ToolFailed(f"denied: {answer.outcome}")


@asynccontextmanager
async def open_runner(
    model: Model,
    *tools: EchoTool,
    database: Database | None = None,
    clock: Clock | None = None,
    settings: RunnerSettings | None = None,
    identity: Identity | None = None,
) -> AsyncIterator[Runner]:
    clock = clock or SystemClock()
    own = database is None
    database = database or await Database.open(new_url())
    agent = Agent(
        toolbox=Tools(tools),
        make_gate=AskingGate,
        clock=clock,
        home=None,
        workdir=Path("/"),
        environment={},
    )

    async def models(name: str | None) -> Model:
        return model

    async with Runner(
        database=database, agent=agent, models=models, clock=clock, settings=settings, identity=identity
    ) as runner:
        yield runner
    if own:
        await database.close()


def ask(text: str = "hello", **options: Any) -> RunRequest:
    return RunRequest(**{"owner": "owner", "source": "test", "messages": (Message("user", text),), **options})
