"""New profiles through Link: one at a time, whole or not at all, told of line by line."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from hermes.home.about import About, read_about
from hermes.home.config_file import read_config, set_config
from hermes.home.env import read_env, set_env
from hermes.home.locks import bounded_lock
from hermes.home.paths import Home, create_home
from hermes.home.profiles import create_profile, get_profile, rename_profile
from hermes.store.database import Connection
from hermeslink.api.sse import frame
from hermeslink.home import LinkHome
from tests.support.link import LinkServer, serving_link

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

STATUS = "/api/v1/profile-creation/status"


async def create(server: LinkServer, **body: Any) -> httpx.Response:
    return await server.admin.post("/api/v1/profiles", json=body)


async def until(server: LinkServer, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    async with asyncio.timeout(20):
        async for creation in server.link.creations.follow(0):
            found: dict[str, Any] = (await server.admin.get(STATUS)).json()
            if is_it(found):
                return found
            assert creation.version
    raise AssertionError("it ended")


async def ended(server: LinkServer) -> dict[str, Any]:
    return await until(server, lambda found: found["state"] != "running")


async def noted(server: LinkServer) -> list[dict[str, Any]]:
    """Newest first."""
    entries = (await server.admin.get("/api/v1/audit")).json()["entries"]
    return [entry for entry in entries if entry["action"] == "profile.created"]


async def test_nothing_was_made_yet(server: LinkServer) -> None:
    found = (await server.admin.get(STATUS)).json()
    assert found == {
        "ok": True,
        "state": "idle",
        "profile_name": None,
        "job_id": None,
        "started_at": None,
        "finished_at": None,
        "lines": [],
        "error": None,
    }


async def test_a_new_profile_is_whole_and_has_a_key_of_its_own(server: LinkServer, tmp_path: Path) -> None:
    answer = await create(server, name="alice", displayName="Alice")
    assert answer.status_code == 202
    started = answer.json()
    assert (started["state"], started["profile_name"]) == ("running", "alice")
    done = await ended(server)
    assert (done["state"], done["error"], done["job_id"]) == ("succeeded", None, started["job_id"])
    assert done["finished_at"] >= done["started_at"]
    assert done["lines"][0] == "Making the profile alice."
    assert done["lines"][-1] == "Made the profile alice."
    alice = Home(tmp_path / "profiles" / "alice", "alice")
    assert len(read_env(alice.env_file)["API_SERVER_KEY"]) >= 32
    assert "API_SERVER_ENABLED" not in read_env(alice.env_file), "the default's gateway answers for it"
    assert read_about(alice).display_name == "Alice"
    assert (await server.admin.get("/api/v1/profiles")).json()["profiles"] == ["default", "alice"]
    entries = (await server.admin.get("/api/v1/audit")).json()["entries"]
    assert ("profile.created", "alice") in [(entry["action"], entry["subject"]) for entry in entries]
    assert read_env(alice.env_file)["API_SERVER_KEY"] not in json.dumps([done, entries])


async def test_a_copy_has_the_model_and_its_key_and_not_the_key_of_the_door(server: LinkServer, tmp_path: Path) -> None:
    root = Home(tmp_path)
    create_home(root)
    set_config(root.config_file, ["model", "default"], "gpt-5")
    set_env(root.env_file, "OPENAI_API_KEY", "sk-of-the-provider")
    assert (await create(server, name="copy", clone_from="default")).status_code == 202
    assert (await ended(server))["state"] == "succeeded"
    copy = Home(tmp_path / "profiles" / "copy", "copy")
    assert read_config(copy.config_file)["model"] == {"default": "gpt-5"}
    values = read_env(copy.env_file)
    assert values["OPENAI_API_KEY"] == "sk-of-the-provider"
    assert values["API_SERVER_KEY"] != read_env(root.env_file)["API_SERVER_KEY"]


async def test_of_two_at_once_one_is_made_and_the_other_is_told(server: LinkServer) -> None:
    answers = await asyncio.gather(*(create(server, name=f"profile{number}") for number in range(4)))
    codes = sorted((answer.status_code, (answer.json()["error"] or {}).get("code", "")) for answer in answers)
    assert codes[0] == (202, "")
    assert codes[1:] == [(409, "profile_creation_running")] * 3
    await ended(server)
    assert len((await server.admin.get("/api/v1/profiles")).json()["profiles"]) == 2


@pytest.mark.parametrize("name", ["..", "a/b", "Alice", "", "a" * 65, None, 5, ["a"], "alice\n", ".hidden"])
async def test_a_bad_name_makes_nothing(server: LinkServer, tmp_path: Path, name: Any) -> None:
    answer = await create(server, name=name)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_profile_name")
    assert not (tmp_path / "profiles").exists()


async def test_a_file_that_cannot_be_copied_is_told_by_its_line_and_nothing_is_made(
    server: LinkServer, tmp_path: Path
) -> None:
    root = Home(tmp_path)
    create_home(root)
    root.config_file.write_text("model:\n  default: [\n")
    assert (await create(server, name="copy", clone_from="default")).status_code == 202
    failed = await ended(server)
    assert failed["state"] == "failed"
    assert "config.yaml" in failed["error"]
    assert "line" in failed["error"]
    assert str(tmp_path) not in json.dumps(failed)
    assert [path.name for path in (tmp_path / "profiles").iterdir()] == []
    assert (await create(server, name="copy")).status_code == 202, "the next one may begin"


async def test_the_events_begin_with_how_it_is_and_tell_each_change_once(server: LinkServer) -> None:
    await create(server, name="alice")
    done = await ended(server)
    token = server.admin_device.access.token
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=20) as client:
        headers = {"Authorization": f"Bearer {token}"}
        async with client.stream("GET", "/api/v1/profile-creation/events", headers=headers) as stream:
            lines = stream.aiter_lines()
            first = [await anext(lines) for _ in range(3)]
            assert first[1] == "event: profile.creation.status"
            assert json.loads(first[2].removeprefix("data: ")) == done
            seen = int(first[0].removeprefix("id: "))
            await anext(lines)
            await create(server, name="bob")
            told: list[dict[str, Any]] = []
            ids: list[int] = []
            while not told or told[-1]["state"] == "running":
                line = await anext(lines)
                if line.startswith("id: "):
                    ids.append(int(line.removeprefix("id: ")))
                if line.startswith("data: "):
                    told.append(json.loads(line.removeprefix("data: ")))
    assert told[-1]["state"] == "succeeded"
    assert all(one["profile_name"] == "bob" for one in told)
    assert ids == sorted(set(ids))
    assert ids[0] > seen
    assert frame((1, "profile.creation.status", {})).startswith(b"id: 1\n")


async def test_what_a_kill_broke_off_is_failed_after_it_and_nothing_is_half_made(tmp_path: Path) -> None:
    left = {"state": "running", "profile_name": "alice", "job_id": "job_1", "started_at": 1.0, "finished_at": None}
    left |= {"lines": ["Making the profile alice."], "error": None, "version": 7, "uid": "prof_" + "0" * 32}
    (tmp_path / "profiles" / ".create-x").mkdir(parents=True)
    (tmp_path / "profiles" / ".create-x" / ".env").write_text("API_SERVER_KEY=x\n")
    LinkHome(tmp_path / "link").make()
    LinkHome(tmp_path / "link").creation_file.write_text(json.dumps(left))
    async with serving_link(tmp_path) as server:
        found = (await server.admin.get(STATUS)).json()
        assert (found["state"], found["profile_name"]) == ("failed", "alice")
        assert "nothing of it is left" in found["error"]
        assert list((tmp_path / "profiles").iterdir()) == []
        assert (await create(server, name="alice")).status_code == 202
        made = (await ended(server))["job_id"]
    async with serving_link(tmp_path) as server:
        found = (await server.admin.get(STATUS)).json()
        assert (found["state"], found["job_id"]) == ("succeeded", made)


async def test_one_that_was_whole_when_the_kill_came_is_there(tmp_path: Path) -> None:
    async with serving_link(tmp_path) as server:
        await create(server, name="alice")
        await ended(server)
        file = server.link.home.creation_file
    file.write_text(json.dumps({**json.loads(file.read_text()), "state": "running"}))
    async with serving_link(tmp_path) as server:
        assert (await server.admin.get(STATUS)).json()["state"] == "succeeded"
        assert len(await noted(server)) == 1


async def test_whose_doing_it_was_is_in_the_audit_also_where_a_kill_came_before_it(tmp_path: Path) -> None:
    async with serving_link(tmp_path) as server:
        file = server.link.home.creation_file
        await create(server, name="bob")
        await ended(server)
        [bob] = await noted(server)
    create_profile(tmp_path, "alice", about=About("prof_" + "a" * 32))
    left = {**json.loads(file.read_text()), "state": "running", "profile_name": "alice", "uid": "prof_" + "a" * 32}
    file.write_text(json.dumps({**left, "clone_of": "bob", "is_noted": False}))
    async with serving_link(tmp_path) as server:
        [alice, earlier] = await noted(server)
        assert earlier == bob
        assert (alice["subject"], alice["details"]) == ("alice", {"clone_of": "bob"})
        assert (alice["device_id"], alice["address"]) == (bob["device_id"], bob["address"])
    async with serving_link(tmp_path) as server:
        assert len(await noted(server)) == 2


async def test_one_that_is_renamed_as_soon_as_it_is_there_was_made(tmp_path: Path) -> None:
    def rename(conn: Connection) -> None:
        """Whoever made it waits meanwhile to write it into the audit."""
        del conn
        ends_at = time.monotonic() + 20
        while not (tmp_path / "profiles" / "alice").exists() and time.monotonic() < ends_at:
            time.sleep(0.005)
        rename_profile(get_profile(tmp_path, "alice"), "bella", now=1.0)

    async with serving_link(tmp_path) as server:
        with bounded_lock(tmp_path / "run" / "profiles.lock", 1.0):
            await create(server, name="alice")
            await until(server, lambda found: any("Waiting" in line for line in found["lines"]))
            renaming = asyncio.create_task(server.link.database.write(rename))
            await asyncio.sleep(0)
        await renaming
        done = await ended(server)
        assert (done["state"], done["error"]) == ("succeeded", None)
        assert (await server.admin.get("/api/v1/profiles")).json()["profiles"] == ["default", "bella"]


async def test_a_profile_that_another_made_meanwhile_is_not_taken_for_it(tmp_path: Path) -> None:
    async with serving_link(tmp_path) as server:
        await create(server, name="alice")
        await ended(server)
        file = server.link.home.creation_file
    left = {**json.loads(file.read_text()), "state": "running", "uid": "prof_" + "0" * 32}
    file.write_text(json.dumps(left))
    async with serving_link(tmp_path) as server:
        assert (await server.admin.get(STATUS)).json()["state"] == "failed"
    assert (tmp_path / "profiles" / "alice").is_dir()


async def test_it_waits_for_another_command_and_ends_with_link(tmp_path: Path) -> None:
    async with serving_link(tmp_path) as server:
        with bounded_lock(tmp_path / "run" / "profiles.lock", 1.0):
            await create(server, name="alice")
            await until(server, lambda found: any("Waiting" in line for line in found["lines"]))
        assert (await ended(server))["state"] == "succeeded"
        with bounded_lock(tmp_path / "run" / "profiles.lock", 1.0):
            await create(server, name="bob")
            await until(server, lambda found: any("Waiting" in line for line in found["lines"]))
            server.link.stopping.set()
    assert not (tmp_path / "profiles" / "bob").exists()
