"""monitoring.md, systemd.md, home-assistant.md, phone.md, switch-providers.md: their programs, units and commands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from jinja2 import Environment
from ruamel.yaml import YAML

from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway
from tests.acceptance.howto.conftest import needs
from tests.acceptance.link.process import free_port
from tests.support import waiting
from tests.support.examples import blocks_of, commands_of, environment, file_of, howto
from tests.support.machine import Machine
from tests.support.stand_in import Answer, Asked, StandIn

pytestmark = [pytest.mark.slow, pytest.mark.sqlite("what a page says is said once")]

eventually = partial(waiting.eventually, seconds=30.0)
SECONDS = 60


class Alarm(StandIn):
    def answer(self, asked: Asked) -> Answer:
        return Answer()

    @property
    def said(self) -> list[str]:
        return [asked.body.decode() for asked in self.asked]


@pytest.fixture
def alarm() -> Iterator[Alarm]:
    with Alarm() as alarm:
        yield alarm


def test_an_alarm_sounds_once_when_it_breaks_and_once_when_it_is_well(
    machine: Machine, alarm: Alarm, tmp_path: Path
) -> None:
    [line] = [line for line in commands_of(howto("monitoring")) if line.startswith("hermes keys")]
    key = machine.type(line).stdout.split()[-1]
    port = str(free_port())
    settings = {"API_SERVER_ENABLED": "true", "API_SERVER_KEY": "k" * 40, "API_SERVER_PORT": port}
    gateway = machine.start(**settings)
    program = tmp_path / "hermes_alert.py"
    program.write_text(file_of(howto("monitoring"), "hermes_alert.py"))
    own = {"HERMES_URL": gateway.url, "HERMES_KEY": key, "ALERT_URL": alarm.url, "STATE_DIRECTORY": str(tmp_path)}

    def minute(**changed: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-W", "error", str(program)],
            env={"PATH": os.environ["PATH"], **own, **changed},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return alarm.said

    assert minute() == minute() == []
    assert minute(HERMES_KEY="revoked") == ["Hermes is not well: answers 401"]
    assert minute()[1:] == ["Hermes is well again (was: answers 401)"]
    gateway.stop()
    assert minute()[2].startswith("Hermes is not well: does not answer: ")
    assert len(minute()) == 3
    machine.start(**settings)
    assert len(minute()) == 4


def test_an_alarm_names_the_check_that_fails_and_is_repeated_until_it_could_be_told(
    machine: Machine, model: ScriptedModelServer, alarm: Alarm, tmp_path: Path
) -> None:
    class Sick(StandIn):
        def answer(self, asked: Asked) -> Answer:
            checks = {"disk": {"status": "degraded", "detail": "300 MB are free"}, "model": {"status": "ok"}}
            return Answer.of({"status": "degraded", "readiness": {"status": "degraded", "checks": checks}})

    program = tmp_path / "hermes_alert.py"
    program.write_text(file_of(howto("monitoring"), "hermes_alert.py"))
    environ = {"PATH": os.environ["PATH"], "HERMES_KEY": "x", "STATE_DIRECTORY": str(tmp_path)}
    with Sick() as sick:
        codes = []
        for url in ("http://127.0.0.1:9", alarm.url, alarm.url):
            own = {**environ, "HERMES_URL": sick.url, "ALERT_URL": url}
            done = subprocess.run([sys.executable, str(program)], env=own, capture_output=True, timeout=SECONDS)
            codes.append(done.returncode)
    assert codes == [1, 0, 0]
    assert alarm.said == ["Hermes is not well: disk: 300 MB are free"]


def test_the_checks_have_the_shape_that_the_alarm_reads(gateway: Gateway) -> None:
    checks = gateway.client.get("/health/detailed").json()["readiness"]["checks"]
    assert {"state_db", "model", "disk"} <= checks.keys() and all("status" in check for check in checks.values())


def test_every_metric_of_the_rules_is_one_of_ours(gateway: Gateway, model: ScriptedModelServer) -> None:
    rules = YAML(typ="safe").load(file_of(howto("monitoring"), "hermes.rules.yml"))
    names = {
        name for group in rules["groups"] for rule in group["rules"] for name in re.findall(r"hermes_\w+", rule["expr"])
    }
    hello = {"model": "hermes-agent", "messages": [{"role": "user", "content": "Hello"}]}
    model.add("Hello.")
    gateway.client.post("/v1/chat/completions", json=hello).raise_for_status()
    told = gateway.client.get("/metrics").text
    assert names and [name for name in names if name not in told] == []


UNITS = [
    (page, block.name)
    for page in ("systemd", "monitoring")
    for block in blocks_of(howto(page))
    if block.language == "ini" and block.name
]


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    needs("systemd-analyze")
    names = []
    for page, path in UNITS:
        text = file_of(howto(page), path)
        text = re.sub(
            r"^ExecStart=(\S+)", f"ExecStart={sys.executable}", text, flags=re.M
        )  # it looks whether it is there
        text = text.replace("User=hermes\n", "User=root\n")
        name = Path(path).name
        (tmp_path / name).write_text(text)
        names.append(name)
    assert len(names) == 4
    command = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in names)]
    environ = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environ)
    complaints = [line for line in done.stderr.splitlines() if any(name in line for name in names)]
    assert (complaints, done.returncode) == ([], 0), done.stderr


def test_the_unit_of_a_servers_user_is_that_of_install_but_for_who_and_where(machine: Machine) -> None:
    ours = machine.type("hermes gateway install --print").stdout
    theirs = file_of(howto("systemd"), "/etc/systemd/system/hermes.service")
    own = {"ExecStart", "Environment", "WorkingDirectory", "WantedBy", "Description"}
    lines = [line for line in ours.splitlines() if "=" in line and not line.startswith("#")]
    kept = [line for line in lines if line.partition("=")[0] not in own]
    assert kept and [line for line in kept if line not in theirs.splitlines()] == []
    commands = re.findall(r"^ExecStart=/opt/hermes/bin/(\S+) (.+)$", theirs, re.M)
    assert commands == [("hermes", "gateway run")]


def _home_assistant(name: str) -> Any:
    yaml = YAML(typ="safe")
    yaml.constructor.add_constructor("!secret", lambda _, node: f"secret {node.value}")
    return yaml.load(file_of(howto("home-assistant"), name))


def _filled(template: str, **values: Any) -> str:
    """As Home Assistant fills templates in; its `to_json` writes JSON and escapes nothing more."""
    environment = Environment(autoescape=False)
    environment.filters["to_json"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string(template).render(**values)


def test_an_automation_of_home_assistant_gets_its_answer(gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step(text="A coat.", times=0))
    command = _home_assistant("configuration.yaml")["rest_command"]["ask_hermes"]
    assert command["headers"].pop("Authorization") == "secret hermes_authorization"
    assert (command["method"], command["url"]) == ("post", "http://192.168.1.20:8642/v1/chat/completions")
    steps = _home_assistant("scripts.yaml")["morning_briefing"]["sequence"]
    assert steps[0]["action"] == "rest_command.ask_hermes"
    text = 'It is 07:00, and "−3" °C outside.\nWhat should I wear? {"role": "system"}'

    answer = gateway.client.post(
        "/v1/chat/completions",
        content=_filled(command["payload"], text=text).encode(),
        headers={**command["headers"], "Content-Type": command["content_type"]},
        timeout=command["timeout"],
    )

    assert answer.status_code == 200, answer.text
    assert [m["content"] for m in model.requests[0]["messages"] if m["role"] == "user"] == [text]
    given = {steps[0]["response_variable"]: {"status": answer.status_code, "content": answer.json()}}
    assert _filled(steps[1]["data"]["message"], **given).strip() == "A coat."
    refused = {"answer": {"status": 502, "content": {"error": {}}}}
    assert _filled(steps[1]["data"]["message"], **refused) == "Hermes does not answer (502)."


def test_the_commands_of_home_assistant_are_taken(machine: Machine) -> None:
    lines = [line for line in commands_of(howto("home-assistant")) if line.startswith("hermes ")]
    assert len(lines) == 4
    for line in lines:
        done = machine.type(f"echo eyJtoken | {line}")
        assert done.returncode == 0, (line, done.stderr)
    assert "homeassistant" in machine.type("hermes tools list").stdout


def test_the_ways_of_a_phone_are_commands_that_work(machine: Machine, model: ScriptedModelServer) -> None:
    needs("openssl")
    model.add("Hello, phone.")
    port, link_port = free_port(), free_port()
    machine.command.with_name("hermeslink").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hermeslink "$@"\n')
    machine.command.with_name("hermeslink").chmod(0o755)
    machine.type(f"hermes config set API_SERVER_ENABLED true && hermes config set API_SERVER_PORT {port}")
    machine.type(f"hermeslink config set port {link_port}")
    lines = commands_of(howto("phone"))
    try:
        said = ""
        for line in lines:
            if line == "hermeslink devices revoke dev_…":
                continue  # no device was paired
            done = machine.type(line)
            assert done.returncode == 0, (line, done.stdout, done.stderr)
            said = done.stdout
            if line == "hermeslink pair":
                assert "Connect token:" in done.stdout + done.stderr
        key = said.split()[-1]
        answer = httpx.post(
            f"http://127.0.0.2:{port}/v1/chat/completions",  # another address of the machine, as on a network
            headers={"Authorization": f"Bearer {key}"},
            json={"model": "hermes-agent", "messages": [{"role": "user", "content": "Hello"}]},
            timeout=30,
        )
        assert answer.json()["choices"][0]["message"]["content"] == "Hello, phone."
    finally:
        machine.type("hermeslink stop; hermes gateway stop")


def test_one_program_asks_hermes_and_its_provider_by_the_address_alone(
    gateway: Gateway, model: ScriptedModelServer, tmp_path: Path
) -> None:
    model.add(Step(text="You said: {{user}}", times=0))
    (tmp_path / "ask.py").write_text(file_of(howto("switch-providers"), "ask.py"))
    table = re.findall(
        r"^\| ([^|]+) \| `(http[^`]+)` \| [^|]+ \| ([^|]+) \|$", howto("switch-providers").read_text(), re.M
    )
    assert [urlname for urlname, _, _ in table] == [
        "Hermes",
        "a profile of Hermes",
        "OpenAI",
        "OpenRouter",
        "Ollama",
        "LM Studio",
    ]
    for provider, url, name in table:
        assert re.search(r"/v1$", url)
        is_ours = "Hermes" in provider
        base = gateway.base_url if is_ours else model.base_url
        more = {} if is_ours or "`" not in name else {"MODEL": name.strip("`")}
        done = subprocess.run(
            [sys.executable, "ask.py", "Hello", provider],
            cwd=tmp_path,
            env=environment(tmp_path, OPENAI_BASE_URL=base, OPENAI_API_KEY=gateway.key if is_ours else "sk-x", **more),
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert (done.returncode, done.stdout) == (0, f"You said: Hello {provider}\n"), done.stderr
        tools = bool(model.requests[-1].get("tools"))
        assert (tools, model.requests[-1]["model"]) == (is_ours, more.get("MODEL", "scripted"))


def test_each_provider_can_stand_behind_hermes(machine: Machine) -> None:
    lines = [line for line in commands_of(howto("switch-providers")) if line.startswith("hermes model set")]
    providers = []
    for line in lines:
        done = machine.type(line)
        assert done.returncode == 0, (line, done.stderr)
        config = YAML(typ="safe").load(machine.home / "config.yaml")["model"]
        providers.append(config.get("base_url") or config["provider"])
    assert providers == ["openai", "openrouter", "ollama", "http://127.0.0.1:1234/v1"]
