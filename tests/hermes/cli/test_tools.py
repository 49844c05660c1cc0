"""`hermes tools list`."""

from __future__ import annotations

import json

from tests.support.cli import Hermes


def enabled(hermes: Hermes) -> dict[str, bool]:
    return {each["name"]: each["enabled"] for each in json.loads(hermes("tools", "list", "--json").out)}


def test_all_default_toolsets_are_on(hermes: Hermes) -> None:
    assert enabled(hermes) == {"terminal": True, "file": True}
    assert "terminal  on  terminal, process\n" in hermes("tools", "list").out


def test_what_is_set_decides_and_one_way_in_beats_all(hermes: Hermes) -> None:
    hermes("config", "set", "toolsets", "terminal")
    assert enabled(hermes) == {"terminal": True, "file": False}
    hermes("config", "set", "platform_toolsets.api_server", "file")
    assert enabled(hermes) == {"terminal": False, "file": True}


def test_a_toolset_that_this_version_lacks_is_named(hermes: Hermes) -> None:
    hermes("config", "set", "toolsets", "terminal,telepathy")
    assert hermes("tools", "list").err == "not in this version: telepathy\n"
