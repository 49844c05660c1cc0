"""Skills of a profile through Link's socket."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.link import LinkServer

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

SKILLS = "/api/v1/profiles/default/skills"


@pytest.fixture(autouse=True)
def _tea(tmp_path: Path) -> None:
    folder = tmp_path / "skills" / "kitchen" / "tea"
    folder.mkdir(parents=True)
    (folder / "SKILL.md").write_text("---\nname: tea\ndescription: Making tea\n---\nBoil water.\n")


async def test_skills_are_listed_with_where_they_come_from(server: LinkServer) -> None:
    found = (await server.chat.get(SKILLS)).json()
    tea = next(skill for skill in found["skills"] if skill["name"] == "tea")
    assert tea == {
        "name": "tea",
        "category": "kitchen",
        "description": "Making tea",
        "enabled": True,
        "source": "local",
        "trust": "local",
        "relativePath": "kitchen/tea",
    }
    assert {skill["source"] for skill in found["skills"] if skill["name"] != "tea"} == {"builtin"}
    assert "kitchen" in found["categories"]


async def test_a_skill_is_switched_off_and_on_and_the_config_keeps_its_comments(
    server: LinkServer, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text("# mine\nskills:\n  disabled: [coffee]  # too strong\n")
    off = await server.admin.patch(f"{SKILLS}/tea", json={"enabled": False})
    assert off.json()["skill"]["enabled"] is False
    for name in ("include_disabled", "includeDisabled"):
        shown = (await server.chat.get(SKILLS, params={name: "false"})).json()
        assert "tea" not in [skill["name"] for skill in shown["skills"]]
    assert "tea" in [skill["name"] for skill in (await server.chat.get(SKILLS)).json()["skills"]]
    assert (await server.admin.patch(f"{SKILLS}/tea", json={"enabled": True})).json()["skill"]["enabled"] is True
    text = (tmp_path / "config.yaml").read_text()
    assert "# mine" in text and "# too strong" in text and "coffee" in text and "tea" not in text


async def test_two_of_one_name_are_switched_together(server: LinkServer, tmp_path: Path) -> None:
    """The agent is told by name."""
    folder = tmp_path / "skills" / "garden" / "tea"
    folder.mkdir(parents=True)
    (folder / "SKILL.md").write_text("---\nname: tea\ndescription: Growing tea\n---\nDig.\n")
    assert (await server.admin.patch(f"{SKILLS}/tea", json={"enabled": False})).status_code == 200
    found = (await server.chat.get(SKILLS)).json()["skills"]
    assert [skill["enabled"] for skill in found if skill["name"] == "tea"] == [False, False]


@pytest.mark.parametrize(
    ("name", "body", "status", "code"),
    [
        ("tea", {}, 400, "skill_enabled_required"),
        ("tea", {"enabled": "yes"}, 400, "skill_enabled_required"),
        ("tea", {"enabled": 0}, 400, "skill_enabled_required"),
        ("wine", {"enabled": True}, 404, "skill_not_found"),
    ],
)
async def test_a_wrong_switch_is_refused(
    server: LinkServer, tmp_path: Path, name: str, body: dict[str, object], status: int, code: str
) -> None:
    answer = await server.admin.patch(f"{SKILLS}/{name}", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert not (tmp_path / "config.yaml").exists()


async def test_a_config_that_cannot_be_changed_is_named_with_its_line_and_left_alone(
    server: LinkServer, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text("memory: {}\nskills: [\n")
    answer = await server.admin.patch(f"{SKILLS}/tea", json={"enabled": False})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (409, "profile_config_invalid")
    assert error["message"].startswith("config.yaml, line ") and str(tmp_path) not in answer.text
    assert (tmp_path / "config.yaml").read_text() == "memory: {}\nskills: [\n"


async def test_the_audit_says_who_switched(server: LinkServer) -> None:
    await server.admin.patch(f"{SKILLS}/tea", json={"enabled": False})
    entry = (await server.admin.get("/api/v1/audit")).json()["entries"][0]
    assert (entry["action"], entry["subject"], entry["details"]) == ("skill.disabled", "default", {"skill": "tea"})
