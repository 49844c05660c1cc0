"""Each setting that a phone can write has its effect in the agent, while the gateway runs: one table.

A row is looked at before and after the change, in a session of its own. A setting that a
client may send, as the document says, and that no row has, fails.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from getpass import getuser
from pathlib import Path
from typing import Any

import pytest

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from hermes.toolsets.backends.bubblewrap import find_problem
from tests.acceptance.conftest import Gateway, make_gateway
from tests.acceptance.link.phone import Phone
from tests.acceptance.link.process import make_link, tell_link
from tests.support.mcp_servers import in_config
from tests.support.sshd import SSHD, running_sshd

pytestmark = [pytest.mark.sqlite("Link keeps its data in SQLite"), pytest.mark.slow]

PROFILE = "/profiles/default"
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


@dataclass(frozen=True)
class Said:
    output: str
    question: dict[str, Any] | None


@dataclass
class Agent:
    """The gateway as its clients see it, and a phone beside it."""

    gateway: Gateway
    model: ScriptedModelServer
    phone: Phone
    root: Path

    def say(self, text: str, *, answer: str | None = "deny") -> Said:
        """In a session of its own. A question gets `answer`."""
        started = self.gateway.client.post("/v1/runs", json={"input": text}).raise_for_status().json()
        return self.follow(started["run_id"], answer=answer)

    def follow(self, run_id: str, *, answer: str | None = "deny") -> Said:
        question: dict[str, Any] | None = None
        event: dict[str, Any] = {}
        with self.gateway.client.stream("GET", f"/v1/runs/{run_id}/events") as stream:
            for line in stream.iter_lines():
                if not line.startswith("data: "):
                    continue
                event = json.loads(line[6:])
                if event["event"] == "approval.request":
                    question = event
                    if answer is not None:
                        choice = {"choice": answer}
                        self.gateway.client.post(f"/v1/runs/{run_id}/approval", json=choice).raise_for_status()
        assert event["event"] == "run.completed", event
        return Said(event["output"], question)

    def run(self, command: str) -> str:
        return self.say(f"run: {self.fill(command)}").output

    def fill(self, value: Any) -> Any:
        """With the place of this test for `{root}`."""
        return json.loads(json.dumps(value).replace("{root}", str(self.root)))

    def instructions(self) -> str:
        self.say("hello")
        return str(self.model.requests[-1]["messages"][0]["content"])

    def offered(self) -> set[str]:
        self.say("hello")
        return {tool["function"]["name"] for tool in self.model.requests[-1].get("tools", ())}

    def docker(self) -> list[str]:
        """The words that the last container was made with."""
        self.run("true")
        calls = [json.loads(line) for line in (self.root / "docker" / "calls.jsonl").read_text().splitlines()]
        return [words for words in calls if words[0] == "run"][-1]


Seen = Callable[[Agent], Any]


@dataclass(frozen=True)
class Row:
    """`names`: the settings, as the document calls them. `first`: what has to be changed for it to be seen at all.
    `needs`: why it cannot be seen here, empty where it can."""

    names: str
    body: dict[str, Any]
    seen: Seen
    before: Any
    after: Any
    path: str = "permissions"
    first: dict[str, Any] = field(default_factory=dict)
    needs: str = ""

    def __str__(self) -> str:
        return f"{self.path.partition('/')[0]}:{self.names}"


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


def is_among_dockers_words(*words: str) -> Seen:
    return lambda agent: " ".join(words) in " ".join(agent.docker())


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
    Row("approvals.mode", approvals(mode="off"), is_asked, True, False),
    Row("approvals.timeout", approvals(timeout=7), patience, 60, 7),
    Row("approvals.cron_mode", approvals(cron_mode="approve"), is_run_by_a_job, False, True),
    Row("approvals.deny", approvals(deny=["rm *"]), is_asked, True, False),
    Row("command_allowlist", {"command_allowlist": ["recursive-delete: rm in {root}/work1"]}, is_asked, True, False),
    Row(
        "toolsets.enabled_toolsets",
        {"toolsets": {"enabled_toolsets": ["file"]}},
        lambda agent: sorted({"terminal", "read_file"} & agent.offered()),
        ["read_file", "terminal"],
        ["read_file"],
    ),
    Row(
        "toolsets.mcp_enabled",
        {"toolsets": {"mcp_enabled": False}},
        lambda agent: agent.say("ask the server").output == "echo: a page",
        True,
        False,
    ),
    Row(
        "terminal.backend",
        BUBBLEWRAP,
        output_of("test -e {root}/home1/logs && echo on the machine || echo in the sandbox"),
        "on the machine",
        "in the sandbox",
        needs=NO_BUBBLEWRAP,
    ),
    Row("terminal.cwd", terminal(cwd="{root}/elsewhere"), output_of("pwd"), "{root}/work1", "{root}/elsewhere"),
    Row(
        "terminal.timeout",
        terminal(timeout=0.3),
        lambda agent: "killed after 0.3 seconds" in agent.run("sleep 2"),
        False,
        True,
    ),
    Row(
        "terminal.max_timeout",
        terminal(max_timeout=50),
        lambda agent: agent.say("patient").output.splitlines()[0],
        "[exit code 0]",
        "timeout: at most 50 seconds; run longer commands with background=true and follow them with the process tool.",
    ),
    Row("terminal.output_characters", terminal(output_characters=500), lambda a: len(a.run(LOUD)) > 2000, True, False),
    Row(
        "terminal.max_processes",
        terminal(max_processes=1),
        lambda agent: agent.say("two servers").output.startswith("Started in the background"),
        True,
        False,
    ),
    Row("terminal.shell", terminal(shell="{root}/loud-shell"), output_of("true"), "[exit code 0]", "the other shell"),
    Row(
        "terminal.env_passthrough",
        terminal(env_passthrough=["PROBE_TOKEN"]),
        output_of('test -n "$PROBE_TOKEN" && echo there || echo gone'),
        "gone",
        "there",
    ),
    Row(
        "terminal.bubblewrap.network",
        terminal(bubblewrap={"network": True}),
        has_our_network,
        False,
        True,
        first=BUBBLEWRAP,
        needs=NO_BUBBLEWRAP,
    ),
    Row(
        "terminal.bubblewrap.binds",
        terminal(bubblewrap={"binds": ["{root}/elsewhere"]}),
        output_of(WRITES),
        "refused",
        "written",
        first=BUBBLEWRAP,
        needs=NO_BUBBLEWRAP,
    ),
    Row(
        "terminal.docker.image",
        terminal(docker={"image": "python:3.13"}),
        is_among_dockers_words("python:3.13"),
        False,
        True,
        first=DOCKER,
    ),
    Row(
        "terminal.docker.network",
        terminal(docker={"network": True}),
        is_among_dockers_words("--network", "none"),
        True,
        False,
        first=DOCKER,
    ),
    Row(
        "terminal.docker.memory",
        terminal(docker={"memory": "64m"}),
        is_among_dockers_words("--memory", "64m"),
        False,
        True,
        first=DOCKER,
    ),
    Row(
        "terminal.docker.mount",
        terminal(docker={"mount": False}),
        is_among_dockers_words("--workdir"),
        True,
        False,
        first=DOCKER,
    ),
    Row(
        "memory_enabled",
        {"memory_enabled": False},
        is_there("Deploys", Agent.instructions),
        True,
        False,
        "memory/settings",
    ),
    Row(
        "user_profile_enabled",
        {"userProfileEnabled": False},
        is_there("Likes tea", Agent.instructions),
        True,
        False,
        "memory/settings",
    ),
    Row("memory_char_limit", {"memory_char_limit": 300}, limit_of("MEMORY"), "2,200", "300", "memory/settings"),
    Row("user_char_limit", {"userCharLimit": 200}, limit_of("USER"), "1,375", "200", "memory/settings"),
    Row(
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
    with ScriptedModelServer(SCRIPT) as model:
        gateway = make_gateway(root, model, config, environ).start()
        tell_link(gateway)
        link = make_link(root, gateway.home).start()
        phone = link.phone()
        for target, content in (("memory", "Deploys on Fridays"), ("user", "Likes tea")):
            phone.post(f"{PROFILE}/memory/entries", {"target": target, "content": content})
        yield Agent(gateway, model, phone, root)
        link.close()
        gateway.close()


@pytest.fixture(autouse=True)
def _as_it_was(agent: Agent) -> Iterator[None]:
    """Each row begins with the settings that the gateway was started with."""
    files = [agent.gateway.home / name for name in ("config.yaml", ".env")]
    kept = [file.read_text() for file in files]
    yield
    for file, text in zip(files, kept, strict=True):
        copy = file.with_name(f"{file.name}.kept")
        copy.write_text(text)
        copy.chmod(0o600)
        copy.replace(file)


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_a_change_has_its_effect_with_the_next_run(agent: Agent, row: Row) -> None:
    if row.needs:
        pytest.skip(row.needs)
    if row.first:
        agent.phone.patch(f"{PROFILE}/{row.path}", agent.fill(row.first))
    assert row.seen(agent) == agent.fill(row.before)
    agent.phone.patch(f"{PROFILE}/{row.path}", agent.fill(row.body))
    assert row.seen(agent) == agent.fill(row.after)


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
    here = {(row.path.partition("/")[0], name) for row in TABLE for name in row.names.split()}
    here |= {("permissions", f"terminal.ssh.{name}") for name in SSH.split()}
    sendable = {
        (place.partition("/")[0], name)
        for place in ("permissions", "memory/settings", "skills/{skill_name}")
        for name in leaves(document, body_of(document, place))
    }
    assert sendable == here


def body_of(document: dict[str, Any], place: str) -> dict[str, Any]:
    operation = document["paths"][f"/api/v1/profiles/{{name}}/{place}"]["patch"]
    found: dict[str, Any] = operation["requestBody"]["content"]["application/json"]["schema"]
    return found


def leaves(document: dict[str, Any], schema: dict[str, Any], above: str = "") -> Iterator[str]:
    """The dotted names of what holds no others."""
    for one in (schema, *schema.get("anyOf", ())):
        if "$ref" in one:
            named = document["components"]["schemas"][one["$ref"].rpartition("/")[2]]
            for name, inner in named["properties"].items():
                within = list(leaves(document, inner, f"{above}{name}."))
                yield from within or [f"{above}{name}"]
