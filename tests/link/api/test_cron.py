"""Jobs of the profiles through Link."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.link import LinkServer, serving_link
from tests.support.link_stand_in import LinkStandIn

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

JOBS = "/api/v1/profiles/default/cron-jobs"


@pytest.fixture
async def stand_in(tmp_path: Path) -> AsyncIterator[LinkStandIn]:
    async with LinkStandIn() as server:
        server.write_env(tmp_path)
        yield server


@pytest.fixture
async def server(tmp_path: Path, stand_in: LinkStandIn) -> AsyncIterator[LinkServer]:
    async with serving_link(tmp_path) as serving:
        yield serving


async def test_a_job_is_made_changed_paused_resumed_and_deleted(server: LinkServer, stand_in: LinkStandIn) -> None:
    made = await server.admin.post(JOBS, json={"schedule": "@daily", "input": "look", "enabledToolsets": ["file"]})
    assert made.status_code == 201
    job = made.json()["job"]
    path = f"{JOBS}/{job['id']}"
    assert stand_in.jobs[job["id"]]["prompt"] == "look"
    assert (job["profile"], job["enabled_toolsets"]) == ("default", ["file"])

    changed = await server.admin.patch(path, json={"name": "inbox", "model": None})
    assert (changed.json()["job"]["name"], changed.json()["job"]["model"]) == ("inbox", None)
    assert not (await server.admin.post(f"{path}/pause")).json()["job"]["enabled"]
    assert (await server.admin.post(f"{path}/resume")).json()["job"]["enabled"]
    assert (await server.chat.get(path)).json()["job"]["id"] == job["id"]
    assert (await server.admin.delete(path)).json() == {"ok": True, "job_id": job["id"], "profile": "default"}
    gone = await server.admin.get(path)
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "job_not_found")


async def test_a_run_of_a_job_by_hand_is_followed_as_a_direct_run(server: LinkServer, stand_in: LinkStandIn) -> None:
    run_id = await server.link.servers.of().start_run({"input": "by the job"})
    stand_in.jobs["job_1"] = {"id": "job_1"}
    stand_in.answers["POST", "/api/jobs/job_1/run"] = (200, {"job": {"id": "job_1"}, "run_id": run_id})

    started = await server.admin.post(f"{JOBS}/job_1/run")
    assert started.json()["run_id"] == run_id
    assert "run.completed" in (await server.chat.get(f"/api/v1/runs/{run_id}/events")).text


async def test_all_jobs_are_listed_with_the_profiles_that_could_not_be_asked(
    server: LinkServer, stand_in: LinkStandIn, tmp_path: Path
) -> None:
    stand_in.jobs["job_1"] = {"id": "job_1", "name": "inbox"}
    (tmp_path / "profiles" / "alice").mkdir(parents=True)
    (tmp_path / "profiles" / "alice" / ".env").write_text("API_SERVER_KEY=hers\nAPI_SERVER_PORT=1\n")

    listed = (await server.chat.get("/api/v1/cron-jobs")).json()
    assert listed["jobs"] == [{"id": "job_1", "name": "inbox", "prompt": None, "profile": "default"}]
    assert [(one["profile"], one["code"]) for one in listed["failures"]] == [("alice", "hermes_api_server_unavailable")]


async def test_a_job_that_is_none_is_502(server: LinkServer, stand_in: LinkStandIn) -> None:
    stand_in.answers["GET", "/api/jobs/job_1"] = (200, {"job": {"name": "without an id"}})
    stand_in.answers["GET", "/api/jobs"] = (200, {"jobs": [1]})
    stand_in.answers["POST", "/api/jobs"] = (200, {})
    for answer in (
        await server.admin.get(f"{JOBS}/job_1"),
        await server.admin.get(JOBS),
        await server.admin.get("/api/v1/cron-jobs"),
        await server.admin.post(JOBS, json={"schedule": "@daily", "prompt": "look"}),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "hermes_cron_job_invalid")


async def test_a_wrong_schedule_is_the_api_servers_word(server: LinkServer, stand_in: LinkStandIn) -> None:
    error = {"message": "a schedule is like @daily", "code": "invalid_schedule", "param": "schedule"}
    stand_in.answers["POST", "/api/jobs"] = (400, {"error": error})
    answer = await server.admin.post(JOBS, json={"schedule": "now and then", "prompt": "look"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_schedule")


@pytest.mark.parametrize("job_id", ["%2e%2e", "a%2Fb", "x" * 300])
async def test_a_job_id_is_no_path(server: LinkServer, stand_in: LinkStandIn, job_id: str) -> None:
    answer = await server.admin.get(f"{JOBS}/{job_id}")
    assert answer.status_code == 404
    assert not [path for _, path, _ in stand_in.asked if path.startswith("/api/jobs/")]


async def test_a_profile_that_is_none_has_no_jobs(server: LinkServer) -> None:
    answer = await server.chat.get("/api/v1/profiles/nobody/cron-jobs")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "profile_not_found")
