"""Settings that change under a running gateway: the next run has them, and what needs a restart is named."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

from hermes.home.config_file import read_config
from hermes.home.env import read_env
from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from hermes.toolsets.backends.bubblewrap import find_problem
from tests.acceptance.conftest import Gateway, StartNodes
from tests.support.mcp_servers import in_config
from tests.support.waiting import eventually

NO_BUBBLEWRAP = find_problem()
TELL = Step(after_tool=True, text="{{tool}}")
DANGEROUS = "rm -rf -- there"
"""What asks in the mode manual, and does nothing."""


def calls(tool: str, when: str, **arguments: Any) -> Step:
    return Step(when=when, after_tool=False, tool_calls=(Call(tool, arguments),))


def hermes(gateway: Gateway, *arguments: str) -> str:
    own = {name: value for name, value in gateway.environ.items() if name != "API_SERVER_PORT"}
    command = [sys.executable, "-m", "hermes", *arguments]
    done = subprocess.run(command, env=own, cwd=gateway.workdir, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def said(
    client: httpx.Client, text: str, *, answer: str | None = None, session: str | None = None
) -> tuple[str, list[str]]:
    """What the run said in the end, and the names of its events. A question gets `answer`."""
    asked = {"input": text, **({"session_id": session} if session else {})}
    started = client.post("v1/runs", json=asked).raise_for_status().json()
    events: list[dict[str, Any]] = []
    with client.stream("GET", f"v1/runs/{started['run_id']}/events") as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                events.append(json.loads(line[6:]))
                if events[-1]["event"] == "approval.request":
                    assert answer is not None, events[-1]
                    client.post(f"v1/runs/{started['run_id']}/approval", json={"choice": answer}).raise_for_status()
    assert events[-1]["event"] == "run.completed", events[-1]
    return events[-1]["output"], [event["event"] for event in events]


def offered(model: ScriptedModelServer) -> set[str]:
    return {tool["function"]["name"] for tool in model.requests[-1].get("tools", ())}


def instructions(model: ScriptedModelServer) -> str:
    return str(model.requests[-1]["messages"][0]["content"])


def check(client: httpx.Client, name: str = "settings") -> dict[str, Any]:
    body = client.get("health/detailed").raise_for_status().json()
    found: dict[str, Any] = body["readiness"]["checks"][name]
    return found


def write(gateway: Gateway, text: str) -> None:
    """By hand, in place, as an editor does that does not rename."""
    (gateway.home / "config.yaml").write_text(f"{gateway.home.joinpath('config.yaml').read_text()}{text}")


@pytest.fixture
def alice(gateway: Gateway) -> Iterator[httpx.Client]:
    """A profile with the same model, open behind the default's listener."""
    hermes(gateway, "profile", "create", "alice", "--clone")
    key = read_env(gateway.home / "profiles" / "alice" / ".env")["API_SERVER_KEY"]
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=f"{gateway.url}/p/alice/", headers=headers, timeout=30) as client:
        client.get("v1/models").raise_for_status()
        yield client


def test_a_toolset_that_is_switched_off_is_not_offered_to_the_next_run(
    gateway: Gateway, model: ScriptedModelServer
) -> None:
    model.add(Step(text="Hello.", times=0))
    said(gateway.client, "hello")
    assert {"terminal", "read_file"} <= offered(model)
    told = hermes(gateway, "config", "set", "toolsets", "file")
    assert "takes this up with the next run" in told
    said(gateway.client, "hello")
    assert "read_file" in offered(model)
    assert "terminal" not in offered(model)
    states = {one["name"]: one["enabled"] for one in gateway.client.get("/v1/toolsets").json()["data"]}
    assert (states["file"], states["terminal"]) == (True, False)
    hermes(gateway, "config", "unset", "toolsets")
    said(gateway.client, "hello")
    assert "terminal" in offered(model)


