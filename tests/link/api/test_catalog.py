"""All profiles at once, from their files: no gateway runs here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hermes.core.toolset import TOOLSETS
from hermes.home.config_file import set_config
from hermes.home.env import set_env
from hermes.home.paths import Home, create_home
from hermes.home.profiles import create_profile
from tests.support.link import LinkServer

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

CANARY = "sk-canary-1234567890abcdef"


@pytest.fixture
def alice(server: LinkServer, tmp_path: Path) -> Home:
    create_home(Home(tmp_path))
    alice = create_profile(tmp_path, "alice")
    set_config(alice.config_file, ["model", "default"], "gpt-5")
    set_config(alice.config_file, ["toolsets"], ["file", "todo"])
    set_env(alice.env_file, "OPENAI_API_KEY", CANARY)
    return alice


async def catalog(server: LinkServer) -> dict[str, Any]:
    answer = await server.chat.get("/api/v1/profiles/catalog")
    assert answer.status_code == 200, answer.text
    assert CANARY not in answer.text
    return {entry["profile"]["name"]: entry for entry in answer.json()["profiles"]}


async def test_it_has_what_the_rows_of_each_profile_say(server: LinkServer, alice: Home) -> None:
    found = await catalog(server)
    assert list(found) == ["default", "alice"]
    entry = found["alice"]
    assert entry["errors"] == []
    own = [(await server.chat.get(f"/api/v1/profiles/alice/{part}")).json() for part in ("status", "permissions")]
    assert entry["profile"] == own[0]["profile"]
    assert entry["permissions"] == own[1]["permissions"]
    models = (await server.chat.get("/api/v1/profiles/alice/model-configs")).json()
    assert entry["modelConfigs"] == {name: value for name, value in models.items() if name != "ok"}
    skills = (await server.chat.get("/api/v1/profiles/alice/skills")).json()["skills"]
    assert entry["capabilities"] == {
        "defaultModel": models["defaultModel"],
        "modelCount": len(models["models"]),
        "skillCount": len([skill for skill in skills if skill["enabled"]]),
        "toolCount": len(TOOLSETS["file"].tools) + len(TOOLSETS["todo"].tools),
    }


async def test_what_cannot_be_read_of_one_is_told_beside_it_and_hides_no_other(
    server: LinkServer, alice: Home, tmp_path: Path
) -> None:
    alice.config_file.write_text("model:\n  default: [\n")
    found = await catalog(server)
    assert found["default"]["errors"] == []
    entry = found["alice"]
    assert entry["profile"]["name"] == "alice"
    assert (entry["permissions"], entry["modelConfigs"], entry["capabilities"]["modelCount"]) == (None, None, None)
    assert {error["part"] for error in entry["errors"]} >= {"permissions", "modelConfigs"}
    assert {error["code"] for error in entry["errors"]} == {"profile_config_invalid"}
    assert "config.yaml, line" in entry["errors"][0]["message"]
    assert str(tmp_path) not in str(entry["errors"])


async def test_the_statistics_of_a_profile_are_its_own(server: LinkServer, alice: Home) -> None:
    for profile in ("alice", "alice", "default"):
        made = await server.admin.post("/api/v1/conversations", json={"profile": profile})
        assert made.status_code == 201
    found = (await server.chat.get("/api/v1/profiles/alice/statistics")).json()
    assert found["profile"]["name"] == "alice"
    assert found["capabilities"]["defaultModel"] == "gpt-5"
    assert found["statistics"]["conversations"] == {"total": 2, "active": 2}
    assert found["statistics"]["profiles"] == {"total": 1}
    alice.config_file.write_text("a: [\n")
    found = (await server.chat.get("/api/v1/profiles/alice/statistics")).json()
    assert found["capabilities"]["modelCount"] is None
