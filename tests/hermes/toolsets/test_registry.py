from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from hermes.app import open_engine
from hermes.core.errors import InvalidInput
from hermes.core.ports import DelegatedResult, DelegatedTask, ToldJobs, ToolContext
from hermes.core.toolset import CATALOGUE, TOOLS, ToolsetInfo
from hermes.home.memory import Memories, MemoryLimits
from hermes.home.settings import Settings
from hermes.home.skills import Skills
from hermes.runs.clarify import Clarifier
from hermes.toolsets.clarify import clarify_toolset
from hermes.toolsets.cronjob import FIELDS, cronjob_toolset
from hermes.toolsets.delegation import delegation_toolset
from hermes.toolsets.registry import Registry, build_registry
from hermes.toolsets.supervisor import STUB
from hermes.toolsets.toolset import Toolset
from hermes.toolsets.web import web_toolset
from tests.support.sessions import FakeSessions
from tests.support.tools import EchoTool


class Nobody:
    async def delegate(self, context: ToolContext, tasks: Sequence[DelegatedTask]) -> Sequence[DelegatedResult]:
        return []


class NoJobs:
    async def call(self, context: ToolContext, action: str, job_id: str, fields: Mapping[str, Any]) -> ToldJobs:
        return ToldJobs([])


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    sessions = FakeSessions()
    registry = build_registry(
        run_dir=tmp_path,
        memories=Memories(tmp_path / "memories"),
        sessions=sessions,
        todos=sessions,
        skills=Skills(None),
    )
    registry.add(web_toolset())
    registry.add(delegation_toolset(Nobody()))
    registry.add(cronjob_toolset(NoJobs()))
    registry.add(clarify_toolset(Clarifier(lambda run_id: None)))
    return registry


def test_every_tool_is_there_under_the_name_that_the_catalogue_gives_it(registry: Registry) -> None:
    listed = {info.name: tuple(tool.name for tool in info.tools) for info in CATALOGUE}
    states = {state.name: state.tools for state in registry.toolsets()}
    assert states == {name: listed[name] for name in states}
    assert list(states) == [name for name in listed if name in states]


@pytest.mark.sqlite("its database is in memory: nothing is kept in it")
async def test_every_toolset_of_the_catalogue_is_in_a_gateway(tmp_path: Path) -> None:
    async with open_engine(Settings(), home=None, environ={}, database_url="sqlite://") as engine:
        assert [(state.name, state.tools) for state in engine.registry.toolsets()] == [
            (info.name, tuple(tool.name for tool in info.tools)) for info in CATALOGUE
        ]


@pytest.mark.parametrize(
    ("tool", "names"),
    {
        "terminal": ["command", "background", "timeout", "workdir"],
        "process": ["action", "session_id", "data", "timeout", "offset", "limit"],
        "read_file": ["path", "offset", "limit"],
        "write_file": ["path", "content"],
        "patch": ["mode", "path", "old_string", "new_string", "replace_all", "patch"],
        "search_files": ["pattern", "target", "path", "file_glob", "limit", "output_mode", "context"],
        "memory": ["action", "target", "content", "old_text", "operations"],
        "session_search": ["query", "limit", "session_id"],
        "todo": ["todos", "merge"],
        "skills_list": ["category"],
        "skill_view": ["name", "file_path"],
        "skill_manage": ["action", "name", "content", "old_string", "new_string", "file_path", "category"],
        "web_search": ["query"],
        "web_extract": ["urls", "offset"],
        "delegate_task": ["goal", "context", "tasks"],
        "cronjob": ["action", "job_id", "schedule", "prompt", "name", *FIELDS[3:]],
        "clarify": ["question", "choices"],
    }.items(),
)
def test_parameters_have_their_published_names(registry: Registry, tool: str, names: list[str]) -> None:
    parameters = registry.tools[tool].spec.parameters

    assert list(parameters["properties"]) == names
    assert parameters["type"] == "object"
    assert not {'"title"', '"$ref"', '"null"'} & set(json.dumps(parameters).split())


def test_all_schemas_together_stay_small(registry: Registry) -> None:
    specs = [tool.spec for tool in registry.tools.values()]

    assert sum(len(json.dumps([spec.name, spec.description, spec.parameters])) for spec in specs) < 11_000


