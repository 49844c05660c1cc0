"""`safe` and what it stands for."""

from __future__ import annotations

from hermes.core.toolset import CATALOGUE, COMPOSITES, SAFE, TOOLS, TOOLSETS, Risk, beyond, enabled, expanded, is_read


def test_a_composite_stands_for_its_members_in_its_place() -> None:
    assert expanded(["file", "safe", "todo", "mcp-x"]) == ("file", "web", "vision", "todo", "clarify", "mcp-x")
    assert expanded([]) == ()


def test_nothing_safe_writes_or_runs() -> None:
    assert {tool.risk for tool in SAFE.tools} == {Risk.READ}
    assert not set(SAFE.members) & {"memory", "terminal", "file", "browser"}
    assert not set(COMPOSITES) & set(TOOLSETS)


def test_a_composite_is_enabled_with_any_of_its_members() -> None:
    defaults = tuple(info.name for info in CATALOGUE if info.is_default)
    assert enabled(None) == (*defaults, "safe")
    assert enabled(["terminal"]) == ("terminal",)
    assert enabled(["todo"]) == ("todo", "safe")
    assert enabled(["safe"]) == (*(name for name in TOOLSETS if name in SAFE.members), "safe")


def test_a_composite_that_is_asked_for_gives_nothing_beyond_what_is_allowed() -> None:
    assert beyond(["safe"], None) == ()
    assert beyond(["safe"], ["safe"]) == ()
    there = [name for name in TOOLSETS if name in (*SAFE.members, "memory")]
    assert list(beyond(["safe"], ["terminal"])) == there
    assert list(beyond(["safe"], ["todo", "memory"])) == [name for name in there if name not in ("todo", "memory")]
    assert list(beyond(["safe", "web"], ["terminal"])) == [name for name in there if name != "web"]
    assert beyond(["file"], ["terminal"]) == ()


def test_memory_is_there_to_read() -> None:
    assert is_read("memory", ["safe"])
    assert not is_read("memory", ["memory"])
    assert not is_read("memory", None)
    assert not is_read("web", ["safe"])
    assert "memory" in TOOLS
