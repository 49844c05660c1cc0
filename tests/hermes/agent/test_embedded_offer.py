"""Which tools the built-in model gets: few, unless somebody asked for more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hermes.agent.agent import Agent
from hermes.app import open_engine
from hermes.core.toolset import TOOLSETS, ToolsetInfo
from hermes.home.paths import Home, create_home
from hermes.home.settings import load_settings
from hermes.toolsets.toolset import Toolset
from tests.support.database import new_url
from tests.support.models import ScriptedModel
from tests.support.tools import EchoTool

SMALL = ScriptedModel([], provider="embedded")
FEW = [tool.name for name in ("terminal", "file") for tool in TOOLSETS[name].tools]


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    home = Home(tmp_path / "home")
    create_home(home)
    async with open_engine(load_settings(home, {}), home=home, environ={}, database_url=new_url()) as engine:
        engine.registry.add(Toolset(ToolsetInfo("mcp-boats", "Boats", "", ()), (EchoTool("mcp_boats_list"),)))
        yield engine.agent


def names(agent: Agent, model: ScriptedModel | None) -> list[str]:
    return [spec.name for spec in agent.opening(model)[0]]


async def test_it_gets_terminal_files_and_the_tools_of_others(agent: Agent) -> None:
    assert names(agent, SMALL) == [*FEW, "mcp_boats_list"]
    assert len(names(agent, None)) > len(FEW) + 1


async def test_it_gets_what_the_settings_name(agent: Agent) -> None:
    agent.toolsets = ("file", "todo")
    assert names(agent, SMALL) == [*(tool.name for tool in TOOLSETS["file"].tools), "todo"]
