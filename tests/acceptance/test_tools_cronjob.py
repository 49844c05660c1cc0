"""Jobs by the model's hand, through the real gateway: under the rules of /api/jobs, and for nobody else."""

from __future__ import annotations

from functools import partial
from typing import Any

import httpx
import pytest

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway
from tests.support import waiting
from tests.support.nodes import ended, events_of, hermes, run_of, start, with_key

eventually = partial(waiting.eventually, seconds=20.0)

CREATE = {"action": "create", "schedule": "every 2h", "prompt": "water the plants", "name": "plants"}


def script(model: ScriptedModelServer, *calls: dict[str, Any]) -> None:
    for arguments in calls:
        model.add(
            Step(after_tool=False, tool_calls=(Call("cronjob", arguments),), times=1),
            Step(after_tool=True, text="{{tool}}", times=1),
        )


def says(gateway: Gateway, *, choice: str | None = None, **fields: Any) -> str:
    """What the tool said. `choice` answers the question, without which there must be none."""
    run_id = start(gateway, **fields)
    if choice is not None:
        run = eventually(lambda: (one := run_of(gateway, run_id))["approvals"] and one)
        assert run["approvals"][0]["tool"] == "cronjob"
        gateway.client.post(f"/v1/runs/{run_id}/approval", json={"choice": choice}).raise_for_status()
    return str(ended(gateway, run_id)["output"])


def has_ended(client: httpx.Client, run_id: str) -> dict[str, Any] | None:
    run: dict[str, Any] = client.get(f"/v1/runs/{run_id}").json()
    return run if run["finished_at"] else None


def jobs_of(gateway: Gateway) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = gateway.client.get("/api/jobs", params={"include_disabled": True}).json()["jobs"]
    return found


def test_a_job_is_made_listed_changed_run_and_removed(gateway: Gateway, model: ScriptedModelServer):
    script(model, CREATE)
    made = says(gateway, choice="once")
    [job] = jobs_of(gateway)
    assert (job["name"], job["prompt"], job["schedule_display"]) == ("plants", "water the plants", "every 2h")
    assert f"{job['id']} “plants” every 2h" in made and made.endswith("Created.")
    script(model, {"action": "list"}, {"action": "pause", "job_id": job["id"]}, {"action": "list"})
    assert says(gateway).startswith(job["id"])
    assert "paused" in says(gateway)
    assert "paused" in says(gateway) and jobs_of(gateway)[0]["state"] == "paused"
    script(model, {"action": "resume", "job_id": job["id"]})
    assert "next " in says(gateway)
    script(model, {"action": "update", "job_id": job["id"], "prompt": "water them well", "repeat": 3})
    assert "water them well" in says(gateway, choice="once")
    assert jobs_of(gateway)[0]["repeat"]["times"] == 3
    script(model, {"action": "run", "job_id": job["id"]})
    model.add(Step(when="water them well", text="Done."))
    assert says(gateway).startswith("Started: run run_")
    eventually(lambda: jobs_of(gateway)[0]["last_status"] == "ok")
    script(model, {"action": "remove", "job_id": job["id"]})
    assert says(gateway, choice="once") == "Removed."
    assert jobs_of(gateway) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"schedule": "sometimes", "prompt": "x"},
        {"schedule": "every 2h"},
        {"schedule": "every 2h", "prompt": "x", "deliver": "mail:me"},
        {"schedule": "every 2h", "prompt": "x", "enabled_toolsets": ["nothing"]},
    ],
)
def test_what_the_api_refuses_the_tool_refuses_in_the_same_words(
    gateway: Gateway, model: ScriptedModelServer, fields: dict[str, Any]
):
    refused = gateway.client.post("/api/jobs", json=fields).json()["detail"]
    script(model, {"action": "create", **fields})
    run_id = start(gateway)
    eventually(lambda: run_of(gateway, run_id)["approvals"])
    gateway.client.post(f"/v1/runs/{run_id}/approval", json={"choice": "once"}).raise_for_status()
    happened = events_of(gateway, run_id)
    [completed] = [one for one in happened if one["event"] == "tool.completed"]
    assert completed["error"] and happened[-1]["output"].endswith(refused)
    assert jobs_of(gateway) == []


def test_a_no_makes_no_job_and_where_nobody_is_asked_none_is_made(gateway: Gateway, model: ScriptedModelServer):
    script(model, CREATE, CREATE)
    assert "the user said no" in says(gateway, choice="deny")
    body = {"messages": [{"role": "user", "content": "go"}]}
    chat = gateway.client.post("/v1/chat/completions", json=body).json()
    assert "nobody can be asked" in chat["choices"][0]["message"]["content"]
    assert jobs_of(gateway) == []


def test_a_key_gets_no_more_power_than_over_http(start_gateway: StartGateway, model: ScriptedModelServer):
    gateway = start_gateway({"approvals": {"mode": "off"}})
    keys = {
        scope: hermes(gateway, "keys", "add", scope, "--scope", scope).split("hk_")[1].split()[0]
        for scope in ("chat", "admin")
    }
    for scope, is_open in (("chat", False), ("admin", True)):
        script(model, CREATE)
        with with_key(gateway, f"hk_{keys[scope]}") as client:
            assert client.get("/api/jobs").is_success is is_open
            run_id = client.post("/v1/runs", json={"input": "go"}).json()["run_id"]
            run = eventually(partial(has_ended, client, run_id))
            assert run["output"].endswith("Created." if is_open else "not to others.")
            if is_open:
                assert [job["name"] for job in client.get("/api/jobs").json()["jobs"]] == ["plants"]
    assert jobs_of(gateway) == []  # the owner's
    script(model, CREATE)
    body = {"messages": [{"role": "user", "content": "go"}]}
    visitor = {"X-Hermes-Session-Key": "visitor"}
    chat = gateway.client.post("/v1/chat/completions", json=body, headers=visitor).json()
    assert chat["choices"][0]["message"]["content"].endswith("not to others.")


def test_a_jobs_own_run_makes_no_jobs_and_may_end_itself(start_gateway: StartGateway, model: ScriptedModelServer):
    gateway = start_gateway({"approvals": {"cron_mode": "approve"}})
    job = gateway.client.post("/api/jobs", json={"schedule": "every 2h", "prompt": "multiply"}).json()["job"]

    def run() -> str:
        started = gateway.client.post(f"/api/jobs/{job['id']}/run").json()["run_id"]
        return str(ended(gateway, started)["output"])

    for arguments in (CREATE, {"action": "run", "job_id": job["id"]}, {"action": "resume", "job_id": job["id"]}):
        script(model, arguments)
        assert run().startswith(f"A job cannot {arguments['action']} jobs")
    script(model, {"action": "remove", "job_id": job["id"]})
    assert run() == "Removed."
    assert jobs_of(gateway) == []
