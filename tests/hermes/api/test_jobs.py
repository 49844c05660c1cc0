"""/api/jobs: what of the body becomes of the job, who sees it, and how errors look."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes.api.auth import OwnerKey, Principal
from hermes.api.jobs.documentation import JobAnswer, JobDeleted, JobList, JobRuns, JobStarted
from hermes.core.errors import NoModel
from hermes.core.model import Model
from tests.support.api import AUTH, KEY, make_services, serving
from tests.support.jobs import Bench, open_bench, talker
from tests.support.store import keep_session

OTHER = "o" * 20 + "fedcba9876543210"
OTHER_AUTH = {"Authorization": f"Bearer {OTHER}"}
BODY = {"schedule": "every 1h", "prompt": "Say it"}
NOON = "2026-11-24T12:00:00+00:00"
UNKNOWN = "/api/jobs/0123456789ab"


class TwoAdmins:
    def __init__(self) -> None:
        self._mine, self._other = OwnerKey(KEY), OwnerKey(OTHER)

    async def find(self, digest: bytes) -> Principal | None:
        if await self._other.find(digest):
            return Principal("key_other", "other")
        return await self._mine.find(digest)


@dataclass
class JobApi:
    client: httpx.AsyncClient
    bench: Bench

    async def make(self, **fields: Any) -> dict[str, Any]:
        response = await self.client.post("/api/jobs", json={**BODY, **fields})
        assert response.status_code == 200, response.text
        JobAnswer.model_validate_json(response.text)
        job: dict[str, Any] = response.json()["job"]
        return job

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        response = await self.client.request(method, path, json=body, **options)
        return response.status_code, response.json()


@pytest.fixture
async def api() -> AsyncIterator[JobApi]:
    async with open_bench(talker("It is done. " * 200)) as bench:
        services = make_services(
            runner=bench.runner,  # type: ignore[arg-type]
            keys=TwoAdmins(),
            database=bench.database,
            jobs=bench.jobs,
            clock=bench.clock,
        )
        async with serving(services) as server:
            yield JobApi(server.client, bench)


async def test_a_job_shows_everything_under_its_published_name(api: JobApi) -> None:
    job = await api.make(name="hourly")
    assert len(job["id"]) == 12
    assert job == {
        "id": job["id"],
        "name": "hourly",
        "prompt": "Say it",
        "skills": [],
        "skill": None,
        "model": None,
        "schedule": {
            "kind": "interval",
            "display": "every 1h",
            "text": "every 1h",
            "run_at": None,
            "minutes": 60.0,
            "expr": None,
        },
        "schedule_display": "every 1h",
        "timezone": "UTC",
        "repeat": {"times": None, "completed": 0},
        "catch_up": "one",
        "enabled": True,
        "state": "scheduled",
        "paused_at": None,
        "created_at": NOON,
        "updated_at": NOON,
        "next_run_at": "2026-11-24T13:00:00+00:00",
        "last_run_at": None,
        "last_run_id": None,
        "last_status": None,
        "last_error": None,
        "last_delivery_error": None,
        "deliver": "local",
        "enabled_toolsets": None,
        "workdir": None,
    }
    assert await api.call("GET", f"/api/jobs/{job['id']}") == (200, {"job": job})
    assert await api.call("GET", "/api/jobs") == (200, {"jobs": [job]})


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ({"schedule": "30m"}, {"schedule_display": "once in 30m", "repeat": {"times": 1, "completed": 0}}),
        ({"schedule": "daily at 9am", "timezone": "Asia/Tokyo"}, {"next_run_at": "2026-11-25T09:00:00+09:00"}),
        ({"schedule": {"kind": "cron", "expr": "0 9 * * *"}}, {"next_run_at": "2026-11-25T09:00:00+00:00"}),
        ({"schedule": {"display": "every 2h"}}, {"schedule_display": "every 2h"}),
        ({"repeat": 3}, {"repeat": {"times": 3, "completed": 0}}),
        ({"repeat": {"times": 3, "completed": 1}}, {"repeat": {"times": 3, "completed": 0}}),
        ({"skill": "news"}, {"skills": ["news"], "skill": "news"}),
        ({"skills": ["a", "b", "a"]}, {"skills": ["a", "b"], "skill": "a"}),
        ({"paused": True}, {"state": "paused", "enabled": False, "next_run_at": None, "paused_at": NOON}),
        ({"enabled": False}, {"state": "paused"}),
        ({"enabled": None, "paused": None, "model": None, "workdir": None}, {"state": "scheduled"}),
        ({"enabled_toolsets": ["file"]}, {"enabled_toolsets": ["file"]}),
        ({"workdir": "~/work", "catch_up": "all"}, {"workdir": "~/work", "catch_up": "all"}),
        ({"name": None}, {"name": "Say it"}),
    ],
)
async def test_what_is_sent_is_shown(api: JobApi, sent: dict[str, Any], shown: dict[str, Any]) -> None:
    job = await api.make(**sent)
    assert {name: job[name] for name in shown} == shown


@pytest.mark.parametrize(
    ("sent", "code", "param"),
    [
        ({"schedule": "whenever"}, "invalid_schedule", "schedule"),
        ({"schedule": None}, "invalid_request", "schedule"),
        ({"schedule": 5}, "invalid_request", None),
        ({"prompt": ""}, "invalid_request", "prompt"),
        ({"prompt": ["x"]}, "invalid_request", "prompt"),
        ({"timezone": "Mars/Olympus"}, "invalid_timezone", "timezone"),
        ({"deliver": "telegram"}, "invalid_delivery", "deliver"),
        ({"deliver": "webhook:https://localhost/x"}, "invalid_delivery", "deliver"),
        ({"deliver": "session:nobodys"}, "invalid_delivery", "deliver"),
        ({"enabled_toolsets": ["moon"]}, "unknown_toolset", "enabled_toolsets"),
        ({"repeat": "3"}, "invalid_request", None),
        ({"repeat": 0}, "invalid_request", "repeat"),
        ({"repeat": True}, "invalid_request", None),
        ({"catch_up": "some"}, "invalid_request", "catch_up"),
        ({"paused": True, "enabled": True}, "invalid_request", "paused"),
        ({"workdir": "here"}, "invalid_request", "workdir"),
        ({"skills": "news"}, "invalid_request", "skills"),
    ],
)
async def test_what_is_wrong_is_a_400_in_both_forms(
    api: JobApi, sent: dict[str, Any], code: str, param: str | None
) -> None:
    status, answer = await api.call("POST", "/api/jobs", {**BODY, **sent})
    assert (status, answer["error"]["code"]) == (400, code)
    assert param is None or answer["error"]["param"] == param
    assert answer["detail"] == answer["error"]["message"]
    assert await api.call("GET", "/api/jobs?include_disabled=true") == (200, {"jobs": []})


async def test_a_bad_schedule_is_told_with_an_example_that_works(api: JobApi) -> None:
    _, answer = await api.call("POST", "/api/jobs", {**BODY, "schedule": "whenever"})
    for example in answer["detail"].rpartition("Examples that work: ")[2].split(", "):
        await api.make(schedule=example)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", UNKNOWN, 404, "job_not_found"),
        ("GET", "/api/jobs/..%00etc", 404, "job_not_found"),
        ("PUT", "/api/jobs", 405, "method_not_allowed"),
        ("GET", f"{UNKNOWN}/nothing", 404, "not_found"),
        ("GET", "/api/jobs?include_disabled=maybe", 400, "invalid_request"),
    ],
)
async def test_every_error_of_these_routes_carries_detail(
    api: JobApi, method: str, path: str, status: int, code: str
) -> None:
    told, answer = await api.call(method, path)
    assert (told, answer["error"]["code"], answer["detail"]) == (status, code, answer["error"]["message"])


async def test_errors_before_and_outside_these_routes(api: JobApi) -> None:
    status, answer = await api.call("GET", "/api/jobs", headers={"Authorization": "Bearer wrong"})
    assert (status, answer["detail"]) == (401, "Invalid API key")
    response = await api.client.post("/api/jobs", content=b"[", headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")
    assert "detail" in response.json()
    assert "detail" not in (await api.call("GET", "/v1/runs/run_1"))[1]


async def test_somebody_elses_job_is_the_same_404_as_none(api: JobApi) -> None:
    job = await api.make()
    assert await api.call("GET", "/api/jobs", headers=OTHER_AUTH) == (200, {"jobs": []})
    for method, tail, body in (
        ("GET", "", None),
        ("PATCH", "", {"prompt": "x"}),
        ("DELETE", "", None),
        ("POST", "/pause", None),
        ("POST", "/resume", None),
        ("POST", "/run", None),
        ("GET", "/runs", None),
    ):
        theirs = await api.call(method, f"/api/jobs/{job['id']}{tail}", body, headers=OTHER_AUTH)
        none = await api.call(method, f"{UNKNOWN}{tail}", body, headers=OTHER_AUTH)
        assert theirs[0] == none[0] == 404, (method, tail)
        assert str(theirs[1]).replace(job["id"], "ID") == str(none[1]).replace("0123456789ab", "ID")
    assert await api.call("GET", f"/api/jobs/{job['id']}") == (200, {"job": job})


async def test_a_session_of_somebody_else_cannot_be_delivered_to(api: JobApi) -> None:
    await api.bench.database.write(lambda conn: keep_session(conn, "theirs", owner="key_other"))
    body = {**BODY, "deliver": "session:theirs"}
    assert (await api.call("POST", "/api/jobs", body))[0] == 400
    assert (await api.call("POST", "/api/jobs", body, headers=OTHER_AUTH))[0] == 200


async def test_a_change_holds_for_what_was_sent_alone(api: JobApi) -> None:
    job = await api.make(repeat=3, workdir="/srv")
    status, answer = await api.call("PATCH", f"/api/jobs/{job['id']}", {"repeat": None, "prompt": "Other", "x": 1})
    assert status == 200
    after = answer["job"]
    changed = {name for name in job if job[name] != after[name]}
    assert changed <= {"repeat", "prompt", "updated_at"}
    assert (after["repeat"]["times"], after["prompt"], after["workdir"]) == (None, "Other", "/srv")
    assert (await api.call("PATCH", f"/api/jobs/{job['id']}", {"x": 1}))[0] == 400


async def test_what_a_job_shows_may_be_sent_back(api: JobApi) -> None:
    job = await api.make(schedule="daily at 9am", timezone="Asia/Tokyo", repeat=2, skills=["a"])
    status, answer = await api.call("PATCH", f"/api/jobs/{job['id']}", job)
    assert status == 200
    assert {**answer["job"], "updated_at": job["updated_at"]} == job


async def test_pause_resume_and_what_a_list_shows(api: JobApi) -> None:
    job = await api.make()
    path = f"/api/jobs/{job['id']}"
    _, paused = await api.call("POST", f"{path}/pause")
    assert (paused["job"]["state"], paused["job"]["next_run_at"]) == ("paused", None)
    assert await api.call("GET", "/api/jobs") == (200, {"jobs": []})
    assert await api.call("GET", "/api/jobs?include_disabled=true") == (200, {"jobs": [paused["job"]]})
    _, resumed = await api.call("POST", f"{path}/resume")
    assert (resumed["job"]["state"], resumed["job"]["next_run_at"]) == ("scheduled", job["next_run_at"])


async def test_a_completed_job_is_a_409_to_pause_and_resume(api: JobApi) -> None:
    job = await api.make(schedule="30m")
    await api.bench.at(1800)
    path = f"/api/jobs/{job['id']}"
    _, answer = await api.call("GET", path)
    assert (answer["job"]["state"], answer["job"]["repeat"]) == ("completed", {"times": 1, "completed": 1})
    for verb in ("pause", "resume"):
        status, refused = await api.call("POST", f"{path}/{verb}")
        assert (status, refused["error"]["code"]) == (409, "job_completed")


async def test_delete_takes_the_job_away_once(api: JobApi) -> None:
    job = await api.make()
    status, answer = await api.call("DELETE", f"/api/jobs/{job['id']}")
    assert (status, answer) == (200, {"ok": True, "id": job["id"]})
    JobDeleted.model_validate(answer)
    assert (await api.call("DELETE", f"/api/jobs/{job['id']}"))[0] == 404


async def test_a_call_by_hand_runs_now_and_changes_no_schedule(api: JobApi) -> None:
    job = await api.make()
    path = f"/api/jobs/{job['id']}"
    status, answer = await api.call("POST", f"{path}/run")
    assert status == 200
    JobStarted.model_validate(answer)
    await api.bench.runs_end()
    _, run = await api.call("GET", f"/v1/runs/{answer['run_id']}")
    assert (run["status"], run["session_id"]) == ("completed", answer["session_id"])
    _, after = await api.call("GET", path)
    assert after["job"] == {**job, "last_run_at": NOON, "last_run_id": answer["run_id"], "last_status": "ok"}
    _, history = await api.call("GET", f"{path}/runs")
    assert [(entry["reason"], entry["manual"]) for entry in history["runs"]] == [("ran", True)]


async def test_a_paused_job_can_be_run_by_hand(api: JobApi) -> None:
    job = await api.make(paused=True)
    assert (await api.call("POST", f"/api/jobs/{job['id']}/run"))[0] == 200
    await api.bench.runs_end()
    assert (await api.call("GET", f"/api/jobs/{job['id']}"))[1]["job"]["state"] == "paused"


async def test_a_call_by_hand_with_an_idempotency_key_runs_once(api: JobApi) -> None:
    path = f"/api/jobs/{(await api.make())['id']}/run"
    first = await api.client.post(path, headers={"Idempotency-Key": "k"})
    again = await api.client.post(path, headers={"Idempotency-Key": "k"})
    assert first.json()["run_id"] == again.json()["run_id"]
    assert ("idempotency-replayed" in first.headers, again.headers["idempotency-replayed"]) == (False, "true")
    other = f"/api/jobs/{(await api.make())['id']}/run"
    conflict = await api.client.post(other, headers={"Idempotency-Key": "k"})
    assert (conflict.status_code, conflict.json()["error"]["code"]) == (409, "idempotency_key_conflict")
    await api.bench.runs_end()


async def test_a_call_by_hand_that_cannot_start_is_told_and_kept(api: JobApi) -> None:
    async def none(name: str | None) -> Model:
        raise NoModel("no language model is connected: hermes model")

    job = await api.make()
    api.bench.runner._models = none
    status, answer = await api.call("POST", f"/api/jobs/{job['id']}/run")
    assert (status, answer["error"]["code"]) == (503, "no_model")
    _, history = await api.call("GET", f"/api/jobs/{job['id']}/runs")
    [entry] = history["runs"]
    assert (entry["reason"], entry["manual"], entry["run_id"]) == ("failed", True, None)
    assert entry["error"] == entry["detail"] == "no language model is connected: hermes model"
    _, shown = await api.call("GET", f"/api/jobs/{job['id']}")
    assert (shown["job"]["last_status"], shown["job"]["last_error"]) == ("error", entry["error"])


async def test_the_history_is_paged_and_outputs_are_cut_only_when_it_says_so(api: JobApi) -> None:
    job = await api.make()
    for hours in range(1, 4):
        await api.bench.at(hours * 3600)
    path = f"/api/jobs/{job['id']}/runs"
    _, page = await api.call("GET", f"{path}?limit=2")
    JobRuns.model_validate(page)
    assert ([entry["due_at"][11:13] for entry in page["runs"]], page["has_more"]) == (["15", "14"], True)
    _, rest = await api.call("GET", f"{path}?cursor={page['next_cursor']}")
    assert ([entry["due_at"][11:13] for entry in rest["runs"]], rest["has_more"]) == (["13"], False)
    whole = "It is done. " * 200
    [entry] = rest["runs"]
    assert (entry["output"], entry["output_truncated"]) == (whole[:1000], True)
    assert entry["delivery"] == {
        "to": "local",
        "state": "local",
        "attempts": 0,
        "delivered_at": None,
        "next_attempt_at": None,
        "error": None,
    }
    _, full = await api.call("GET", f"{path}?full_output=true&limit=1")
    assert (full["runs"][0]["output"], full["runs"][0]["output_truncated"]) == (whole, False)
    for wrong in ("limit=0", "limit=201", "limit=x", "cursor=0", "cursor=x", "full_output=maybe"):
        assert (await api.call("GET", f"{path}?{wrong}"))[0] == 400
    _, listed = await api.call("GET", "/api/jobs")
    JobList.model_validate(listed)
    assert listed["jobs"][0]["last_status"] == "ok"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = ("name", "deliver", "skills", "skill", "repeat", "model", "enabled_toolsets", "workdir",
         "timezone", "catch_up", "paused", "enabled")  # fmt: skip
SCHEDULES = st.sampled_from(["30m", "every 1h", "@daily", "2027-01-31", "1s", "* * * * *", "every 9999999999m"])
TEXTS = st.sampled_from(["webhook:https://[::1", "session:x", "webhook:http://\x00", "~nobody/x", "/\ud7ff", "UTC"])
LIKELY = st.fixed_dictionaries(
    {"schedule": SCHEDULES | JSON, "prompt": st.just("p") | JSON},
    optional={name: JSON | TEXTS | st.lists(st.text(max_size=5), max_size=3) for name in NAMES},
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(LIKELY | JSON)
async def test_no_body_gives_a_500(api: JobApi, body: Any) -> None:
    job = await api.make()
    content = json.dumps(body).encode()
    for method, path in (("POST", "/api/jobs"), ("PATCH", f"/api/jobs/{job['id']}")):
        response = await api.client.request(method, path, content=content, headers={"Content-Type": "application/json"})
        assert response.status_code in (200, 400, 409), (response.status_code, response.text)
        if response.status_code == 200:
            JobAnswer.model_validate_json(response.text)
        else:
            assert response.json()["detail"]


async def test_the_routes_want_the_scope_admin(api: JobApi) -> None:
    assert (await api.client.get("/api/jobs", headers={"Authorization": ""})).status_code == 401
    capabilities = (await api.client.get("/v1/capabilities", headers=AUTH)).json()
    assert capabilities["features"]["jobs_admin"] is True
    assert capabilities["endpoints"]["jobs"] == {"method": "GET", "path": "/api/jobs"}
