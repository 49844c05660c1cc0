"""`hermes tools`: what is on, what is missing, and switching it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from hermes.cli.tools import PLATFORMS
from hermes.core.toolset import CATALOGUE, COMPOSITES, TOOLSETS
from hermes.home.paths import create_home
from tests.support.cli import Hermes

pytestmark = pytest.mark.sqlite("the command's own database is in memory, whatever the home's is")

DEFAULTS = [toolset.name for toolset in CATALOGUE if toolset.is_default]


def listed(hermes: Hermes, *arguments: str) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in json.loads(hermes("tools", "list", "--json", *arguments).out)}


def on(hermes: Hermes, *arguments: str) -> list[str]:
    return [name for name, each in listed(hermes, *arguments).items() if each["enabled"]]


def config(hermes: Hermes) -> str:
    return hermes.home.config_file.read_text()


def test_all_default_toolsets_are_on(hermes: Hermes) -> None:
    assert set(DEFAULTS) <= set(on(hermes)) <= {*DEFAULTS, *COMPOSITES}
    assert re.search(r"^terminal +on +terminal, process$", hermes("tools", "list").out, re.MULTILINE)


def test_what_is_set_decides_and_one_way_in_beats_all(hermes: Hermes) -> None:
    hermes("config", "set", "toolsets", "terminal")
    assert on(hermes) == ["terminal"]
    hermes("config", "set", "platform_toolsets.api_server", "file")
    assert on(hermes) == ["file"]
    assert on(hermes, "--platform", "cli") == ["terminal"]


def test_safe_is_shown_as_what_it_stands_for(hermes: Hermes) -> None:
    hermes("config", "set", "toolsets", "safe")
    assert [name for name in on(hermes) if name in ("terminal", "memory", "todo", "web", "safe")] == [
        "web",
        "todo",
        "safe",
    ]
    assert re.search(r"^safe +on +web_search, web_extract, .*todo", hermes("tools", "list").out, re.MULTILINE)
    assert hermes("tools", "list").err == ""


def test_a_toolset_that_this_version_lacks_is_named(hermes: Hermes) -> None:
    hermes("config", "set", "toolsets", "terminal,telepathy")
    assert hermes("tools", "list").err == "not in this version: telepathy\n"


def test_what_is_missing_for_a_toolset_is_told(hermes: Hermes) -> None:
    create_home(hermes.home)
    hermes("config", "set", "memory.memory_enabled", "false")
    hermes("config", "set", "memory.user_profile_enabled", "false")
    assert listed(hermes)["memory"]["problem"] == "it is switched off in the settings (memory)"
    shown = hermes("tools", "list").out
    assert re.search(r"^memory +on, but +it is switched off in the settings \(memory\)$", shown, re.MULTILINE)


def test_a_toolset_is_switched_off_and_on_again_and_comments_stay(hermes: Hermes) -> None:
    create_home(hermes.home)
    hermes.home.config_file.write_text("# mine\ntoolsets: [terminal, file]  # two are enough\n")
    assert hermes("tools", "disable", "terminal").out == "file\n"
    done = hermes("tools", "enable", "todo", "terminal")
    assert (done.code, done.out) == (0, "file, todo, terminal\n")
    assert done.err == f"todo, terminal: on everywhere, in {hermes.home.config_file}\n"
    assert on(hermes) == ["terminal", "file", "todo", *(["safe"] if "todo" in COMPOSITES["safe"].members else [])]
    assert "# mine\n" in config(hermes)
    assert "# two are enough\n" in config(hermes)


def test_one_way_in_gets_a_list_of_its_own(hermes: Hermes) -> None:
    assert hermes("tools", "disable", "terminal", "--platform", "cli").code == 0
    assert "terminal" not in on(hermes, "--platform", "cli")
    assert "terminal" in on(hermes)
    everywhere = hermes("tools", "disable", "file")
    assert everywhere.err.endswith("cli has a list of its own: add --platform cli to change that\n")
    assert "file" in on(hermes, "--platform", "cli")


def test_the_tools_of_an_mcp_server_are_a_toolset(hermes: Hermes) -> None:
    create_home(hermes.home)
    hermes.home.config_file.write_text("mcp_servers:\n  files:\n    command: none\n")
    assert listed(hermes)["mcp-files"]["enabled"]
    assert hermes("tools", "disable", "mcp-files").code == 0
    assert not listed(hermes)["mcp-files"]["enabled"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("enable", "telepathy"), f"no toolset 'telepathy'; there are {', '.join([*TOOLSETS, *COMPOSITES])}"),
        (("enable", "mcp-none"), f"no toolset 'mcp-none'; there are {', '.join([*TOOLSETS, *COMPOSITES])}"),
        (("enable", "file", "--platform", "a b"), f"--platform is one of {', '.join(PLATFORMS)}, not 'a b'"),
    ],
)
def test_what_is_not_there_is_refused_and_nothing_written(
    hermes: Hermes, arguments: tuple[str, ...], reason: str
) -> None:
    done = hermes("tools", *arguments)
    assert (done.code, done.out, done.err) == (2, "", f"hermes: {reason}\n")
    assert not hermes.home.path.exists()


def test_a_part_of_safe_cannot_be_taken_out_of_it(hermes: Hermes) -> None:
    hermes("config", "set", "toolsets", "safe, file")
    assert hermes("tools", "disable", "web").err == "hermes: web is part of safe; disable safe\n"
    assert hermes("tools", "disable", "safe").out == "file\n"