def test_approvals_are_asked_for_as_the_settings_say_now(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(calls("terminal", "run", command=DANGEROUS), TELL)
    _, events = said(gateway.client, "run", answer="once")
    assert "approval.request" in events
    hermes(gateway, "config", "set", "approvals.mode", "off")
    _, events = said(gateway.client, "run")
    assert "approval.request" not in events
    hermes(gateway, "config", "set", "approvals.mode", "manual")
    output, events = said(gateway.client, "run", answer="deny")
    assert "the user said no" in output
    hermes(gateway, "config", "set", "approvals.deny", '["rm *"]')
    output, events = said(gateway.client, "run")
    assert "the owner's deny list names it" in output
    assert "approval.request" not in events


def test_a_run_that_goes_on_is_judged_by_the_approvals_of_now_and_has_the_tools_it_began_with(
    gateway: Gateway, model: ScriptedModelServer
) -> None:
    """The first command waits for a file; between it and the second, somebody switches the questions off."""
    (gateway.workdir / "pipe").unlink(missing_ok=True)
    os.mkfifo(gateway.workdir / "pipe")
    model.add(
        calls("terminal", "two", command="cat pipe"),
        Step(after_tool=True, times=1, tool_calls=(Call("terminal", {"command": DANGEROUS}),)),
        TELL,
    )
    started = gateway.client.post("/v1/runs", json={"input": "two"}).raise_for_status().json()
    with (gateway.workdir / "pipe").open("w") as pipe:  # opens when the command reads
        hermes(gateway, "config", "set", "approvals.mode", "off")
        hermes(gateway, "config", "set", "toolsets", "file")
        assert not {"terminal"} & {
            one["name"] for one in gateway.client.get("/v1/toolsets").json()["data"] if one["enabled"]
        }
        pipe.write("go on\n")
    text = gateway.client.get(f"/v1/runs/{started['run_id']}/events").text
    assert "approval.request" not in text
    assert "run.completed" in text
    assert "[exit code 0]" in str(model.requests[-1]["messages"][-1]["content"])


def test_a_job_goes_by_the_cron_mode_of_now(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(calls("terminal", "tidy", command=DANGEROUS), TELL)

    def result() -> str:
        before = len(model.requests)
        asked = {"name": "n", "schedule": "1s", "prompt": "tidy"}
        gateway.client.post("/api/jobs", json=asked).raise_for_status()
        eventually(lambda: len(model.requests) == before + 2, 40)
        return str(model.requests[-1]["messages"][-1]["content"])

    assert "nobody can be asked here" in result()
    hermes(gateway, "config", "set", "approvals.cron_mode", "approve")
    assert "[exit code 0]" in result()


def test_a_toolset_that_there_is_not_is_a_slip_that_stops_no_run(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step(text="Hello.", times=0))
    hermes(gateway, "config", "set", "toolsets", "fil")
    said(gateway.client, "hello")
    assert "terminal" in offered(model)
    assert "there is no 'fil'" in check(gateway.client)["detail"]
    hermes(gateway, "config", "set", "toolsets", "file")
    said(gateway.client, "hello")
    assert "terminal" not in offered(model)
    assert check(gateway.client)["status"] == "ok"


def test_a_path_that_leads_nowhere_is_refused_with_all_that_stands_beside_it(
    gateway: Gateway, model: ScriptedModelServer
) -> None:
    model.add(Step(text="Hello.", times=0))
    whole = (gateway.home / "config.yaml").read_text()
    write(gateway, "toolsets: [file]\nfile: {roots: [~nobody-of-this-name/x]}\n")
    said(gateway.client, "hello")
    assert "terminal" in offered(model)
    assert "file.roots" in check(gateway.client)["detail"]
    (gateway.home / "config.yaml").write_text(whole)
    said(gateway.client, "hello")
    assert check(gateway.client)["status"] == "ok"


def test_what_is_remembered_is_told_as_the_settings_say_now_in_sessions_that_go_on_too(
    gateway: Gateway, model: ScriptedModelServer
) -> None:
    model.add(Step(text="Hello.", times=0))
    (gateway.home / "memories").mkdir(exist_ok=True)
    (gateway.home / "memories" / "MEMORY.md").write_text("Deploys on Fridays\n")
    ask = {"input": "hello", "session_id": "one"}

    def told() -> str:
        run_id = gateway.client.post("/v1/runs", json=ask).raise_for_status().json()["run_id"]
        gateway.client.get(f"/v1/runs/{run_id}/events").raise_for_status()
        return instructions(model)

    assert "Deploys on Fridays" in told()
    hermes(gateway, "config", "set", "memory.memory_enabled", "false")
    assert "Deploys on Fridays" not in told()
    hermes(gateway, "config", "set", "memory.memory_enabled", "true")
    hermes(gateway, "config", "set", "memory.memory_char_limit", "50")
    assert "18/50 characters" in told()


def test_another_model_answers_and_a_new_route_is_found_at_once(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step(text="the first", times=0))
    with ScriptedModelServer([Step(text="the other", times=0)], api_key="sk-of-the-other") as other:
        assert said(gateway.client, "hello")[0] == "the first"
        hermes(gateway, "config", "set", "OTHER_KEY", "sk-of-the-other")
        route = {"default": "scripted", "provider": "custom", "base_url": other.base_url, "key_env": "OTHER_KEY"}
        hermes(gateway, "config", "set", "model_routes", json.dumps({"quick": route}))
        asked = {"model": "quick", "messages": [{"role": "user", "content": "hello"}]}
        answer = gateway.client.post("/v1/chat/completions", json=asked).raise_for_status().json()
        assert answer["choices"][0]["message"]["content"] == "the other"
        assert said(gateway.client, "hello")[0] == "the first"
        assert "quick" in [one["id"] for one in gateway.client.get("/v1/models").json()["data"]]
        hermes(gateway, "config", "set", "model.base_url", other.base_url)
        hermes(gateway, "config", "set", "model.key_env", "OTHER_KEY")
        assert said(gateway.client, "hello")[0] == "the other"
        assert other.base_url.removeprefix("http://").removesuffix("/v1") in check(gateway.client, "model")["detail"]


def test_commands_run_where_the_settings_say_now(gateway: Gateway, model: ScriptedModelServer, tmp_path: Path) -> None:
    model.add(calls("terminal", "where", command="pwd"), calls("terminal", "slow", command="sleep 60"), TELL)
    assert str(gateway.workdir) in said(gateway.client, "where")[0]
    there = tmp_path / "elsewhere"
    there.mkdir()
    hermes(gateway, "config", "set", "terminal.cwd", str(there))
    assert str(there) in said(gateway.client, "where")[0]
    hermes(gateway, "config", "set", "terminal.timeout", "0.2")
    assert "killed after 0.2 seconds" in said(gateway.client, "slow")[0]
    hermes(gateway, "config", "set", "terminal.backend", "ssh")
    output, _ = said(gateway.client, "where")
    assert "there is no tool 'terminal'" in output.lower()


@pytest.mark.skipif(bool(NO_BUBBLEWRAP), reason=NO_BUBBLEWRAP)
def test_a_session_begins_anew_in_another_backend_and_finds_its_own_again(
    gateway: Gateway, model: ScriptedModelServer
) -> None:
    """Nothing of the sandbox is where it came from, and nothing of the machine in the sandbox."""
    (gateway.workdir / "below").mkdir()
    look = 'pwd; echo "[$WORD]"; grep -c : /proc/net/dev'
    model.add(
        calls("terminal", "begin", command="cd below && export WORD=of-the-machine"),
        calls("terminal", "look", command=look),
        TELL,
    )
    ask = partial(said, gateway.client, session="s")
    ask("begin")
    assert f"{gateway.workdir}/below\n[of-the-machine]" in ask("look")[0]
    hermes(gateway, "config", "set", "terminal.backend", "bubblewrap")
    assert f"{gateway.workdir}\n[]\n1\n" in ask("look")[0]
    hermes(gateway, "config", "unset", "terminal")
    assert f"{gateway.workdir}/below\n[of-the-machine]" in ask("look")[0]


@pytest.mark.skipif(bool(NO_BUBBLEWRAP), reason=NO_BUBBLEWRAP)
def test_what_runs_in_the_backend_before_ends_with_its_session(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(calls("terminal", "wait", command="exec sleep 300", background=True), TELL, Step(text="Hello.", times=0))
    hermes(gateway, "config", "set", "terminal.backend", "bubblewrap")
    said(gateway.client, "wait", session="s")
    sleeping = eventually(lambda: _running(gateway, "300"), 20)
    hermes(gateway, "config", "unset", "terminal")
    said(gateway.client, "hello", session="t")
    assert all(one.is_running() for one in sleeping)
    gateway.client.delete("/api/sessions/s").raise_for_status()
    psutil.wait_procs(sleeping, 20)
    assert not any(one.is_running() for one in sleeping)


def test_a_service_is_there_as_soon_as_it_is_named(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step(text="Hello.", times=0))
    hermes(gateway, "config", "set", "toolsets", "file,homeassistant")
    said(gateway.client, "hello")
    assert "ha_list_entities" not in offered(model)
    hermes(gateway, "config", "set", "HASS_TOKEN", "token-of-the-home-1")
    hermes(gateway, "config", "set", "homeassistant.url", "http://127.0.0.1:9")
    said(gateway.client, "hello")
    assert "ha_list_entities" in offered(model)
    hermes(gateway, "config", "unset", "HASS_TOKEN")
    said(gateway.client, "hello")
    assert "ha_list_entities" not in offered(model)


def test_a_key_that_comes_later_is_as_secret_as_one_that_was_there(
    gateway: Gateway, model: ScriptedModelServer
) -> None:
    model.add(calls("terminal", "print", command="echo token-of-the-home-1"), TELL)
    assert "token-of-the-home-1" in said(gateway.client, "print")[0]
    hermes(gateway, "config", "set", "HASS_TOKEN", "token-of-the-home-1")
    assert "token-of-the-home-1" not in said(gateway.client, "print")[0]


def test_an_mcp_server_comes_and_goes(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(calls("mcp_notes_echo", "echo", text="a page"), TELL)
    write(gateway, f"mcp_servers: {json.dumps({'notes': in_config('--legacy', trust='all')})}\n")
    assert said(gateway.client, "echo")[0] == "echo: a page"
    hermes(gateway, "config", "set", "mcp_servers.notes.enabled", "false")
    assert "there is no tool" in said(gateway.client, "echo")[0].lower()
    hermes(gateway, "config", "unset", "mcp_servers")
    said(gateway.client, "echo")
    assert "mcp-notes" not in [one["name"] for one in gateway.client.get("/v1/toolsets").json()["data"]]


def test_a_server_that_is_gone_and_still_named_stops_no_run(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step(text="Hello.", times=0))
    server = json.dumps({"notes": in_config("--legacy", trust="all")})
    write(gateway, f"toolsets: [file, mcp-notes]\nmcp_servers: {server}\n")
    said(gateway.client, "hello")
    assert "mcp_notes_echo" in offered(model)
    hermes(gateway, "config", "unset", "mcp_servers")
    said(gateway.client, "hello")
    assert "there is no 'mcp-notes'" in check(gateway.client)["detail"]
    hermes(gateway, "config", "set", "toolsets", "file")
    said(gateway.client, "hello")
    assert "mcp_notes_echo" not in offered(model)
    assert check(gateway.client)["status"] == "ok"


def test_a_guest_behind_the_listener_takes_up_its_own_settings(
    gateway: Gateway, alice: httpx.Client, model: ScriptedModelServer
) -> None:
    model.add(Step(text="Hello.", times=0))
    said(alice, "hello")
    assert "terminal" in offered(model)
    hermes(gateway, "-p", "alice", "config", "set", "toolsets", "file")
    said(alice, "hello")
    assert "terminal" not in offered(model)
    said(gateway.client, "hello")
    assert "terminal" in offered(model)
    restart = "restart needed: hermes -p default gateway restart"
    assert restart in hermes(gateway, "-p", "alice", "config", "set", "logging.level", "debug")
    assert check(alice)["detail"] == "restart needed for logging.level: hermes -p default gateway restart"


def _running(gateway: Gateway, word: str) -> list[psutil.Process]:
    found = []
    for one in psutil.Process(gateway.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            found += [one] if one.cmdline() == ["sleep", word] else []
    return found


@pytest.mark.slow
def test_each_node_goes_by_its_own_files(start_nodes: StartNodes, model: ScriptedModelServer) -> None:
    model.add(Step(text="Hello.", times=0))
    first, second = start_nodes(2)
    hermes(second, "config", "set", "toolsets", "file")
    said(first.client, "hello")
    assert "terminal" in offered(model)
    said(second.client, "hello")
    assert "terminal" not in offered(model)


def test_what_only_a_restart_brings_is_named_and_without_its_value(gateway: Gateway) -> None:
    told = hermes(gateway, "config", "set", "logging.level", "debug")
    assert "restart needed: hermes gateway restart" in told
    row = check(gateway.client)
    assert row == {"status": "ok", "detail": "restart needed for logging.level: hermes gateway restart"}
    gateway.client.get("/health/detailed")
    assert gateway.errors.count("restart needed for") == 1
    assert "restart needed for logging.level" in hermes(gateway, "status")
    hermes(gateway, "config", "unset", "logging.level")
    assert check(gateway.client) == {"status": "ok", "detail": None}


def test_a_broken_file_changes_nothing_and_is_said(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step(text="Hello.", times=0))
    whole = (gateway.home / "config.yaml").read_text()
    hermes(gateway, "config", "set", "toolsets", "file")
    said(gateway.client, "hello")
    write(gateway, "approvals: {mode: [\n")
    for _ in range(2):
        said(gateway.client, "hello")
        assert "terminal" not in offered(model)
    row = check(gateway.client)
    assert row["status"] != "ok"
    assert "config.yaml, line" in row["detail"]
    assert str(gateway.home) not in row["detail"]
    assert gateway.errors.count("cannot be used") == 1
    (gateway.home / "config.yaml").write_text(f"{whole}approvals: {{mode: sometimes}}\n")
    assert "approvals.mode: expected one of manual" in check(gateway.client)["detail"]
    (gateway.home / "config.yaml").write_text(whole)
    said(gateway.client, "hello")
    assert "terminal" in offered(model)
    assert check(gateway.client)["status"] == "ok"


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_change_while_it_was_down_is_simply_there(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step(text="Hello.", times=0))
    gateway.stop(signal.SIGKILL)
    hermes(gateway, "config", "set", "toolsets", "file")
    gateway.start()
    said(gateway.client, "hello")
    assert "terminal" not in offered(model)


def test_changes_and_runs_at_once_leave_each_run_whole_and_the_last_change_in_force(
    gateway: Gateway, model: ScriptedModelServer
) -> None:
    model.add(Step(text="Hello.", times=0))
    names = ["file", "terminal", "todo"]
    process = subprocess.Popen(
        [sys.executable, "-c", CHANGES, str(gateway.home / "config.yaml"), *names], stdout=subprocess.PIPE
    )
    seen = set()
    while process.poll() is None:
        assert said(gateway.client, "hello")[0] == "Hello."
        seen.add(frozenset(offered(model)))
    process.communicate()
    assert read_config(gateway.home / "config.yaml")["toolsets"] == ["todo"]
    said(gateway.client, "hello")
    assert offered(model) == {"todo"}
    whole = ({"terminal", "process"}, {"todo"}, {"read_file", "write_file", "patch", "search_files"})
    assert all(one in whole or len(one) > 8 for one in seen)


CHANGES = """
import sys
from pathlib import Path
from hermes.home.config_file import set_config
for number in range(60):
    for name in sys.argv[2:]:
        set_config(Path(sys.argv[1]), ["toolsets"], [name])
"""