def test_a_run_gets_what_is_enabled_and_not_disabled(registry: Registry) -> None:
    assert list(registry.select(None)) == [name for name in TOOLS if name in registry.tools]
    assert list(registry.select(("file",))) == ["read_file", "write_file", "patch", "search_files"]
    assert list(registry.select(("terminal", "todo"), ("todo",))) == ["terminal", "process"]
    assert registry.select(()) == {}


SAFE_TOOLS = ["web_search", "web_extract", "todo", "clarify"]


def test_safe_gives_what_of_it_is_there_and_works(registry: Registry, tmp_path: Path) -> None:
    assert list(registry.select(("safe",))) == SAFE_TOOLS
    assert list(registry.select(("safe", "terminal"), ("web",))) == ["terminal", "process", "todo", "clarify"]
    assert not set(registry.select(None, ("safe",))) & set(SAFE_TOOLS)
    assert list(build_registry(run_dir=tmp_path).select(("safe",))) == []  # no list is kept there


def test_safe_is_shown_beside_the_toolsets_with_what_it_gives(registry: Registry) -> None:
    assert "safe" not in [state.name for state in registry.toolsets()]
    [state] = registry.composites(("file",))
    assert (state.name, state.is_enabled, state.is_configured) == ("safe", False, True)
    assert list(state.tools) == SAFE_TOOLS
    assert [state.is_enabled for state in registry.composites(("safe",))] == [True]
    assert [state.is_enabled for state in registry.composites(None)] == [True]


def test_what_cannot_work_here_is_offered_only_to_a_request_that_names_it(tmp_path: Path) -> None:
    registry = build_registry(run_dir=tmp_path)
    assert not {"memory", "session_search", "todo", "skill_view"} & set(registry.select(None))
    assert list(registry.select(("memory",))) == ["memory"]
    assert list(registry.select(("terminal", "memory"), is_setting=True)) == ["terminal", "process"]
    listed = registry.toolsets(("terminal", "memory"), is_setting=True)
    assert [state.name for state in listed if state.is_enabled] == ["terminal"]
    states = {state.name: state for state in registry.toolsets()}
    assert (states["memory"].is_enabled, states["memory"].is_configured) == (False, False)
    assert states["memory"].problem == "it is kept in a home, and there is none"


def test_memory_that_is_switched_off_is_not_offered(tmp_path: Path) -> None:
    registry = build_registry(run_dir=tmp_path, memories=Memories(tmp_path, MemoryLimits(0, 0)))
    [state] = [state for state in registry.toolsets() if state.name == "memory"]
    assert (state.is_enabled, state.problem) == (False, "it is switched off in the settings (memory)")


def test_an_unknown_toolset_is_refused_with_the_known_ones(registry: Registry) -> None:
    with pytest.raises(InvalidInput, match="no toolset 'webb'; there are terminal, file") as refused:
        registry.select(("file", "webb"))
    assert (refused.value.code, refused.value.param) == ("unknown_toolset", "toolsets")

    with pytest.raises(InvalidInput) as refused:
        registry.select(None, ("webb",))
    assert refused.value.param == "disabled_toolsets"


def test_states_say_what_a_run_would_be_offered(registry: Registry) -> None:
    states = {state.name: state for state in registry.toolsets(("file",))}

    assert (states["terminal"].is_enabled, states["file"].is_enabled) == (False, True)
    assert states["file"].is_configured
    assert states["file"].label == "Files"


async def test_a_further_toolset_can_be_added(registry: Registry) -> None:
    info = ToolsetInfo("mcp-echo", "Echo", "Says it again", (), is_default=False)
    registry.add(Toolset(info, (EchoTool(),), problem="no server answers"))

    assert "echo" not in registry.select(None)
    assert list(registry.select(("mcp-echo",))) == ["echo"]
    assert next(state for state in registry.toolsets() if state.name == "mcp-echo").is_configured is False


async def test_without_a_run_directory_nothing_is_left_behind() -> None:
    registry = build_registry()
    await registry.close()


def test_the_supervisors_program_is_what_it_says() -> None:
    assert "supervisor.main" in STUB
