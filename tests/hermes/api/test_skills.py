"""/v1/skills: the skills of the home, as they are now."""

from __future__ import annotations

from pathlib import Path

from hermes.home.skills import Skills
from tests.support.api import Server, make_services, serving


async def test_skills_are_listed_with_their_category(tmp_path: Path) -> None:
    folder = tmp_path / "web" / "scrape"
    async with serving(make_services(skills=Skills(tmp_path, builtin=None))) as server:
        assert (await server.client.get("/v1/skills")).json() == {"object": "list", "data": []}
        folder.mkdir(parents=True)
        (folder / "SKILL.md").write_text("---\nname: scrape\ndescription: Read pages\n---\nHow.\n")
        assert (await server.client.get("/v1/skills")).json() == {
            "object": "list",
            "data": [{"name": "scrape", "description": "Read pages", "category": "web"}],
        }


async def test_without_a_home_there_are_none(server: Server) -> None:
    assert (await server.client.get("/v1/skills")).json() == {"object": "list", "data": []}
