"""`hermes prompt-size`."""

from __future__ import annotations

import json

import pytest

from tests.support.cli import Hermes

pytestmark = pytest.mark.sqlite("its database is in memory, whatever the home's is")


def test_it_counts_what_a_model_is_told_in_each_request(hermes: Hermes) -> None:
    hermes("config", "set", "toolsets", "todo,session_search")
    (hermes.home.path / "SOUL.md").write_text("You are a teapot.")
    said = json.loads(hermes("prompt-size", "--json").out)
    assert list(said["tools"]) == ["session_search", "todo"]
    assert said["bytes"] == said["instructions"] + sum(said["tools"].values())
    assert said["on_demand"] == []
    (hermes.home.path / "SOUL.md").write_text("You are a teapot. You may also be a kettle.")
    assert json.loads(hermes("prompt-size", "--json").out)["instructions"] == said["instructions"] + 26


def test_each_way_in_has_its_own(hermes: Hermes) -> None:
    hermes("config", "set", "platform_toolsets.cli", "todo")
    assert list(json.loads(hermes("prompt-size", "--platform", "cli", "--json").out)["tools"]) == ["todo"]
    assert hermes("prompt-size").out.splitlines()[1].split()[0] == "terminal"


def test_where_there_is_no_home_it_says_how_to_make_one(hermes: Hermes) -> None:
    done = hermes("-p", "nobody", "prompt-size")
    assert (done.code, done.out) == (2, "")
    assert "nobody" in done.err
