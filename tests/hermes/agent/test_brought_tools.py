"""Tools that a session brought: its own runs have them, unless the request or the home narrows to less."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes.agent.agent import Agent
from hermes.core.clock import SystemClock
from hermes.core.message import Message
from hermes.core.ports import ApprovalDesk, Tool
from hermes.core.run import RunRequest
from tests.support.engine import AskingGate, Tools
from tests.support.tools import EchoTool


class Bringing(Tools):
    def brought(self, session_id: str) -> dict[str, Tool]:
        return {"theirs": EchoTool("theirs")} if session_id == "sess_1" else {}


def agent(toolsets: tuple[str, ...] | None) -> Agent:
    def gate(desk: ApprovalDesk) -> AskingGate:
        return AskingGate(desk)

    return Agent(
        toolbox=Bringing([EchoTool()]),
        make_gate=gate,
        clock=SystemClock(),
        home=None,
        workdir=Path("/"),
        environment={},
        toolsets=toolsets,
    )


def request(session_id: str | None, toolsets: tuple[str, ...] | None = None) -> RunRequest:
    return RunRequest(
        owner="owner", source="acp", messages=(Message("user", "hi"),), session_id=session_id, toolsets=toolsets
    )


@pytest.mark.parametrize(
    ("home", "asked", "session", "has"),
    [
        (None, None, "sess_1", True),
        (("file",), None, "sess_1", True),
        (("safe",), None, "sess_1", False),
        (None, ("file",), "sess_1", False),
        (None, (), "sess_1", False),
        (None, None, "sess_2", False),
    ],
)
def test_who_has_what_a_session_brought(
    home: tuple[str, ...] | None, asked: tuple[str, ...] | None, session: str, has: bool
) -> None:
    assert ("theirs" in agent(home).tools(request(session, asked))) is has
    assert ("theirs" in agent(home).tools(request(None, asked), session)) is has
