"""The gateway as a process: killed, stopped, started twice, disturbed. What was acknowledged is there afterwards."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway
from tests.support import waiting

DEADLINE_SECONDS = 15.0


def chat(text: str, **options: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **options}


def chunks(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if line.startswith("data: {"):
            yield json.loads(line[6:])


def read_until(stream: Iterator[dict[str, Any]], text: str) -> None:
    said = ""
    while said != text:
        said += next(stream)["choices"][0]["delta"].get("content", "")


eventually = partial(waiting.eventually, seconds=DEADLINE_SECONDS)


def is_gone(pid: int) -> bool:
    """No such process, or only its entry waiting to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_killed_gateway_tells_the_open_run_as_interrupted_and_keeps_what_was_said(
    gateway: Gateway, model: ScriptedModelServer
):
    model.add(Step("Half of the answer", hang=True), Step("Yes."))
    session = {"X-Hermes-Session-Id": "mine"}
    with gateway.client.stream("POST", "/v1/chat/completions", json=chat("go", stream=True), headers=session) as answer:
        run_id = answer.headers["x-hermes-run-id"]
        read_until(chunks(answer), "Half of the answer")
        gateway.kill()
    gateway.start()
    run = eventually(
        lambda: (found := gateway.client.get(f"/v1/runs/{run_id}").json())["status"] == "interrupted" and found
    )
    assert (run["output"], run["last_event"]) == ("Half of the answer", "run.interrupted")
    answer = gateway.client.post("/v1/chat/completions", json=chat("still there?"), headers=session)
    assert answer.json()["choices"][0]["message"]["content"] == "Yes."
    said = [(message["role"], message["content"]) for message in model.requests[-1]["messages"][1:]]
    assert said == [("user", "go"), ("assistant", "Half of the answer"), ("user", "still there?")]


def messages_of(gateway: Gateway) -> list[tuple[str, str]]:
    question = "SELECT role, content FROM messages ORDER BY id"
    if gateway.database_url is not None:
        with psycopg.connect(gateway.database_url) as server:
            return [(role, content) for role, content in server.execute(question)]
    with contextlib.closing(sqlite3.connect(gateway.home / "state.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return database.execute(question).fetchall()


def test_what_was_answered_is_there_after_kill_9_at_any_moment(gateway: Gateway, model: ScriptedModelServer):
    model.add(Step("Noted: {{user}}", times=0))
    acknowledged: list[str] = []
    for number in range(3):
        for _ in range(5):
            text = f"fact {len(acknowledged)}"
            gateway.client.post(
                "/v1/chat/completions", json=chat(text), headers={"X-Hermes-Session-Id": "facts"}
            ).raise_for_status()
            acknowledged.append(text)
        gateway.kill()
        if number < 2:
            gateway.start()
    assert messages_of(gateway) == [
        row for text in acknowledged for row in (("user", text), ("assistant", f"Noted: {text}"))
    ]


def test_sigterm_gives_an_open_run_its_time_and_ends_within_twelve_seconds(
    start_gateway: StartGateway, model: ScriptedModelServer
):
    gateway = start_gateway({"api_server": {"drain_timeout": 0.5}})
    model.add(Step("I thi", hang=True))
    began = time.monotonic()
    with gateway.client.stream("POST", "/v1/chat/completions", json=chat("go", stream=True)) as answer:
        stream = chunks(answer)
        read_until(stream, "I thi")
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGTERM)
        rest = list(stream)
    assert [chunk["error"]["code"] for chunk in rest if "error" in chunk] == ["run_interrupted"]
    assert gateway.process.wait(DEADLINE_SECONDS) == 0
    assert time.monotonic() - began < 12


def test_while_it_drains_it_takes_no_new_work(gateway: Gateway, model: ScriptedModelServer):
    model.add(Step("I thi", hang=True))
    with gateway.client.stream("POST", "/v1/chat/completions", json=chat("go", stream=True)) as answer:
        next(chunks(answer))
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGTERM)
        other = httpx.Client(base_url=gateway.url, headers={"Authorization": f"Bearer {gateway.key}"})
        with other:
            refused = eventually(
                lambda: (r := other.post("/v1/chat/completions", json=chat("more"))).status_code == 503 and r
            )
        assert refused.json()["error"]["code"] == "gateway_draining"
        assert int(refused.headers["retry-after"]) > 0
        gateway.kill()


