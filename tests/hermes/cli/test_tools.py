"""`hermes tools list`."""

from __future__ import annotations

import json
import re

from hermes.core.toolset import CATALOGUE
from tests.support.cli import Hermes


def enabled(hermes: Hermes) -> dict[str, bool]:
    return {each["name"]: each["enabled"] for each in json.loads(hermes("tools", "list", "--json").out)}


def on(hermes: Hermes) -> list[str]:
    return [name for name, is_on in enabled(hermes).items() if is_on]


def test_all_default_toolsets_are_on(hermes: Hermes) -> None:
    assert enabled(hermes) == {**{toolset.name: toolset.is_default for toolset in CATALOGUE}, "safe": True}
    assert re.search(r"^terminal +on +terminal, process$", hermes("tools", "list").out, re.MULTILINE)


def test_what_is_set_decides_and_one_way_in_beats_all(hermes: Hermes) -> None:
    hermes("config", "set", "toolsets", "terminal")
    assert on(hermes) == ["terminal"]
    hermes("config", "set", "platform_toolsets.api_server", "file")
    assert on(hermes) == ["file"]


def test_safe_is_shown_as_what_it_stands_for(hermes: Hermes) -> None:
    hermes("config", "set", "toolsets", "safe")
    assert [name for name in on(hermes) if name in ("terminal", "memory", "todo", "web", "safe")] == [
        "todo",
        "web",
        "safe",
    ]
    assert re.search(r"^safe +on +web_search, web_extract, todo", hermes("tools", "list").out, re.MULTILINE)
    assert hermes("tools", "list").err == ""


def test_a_toolset_that_this_version_lacks_is_named(hermes: Hermes) -> None:
    hermes("config", "set", "toolsets", "terminal,telepathy")
    assert hermes("tools", "list").err == "not in this version: telepathy\n"
