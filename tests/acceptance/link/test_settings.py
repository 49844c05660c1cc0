"""Each setting that a phone can write has its effect in the agent, while the gateway runs: permissions, memory, skills.

A change is looked at before and after, in a session of its own. A setting that a client may send, as the document says,
and that the table does not have, fails.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from getpass import getuser
from pathlib import Path
from typing import Any

import pytest

from hermes.models.script import Call, Step
from hermes.toolsets.backends.bubblewrap import find_problem
from tests.acceptance.link.agent import PROFILE, Agent, Change, Seen, as_it_was, body_of, leaves, running_agent
from tests.support.mcp_servers import in_config
from tests.support.sshd import SSHD, running_sshd

pytestmark = [pytest.mark.sqlite("Link keeps its data in SQLite"), pytest.mark.slow]

STAND_IN = Path(__file__).parents[2] / "support" / "docker_stand_in.py"
TOKEN = "of-the-test"
DANGEROUS = "rm -rf -- there"
"""What asks in the mode manual, and does nothing."""
LOUD = "seq 1 2000"

SCRIPT = (
    Step(when="^run: (.+)", after_tool=False, tool_calls=(Call("terminal", {"command": "{{1}}"}),)),
    Step(when="^patient", after_tool=False, tool_calls=(Call("terminal", {"command": "true", "timeout": 60}),)),
    Step(
        when="^two servers",
        after_tool=False,
        tool_calls=tuple(Call("terminal", {"command": "sleep 60", "background": True}) for _ in range(2)),
    ),
    Step(when="^ask the server", after_tool=False, tool_calls=(Call("mcp_notes_echo", {"text": "a page"}),)),
    Step(when="^use the skill", after_tool=False, tool_calls=(Call("skill_view", {"name": "hermes-agent"}),)),
    Step(after_tool=True, text="{{tool}}"),
    Step(times=0, text="Hello."),
)


def approvals(**values: Any) -> dict[str, Any]:
    return {"approvals": values}


def terminal(**values: Any) -> dict[str, Any]:
    return {"terminal": values}


def is_asked(agent: Agent) -> bool:
    return agent.say(f"run: {DANGEROUS}").question is not None


def is_there(text: str, told: Callable[[Agent], str]) -> Seen:
    return lambda agent: text in told(agent)


def output_of(command: str) -> Seen:
    """Its first line."""
    return lambda agent: agent.run(command).splitlines()[0]


def patience(agent: Agent) -> int:
    """Seconds for which the phone of an owner may think."""
    question = agent.say(f"run: {DANGEROUS}").question
    assert question is not None
    return round(question["expires_at"] - question["timestamp"])


def is_run_by_a_job(agent: Agent) -> bool:
    """Where nobody is there to be asked."""
    body = {"name": "clean", "schedule": "0 8 * * *", "prompt": f"run: {DANGEROUS}"}
    job = agent.phone.post(f"{PROFILE}/cron-jobs", body)["job"]
    started = agent.phone.post(f"{PROFILE}/cron-jobs/{job['id']}/run")
    return "[exit code 0]" in agent.follow(started["run_id"]).output


def has_our_network(agent: Agent) -> bool:
    own = str(Path(f"/proc/{agent.gateway.pid}/ns/net").readlink())
    return agent.run("readlink /proc/self/ns/net").splitlines()[0] == own


def words_of_docker(agent: Agent) -> list[str]:
    """That the last container was made with."""
    agent.run("true")
    calls = [json.loads(line) for line in Path(agent.places["root"], "docker", "calls.jsonl").read_text().splitlines()]
    return [words for words in calls if words[0] == "run"][-1]


def is_among_dockers_words(*words: str) -> Seen:
    return lambda agent: " ".join(words) in " ".join(words_of_docker(agent))


def limit_of(name: str) -> Seen:
    """What the agent is told of how full a file is."""

    def seen(agent: Agent) -> str:
        told = re.search(rf"{name} \(.*\) \[\d+%, \d+/([\d,]+) characters\]", agent.instructions())
        return told[1] if told else ""

    return seen


BUBBLEWRAP, DOCKER = terminal(backend="bubblewrap"), terminal(backend="docker")
NO_BUBBLEWRAP = find_problem()


WRITES = "touch {root}/elsewhere/made 2>/dev/null && echo written || echo refused"

TABLE = (
    Change("approvals.mode", approvals(mode="off"), is_asked, True, False),
    Change("approvals.timeout", approvals(timeout=7), patience, 60, 7),
    Change("approvals.cron_mode", approvals(cron_mode="approve"), is_run_by_a_job, False, True),
    Change("approvals.deny", approvals(deny=["rm *"]), is_asked, True, False),
    Change("command_allowlist", {"command_allowlist": ["recursive-delete: rm in {root}/work1"]}, is_asked, True, False),
    Change(
        "toolsets.enabled_toolsets",
        {"toolsets": {"enabled_toolsets": ["file"]}},
        lambda agent: sorted({"terminal", "read_file"} & agent.offered()),
        ["read_file", "terminal"],
        ["read_file"],
    ),
    Change(
        "toolsets.mcp_enabled",
        {"toolsets": {"mcp_enabled": False}},
        lambda agent: agent.say("ask the server").output == "echo: a page",
        True,
        False,
    ),
    Change(
        "terminal.backend",
        BUBBLEWRAP,
        output_of("test -e {root}/home1/logs && echo on the machine || echo in the sandbox"),
        "on the machine",
        "in the sandbox",
        needs=NO_BUBBLEWRAP,
    ),
    Change("terminal.cwd", terminal(cwd="{root}/elsewhere"), output_of("pwd"), "{root}/work1", "{root}/elsewhere"),
    Change(
        "terminal.timeout",
        terminal(timeout=0.3),
        lambda agent: "killed after 0.3 seconds" in agent.run("sleep 2"),
        False,
        True,
    ),
    Change(
        "terminal.max_timeout",
        terminal(max_timeout=50),
        lambda agent: agent.say("patient").output.splitlines()[0],
        "[exit code 0]",
        "timeout: at most 50 seconds; run longer commands with background=true and follow them with the process tool.",
    ),
    Change(
        "terminal.output_characters", terminal(output_characters=500), lambda a: len(a.run(LOUD)) > 2000, True, False
    ),
    Change(
        "terminal.max_processes",
        terminal(max_processes=1),
        lambda agent: agent.say("two servers").output.startswith("Started in the background"),
        True,
        False,
    ),
    Change(
        "terminal.shell", terminal(shell="{root}/loud-shell"), output_of("true"), "[exit code 0]", "the other shell"
    ),
    Change(
        "terminal.env_passthrough",
        terminal(env_passthrough=["PROBE_TOKEN"]),
        output_of('test -n "$PROBE_TOKEN" && echo there || echo gone'),
        "gone",
        "there",
    ),
    Change(
        "terminal.bubblewrap.network",
        terminal(bubblewrap={"network": True}),
        has_our_network,
        False,
        True,
        first=BUBBLEWRAP,
        needs=NO_BUBBLEWRAP,
    ),
    Change(
        "terminal.bubblewrap.binds",
        terminal(bubblewrap={"binds": ["{root}/elsewhere"]}),
        output_of(WRITES),
        "refused",
        "written",
        first=BUBBLEWRAP,
        needs=NO_BUBBLEWRAP,
    ),
    Change(
        "terminal.docker.image",
        terminal(docker={"image": "python:3.13"}),
        is_among_dockers_words("python:3.13"),
        False,
        True,
        first=DOCKER,
    ),
    Change(
        "terminal.docker.network",
        terminal(docker={"network": True}),
        is_among_dockers_words("--network", "none"),
        True,
        False,
        first=DOCKER,
    ),
    Change(
        "terminal.docker.memory",
        terminal(docker={"memory": "64m"}),
        is_among_dockers_words("--memory", "64m"),
        False,
        True,
        first=DOCKER,
    ),
    Change(
        "terminal.docker.mount",
        terminal(docker={"mount": False}),
        is_among_dockers_words("--workdir"),
        True,
        False,
        first=DOCKER,
    ),
    Change(
        "memory_enabled",
        {"memory_enabled": False},
        is_there("Deploys", Agent.instructions),
        True,
        False,
        "memory/settings",
    ),
    Change(
        "user_profile_enabled",
        {"userProfileEnabled": False},
        is_there("Likes tea", Agent.instructions),
        True,
        False,
        "memory/settings",
    ),
    Change("memory_char_limit", {"memory_char_limit": 300}, limit_of("MEMORY"), "2,200", "300", "memory/settings"),
    Change("user_char_limit", {"userCharLimit": 200}, limit_of("USER"), "1,375", "200", "memory/settings"),
    Change(
        "enabled",
        {"enabled": False},
        lambda agent: agent.say("use the skill").output.startswith("[skill hermes-agent in "),
        True,
        False,
        "skills/hermes-agent",
    ),
)

SSH = "host user port key_file known_hosts cwd"


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    root = tmp_path_factory.mktemp("settings")
    (root / "bin").mkdir()
    docker = root / "bin" / "docker"
    docker.write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN} "$@"\n')
    docker.chmod(0o755)
    (root / "docker").mkdir()
    (root / "elsewhere").mkdir()
    shell = root / "loud-shell"
    shell.write_text('#!/bin/sh\necho the other shell\nexec /bin/sh "$@"\n')
    shell.chmod(0o755)
    environ = {
        "PATH": f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "DOCKER_CONFIG": str(root / "docker"),
        "PROBE_TOKEN": TOKEN,
    }
    config = {"mcp_servers": {"notes": in_config("--legacy", trust="all")}}
    with running_agent(root, SCRIPT, config, environ, {}) as running:
        for target, content in (("memory", "Deploys on Fridays"), ("user", "Likes tea")):
            running.phone.post(f"{PROFILE}/memory/entries", {"target": target, "content": content})
        yield running


@pytest.fixture(autouse=True)
def _as_it_was(agent: Agent) -> Iterator[None]:
    with as_it_was(agent):
        yield


@pytest.mark.parametrize("change", TABLE, ids=str)
def test_a_change_has_its_effect_with_the_next_run(agent: Agent, change: Change) -> None:
    if change.needs:
        pytest.skip(change.needs)
    change.check(agent)


@pytest.mark.skipif(SSHD is None, reason="there is no sshd here")
def test_commands_go_where_the_settings_of_ssh_say(agent: Agent, tmp_path: Path) -> None:
    """None of them can be missing: the port, the key and the host's key are no usual ones."""
    (tmp_path / "over-there").mkdir()
    with running_sshd(tmp_path / "sshd") as server:
        given = {
            "host": "127.0.0.1",
            "user": getuser(),
            "port": server.port,
            "key_file": str(server.key_file),
            "known_hosts": str(server.known_hosts),
            "cwd": str(tmp_path / "over-there"),
        }
        assert set(given) == set(SSH.split())
        agent.phone.patch(f"{PROFILE}/permissions", terminal(backend="ssh", ssh=given))
        assert agent.run("pwd; echo $SSH_CONNECTION").splitlines()[0] == str(tmp_path / "over-there")
        for name in ("port", "key_file", "known_hosts"):
            agent.phone.patch(f"{PROFILE}/permissions", terminal(ssh={**given, name: None}))
            assert "[exit code 0]" not in agent.run("true"), name


def test_no_setting_that_a_phone_may_send_is_missing_here(agent: Agent) -> None:
    document = agent.phone.client.get(f"{agent.phone.url}/api/openapi.json").json()
    here = {(change.path.partition("/")[0], name) for change in TABLE for name in change.names.split()}
    here |= {("permissions", f"terminal.ssh.{name}") for name in SSH.split()}
    sendable = {
        (place.partition("/")[0], name)
        for place in ("permissions", "memory/settings", "skills/{skill_name}")
        for name in leaves(document, body_of(document, place))
    }
    assert sendable == here