def test_a_second_gateway_on_the_same_home_is_refused(gateway: Gateway):
    second = subprocess.run(
        [sys.executable, "-m", "hermes", "gateway"],
        env=gateway.environ | {"API_SERVER_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert second.returncode != 0
    assert f"already runs at {gateway.url} (pid {gateway.pid})" in second.stderr
    assert gateway.client.get("/health").status_code == 200


def test_a_port_that_is_taken_is_named_with_the_way_out(gateway: Gateway, tmp_path: Path):
    environ = gateway.environ | {"HERMES_HOME": str(tmp_path / "other")}
    taken = subprocess.run(
        [sys.executable, "-m", "hermes", "gateway"], env=environ, capture_output=True, text=True, timeout=30
    )
    assert taken.returncode == 2
    assert "Address already in use" in taken.stderr and "config set API_SERVER_PORT" in taken.stderr


def test_a_stop_leaves_no_process_of_the_run(gateway: Gateway, model: ScriptedModelServer):
    command = "setsid sleep 300 & echo child $!; sleep 300"
    model.add(Step(tool_calls=[Call("terminal", {"command": command})]))
    with gateway.client.stream("POST", "/v1/chat/completions", json=chat("go", stream=True)) as answer:
        run_id = answer.headers["x-hermes-run-id"]
        stream = chunks(answer)
        while next(stream).get("tool") != "terminal":
            pass
        sleeping = eventually(lambda: (found := sleepers(gateway.pid)) and len(found) >= 2 and found)
        began = time.monotonic()
        stopped = gateway.client.post(f"/v1/runs/{run_id}/stop").json()
        assert stopped == {"run_id": run_id, "status": "stopping"}
        eventually(lambda: all(is_gone(pid) for pid in sleeping))
        assert time.monotonic() - began < 5
    again = gateway.client.post(f"/v1/runs/{run_id}/stop")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "run_not_active")


def test_kill_9_of_the_gateway_leaves_no_process_of_its_tools(gateway: Gateway, model: ScriptedModelServer):
    model.add(Step(tool_calls=[Call("terminal", {"command": "setsid sleep 300 & sleep 300"})]))
    with gateway.client.stream("POST", "/v1/chat/completions", json=chat("go", stream=True)) as answer:
        stream = chunks(answer)
        while next(stream).get("tool") != "terminal":
            pass
        sleeping = eventually(lambda: (found := sleepers(gateway.pid)) and len(found) >= 2 and found)
        gateway.kill()
    eventually(lambda: all(is_gone(pid) for pid in sleeping))


def sleepers(ancestor: int) -> list[int]:
    """Processes named sleep that come from the gateway, whatever session they made for themselves."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            head, _, rest = stat.read_text().rpartition(")")
            pid = int(head.split(" ", 1)[0])
            names[pid], parents[pid] = head.partition("(")[2], int(rest.split()[1])

    def comes_from(pid: int) -> bool:
        while pid > 1:
            if pid == ancestor:
                return True
            pid = parents.get(pid, 0)
        return False

    return [pid for pid, name in names.items() if name == "sleep" and comes_from(pid)]


def test_a_dangerous_call_waits_for_its_approval_and_runs_after_it(gateway: Gateway, model: ScriptedModelServer):
    (gateway.workdir / "old").mkdir()
    command = f"rm -rf {gateway.workdir}/old"
    model.add(Step(tool_calls=[Call("terminal", {"command": command})]), Step("Removed.", after_tool=True))
    seen: list[dict[str, Any]] = []
    with gateway.client.stream("POST", "/v1/chat/completions", json=chat("clean up", stream=True)) as answer:
        for chunk in chunks(answer):
            seen.append(chunk)
            if "approval_id" in chunk and "command" in chunk:
                assert chunk["command"] == command
                run = gateway.client.get(f"/v1/runs/{chunk['run_id']}").json()
                assert run["status"] == "waiting_for_approval"
                assert [pending["approval_id"] for pending in run["approvals"]] == [chunk["approval_id"]]
                assert (gateway.workdir / "old").exists()
                body = {"choice": "once", "approval_id": chunk["approval_id"]}
                answered = gateway.client.post(f"/v1/runs/{chunk['run_id']}/approval", json=body)
                assert answered.json()["resolved"] == 1
    assert not (gateway.workdir / "old").exists()
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in seen if c["choices"])
    assert text == "Removed."


@pytest.mark.sqlite("another process holds the file's lock")
def test_a_database_that_cannot_be_written_is_a_clear_error(gateway: Gateway, model: ScriptedModelServer):
    model.add(Step("ok", times=0))
    gateway.client.post("/v1/chat/completions", json=chat("before")).raise_for_status()
    blocker = sqlite3.connect(gateway.home / "state.db", isolation_level=None)
    with contextlib.closing(blocker):
        blocker.execute("BEGIN EXCLUSIVE")
        failed = gateway.client.post("/v1/chat/completions", json=chat("during"), timeout=60)
        blocker.execute("ROLLBACK")
    assert failed.status_code == 503
    assert failed.json()["error"]["code"] == "store_unavailable"
    after = eventually(
        lambda: (r := gateway.client.post("/v1/chat/completions", json=chat("after"))).status_code == 200 and r
    )
    assert after.json()["choices"][0]["message"]["content"] == "ok"


@pytest.mark.parametrize("name", [".env", "config.yaml", "SOUL.md", "state.db", "logs", "run"])
def test_a_new_home_is_closed_to_others(tmp_path: Path, model: ScriptedModelServer, name: str):
    home = tmp_path / "new"
    environ = {
        "HOME": str(tmp_path),
        "HERMES_HOME": str(home),
        "PATH": "/usr/bin:/bin",
        "API_SERVER_PORT": "0",
        "OPENAI_API_KEY": "sk-x",
        "OPENAI_BASE_URL": model.base_url,
    }
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"umask 000; exec {sys.executable} -m hermes gateway"],
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        assert lines[0].startswith(f"Made a home in {home}")
        eventually(lambda: (home / name).exists())
        mode = (home / name).stat().st_mode & 0o777
        process.terminate()
        process.communicate(timeout=DEADLINE_SECONDS)
    assert mode == (0o700 if (home / name).is_dir() else 0o600)
