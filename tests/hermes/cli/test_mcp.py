"""`hermes mcp`: servers are written without their secrets, tried, listed and taken out again."""

from __future__ import annotations

import json
import sys

import pytest

from tests.support.cli import Hermes
from tests.support.mcp_servers import ROOT, ROUGH

pytestmark = pytest.mark.sqlite("the command's own database is in memory, whatever the home's is")

TOKEN = "ghp_" + "a1B2" * 9


def test_a_server_is_added_with_its_secrets_in_env_and_removed_with_them(hermes: Hermes) -> None:
    home = hermes.home
    hermes("config", "set", "toolsets", "file")
    before = "# mine\n" + home.config_file.read_text() + "# the end\n"
    home.config_file.write_text(before)
    done = hermes(
        *("mcp", "add", "git.hub", "--command", "npx", "--env", f"GITHUB_TOKEN={TOKEN}", "--env", "REGION=eu"),
        *("--", "-y", "server-github"),
    )
    assert (done.code, done.err) == (0, "")
    assert "MCP_GIT_HUB_GITHUB_TOKEN to .env" in done.out
    assert "hermes mcp test git.hub" in done.out
    assert home.env_file.read_text().endswith(f"MCP_GIT_HUB_GITHUB_TOKEN={TOKEN}\n")
    assert TOKEN not in home.config_file.read_text()
    assert (
        hermes("mcp", "add", "web", "--url", "https://x.example/mcp", "--header", "Authorization=Bearer abc123").code
        == 0
    )
    rows = json.loads(hermes("mcp", "list", "--json").out)
    assert [(row["name"], row["state"], row["transport"], row["trust"], row["target"]) for row in rows] == [
        ("git.hub", "enabled", "stdio", "ask", "npx -y server-github"),
        ("web", "enabled", "http", "ask", "https://x.example/mcp"),
    ]
    assert "Authorization: Bearer ${MCP_WEB_AUTHORIZATION}" in home.config_file.read_text()
    assert "mcp-git.hub" in hermes("tools", "list").out

    again = hermes("mcp", "add", "web", "--url", "https://y.example/mcp")
    assert (again.code, again.err) == (
        2,
        "hermes: there is a server web already; --replace puts this one in its place\n",
    )
    assert hermes("mcp", "add", "web", "--url", "https://y.example/mcp", "--replace", "--trust", "all").code == 0
    assert "MCP_GIT_HUB_GITHUB_TOKEN from .env" in hermes("mcp", "remove", "git.hub").out
    assert hermes("mcp", "remove", "web").code == 0
    assert TOKEN not in home.env_file.read_text()
    assert hermes("mcp", "list").out.startswith("No MCP servers.")
    assert home.config_file.read_text() == before
    gone = hermes("mcp", "remove", "web")
    assert (gone.code, "there is no MCP server 'web'" in gone.err) == (2, True)


def test_a_server_that_is_removed_is_named_by_no_list_of_toolsets(hermes: Hermes) -> None:
    hermes("mcp", "add", "web", "--url", "https://x.example/mcp")
    hermes("config", "set", "toolsets", "file,mcp-web")
    hermes("config", "set", "platform_toolsets.cli", "mcp-web")
    assert hermes("mcp", "remove", "web").code == 0
    assert hermes("config", "get", "toolsets").out == '["file"]\n'
    assert "mcp-web" not in hermes.home.config_file.read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("a b", "--command", "x"), "cannot name a server"),
        (("a",), "give either --command or --url"),
        (("a", "--command", "x", "--url", "http://x"), "give either --command or --url"),
        (("a", "--url", "http://x", "--env", "A=b"), "are for a --command"),
        (("a", "--command", "x", "--header", "A=b"), "are for a --url"),
        (("a", "--command", "x", "--env", "A"), "write NAME=VALUE, not 'A'"),
    ],
)
def test_what_makes_no_server_is_refused(hermes: Hermes, arguments: tuple[str, ...], says: str) -> None:
    done = hermes("mcp", "add", *arguments)
    assert done.code == 2
    assert says in done.err


def test_a_server_is_tried_as_the_gateway_would(hermes: Hermes) -> None:
    hermes.environ["PATH"] = "/usr/bin:/bin"
    hermes("mcp", "add", "rough", "--command", sys.executable, "--", ROUGH)
    done = hermes("mcp", "test", "rough")
    assert done.code == 0, done.err
    assert "s: rough 0, MCP 2025-11-25." in done.out
    assert "mcp_rough_plain" in done.out
    assert done.out.endswith("9 tools.\n")
    hermes(
        *("mcp", "add", "dead", "--command", sys.executable, "--env", f"PYTHONPATH={ROOT}"),
        *("--", "-m", "tests.support.mcp_server", "--dead"),
    )
    done = hermes("mcp", "test", "dead")
    assert (done.code, done.out) == (1, "")
    assert done.err.endswith(
        "hermes: dead: it ended before it answered; it said last: this server cannot start: no licence\n"
    )
    hermes("mcp", "add", "unset", "--command", "x", "--env", "KEY=${NOT_THERE}")
    assert hermes("mcp", "test", "unset").err == (
        "hermes: unset: mcp_servers.unset.env.KEY asks for ${NOT_THERE}, which .env does not set\n"
    )
