"""The published quick starts, word for word but for the ports: real processes, an empty home, a scripted model."""

from __future__ import annotations

import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from hermes.models.scripted import ScriptedModelServer
from tests.support.machine import Machine

HELLO = {"model": "hermes-agent", "messages": [{"role": "user", "content": "Hello!"}]}


@pytest.fixture
def machine(tmp_path: Path, model: ScriptedModelServer) -> Iterator[Machine]:
    machine = Machine(tmp_path, model)
    yield machine
    for gateway in machine.gateways:
        gateway.close()


@pytest.fixture
def free_port() -> Callable[[], int]:
    held: set[int] = set()

    def find() -> int:
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port: int = probe.getsockname()[1]
            if port not in held:
                held.add(port)
                return port

    return find


def ask(url: str, key: str) -> httpx.Response:
    return httpx.post(f"{url}/v1/chat/completions", headers={"Authorization": f"Bearer {key}"}, json=HELLO, timeout=30)


def answer(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    text: str = response.json()["choices"][0]["message"]["content"]
    return text


def test_two_exported_variables_and_the_gateway_are_enough_on_an_empty_machine(
    machine: Machine, model: ScriptedModelServer
) -> None:
    model.add("Hello, I am Hermes.")
    gateway = machine.start(
        API_SERVER_ENABLED="true", API_SERVER_KEY="change-me-local-dev", API_SERVER_PORT="0", key="change-me-local-dev"
    )
    assert answer(ask(gateway.url, "change-me-local-dev")) == "Hello, I am Hermes."
    own_key = machine.type("hermes config get API_SERVER_KEY --reveal").stdout.strip()
    assert len(own_key) == 64
    assert ask(gateway.url, own_key).status_code == 401, "the environment beats .env"
    (warning,) = [line for line in gateway.errors.splitlines() if "API_SERVER_KEY" in line]
    assert "printed in manuals" in warning
    assert gateway.stop() == 0


def test_the_same_two_values_in_dotenv_do_it_too(machine: Machine, model: ScriptedModelServer) -> None:
    model.add("From the file.")
    done = machine.type(
        "hermes config set API_SERVER_ENABLED true && hermes config set API_SERVER_KEY change-me-local-dev && "
        "hermes config set API_SERVER_PORT 0"
    )
    assert done.returncode == 0, done.stderr
    gateway = machine.start(key="change-me-local-dev")
    assert answer(ask(gateway.url, "change-me-local-dev")) == "From the file."


def test_a_first_start_with_nothing_makes_a_home_that_only_its_owner_can_read(
    machine: Machine, model: ScriptedModelServer
) -> None:
    model.add("Made myself at home.")
    gateway = machine.start(API_SERVER_PORT="0")
    assert str(machine.home) in gateway.output[0]
    key = machine.type("hermes config get API_SERVER_KEY --reveal").stdout.strip()
    assert key not in "\n".join(gateway.output) + gateway.errors
    assert answer(ask(gateway.url, key)) == "Made myself at home."
    assert (machine.home / "SOUL.md").read_text()
    assert "API_SERVER_ENABLED=true" in (machine.home / ".env").read_text().splitlines()
    for path in [machine.home, *machine.home.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_line_that_is_printed_works_as_it_stands(machine: Machine, model: ScriptedModelServer) -> None:
    model.add("Three files.")
    with machine.window(API_SERVER_PORT="0") as lines:
        line = next(line for line in lines if line.lstrip().startswith("curl "))
        done = machine.type(line)
    assert '"Three files."' in done.stdout, done.stderr


def test_two_profiles_run_side_by_side_and_share_nothing(
    machine: Machine, model: ScriptedModelServer, free_port: Callable[[], int]
) -> None:
    ports = {"alice": free_port(), "bob": free_port()}
    for name, port in ports.items():
        done = machine.type(
            f"hermes profile create {name} && hermes -p {name} config set API_SERVER_ENABLED true && "
            f"hermes -p {name} config set API_SERVER_KEY {name}-secret && "
            f"hermes -p {name} config set API_SERVER_PORT {port}"
        )
        assert done.returncode == 0, done.stderr
    gateways = {name: machine.start("-p", name, key=f"{name}-secret") for name in ports}
    for name, gateway in gateways.items():
        assert gateway.url == f"http://127.0.0.1:{ports[name]}"
        other = "bob-secret" if name == "alice" else "alice-secret"
        assert ask(gateway.url, other).status_code == 401
        model.add(f"I am {name}.")
        assert answer(ask(gateway.url, f"{name}-secret")) == f"I am {name}."
        listed = gateway.client.get("/v1/models").json()["data"]
        assert [entry["id"] for entry in listed] == [name]
    shown = machine.type("hermes profile list").stdout
    for name, gateway in gateways.items():
        assert f"{name}  " in shown
        assert gateway.url in shown
    assert not (machine.home / "state.db").exists(), "the default profile has no part in it"


@pytest.mark.parametrize(
    ("key", "host"), [("change-me-local-dev", "0.0.0.0"), ("sixteen-letters!!", "::"), ("a" * 40, "0.0.0.0")]
)
def test_off_loopback_a_key_that_can_be_guessed_is_refused_with_the_way_out(
    machine: Machine, key: str, host: str
) -> None:
    done = machine.type(
        "hermes gateway", API_SERVER_ENABLED="true", API_SERVER_KEY=key, API_SERVER_HOST=host, API_SERVER_PORT="0"
    )
    assert done.returncode == 2
    assert "hermes config set API_SERVER_KEY $(openssl rand -hex 32)" in done.stderr
    assert "listening" not in done.stdout
    assert key not in done.stderr


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_way_out_of_a_refusal_is_one(machine: Machine, model: ScriptedModelServer) -> None:
    model.add("Open, and safe.")
    machine.type("hermes config set API_SERVER_KEY alice-secret && hermes config set API_SERVER_HOST 0.0.0.0")
    refused = machine.type("hermes gateway", API_SERVER_PORT="0")
    assert refused.returncode == 2
    way_out = refused.stderr.strip().rpartition("make one with: ")[2]
    assert machine.type(way_out).returncode == 0
    gateway = machine.start(API_SERVER_PORT="0")
    key = machine.type("hermes config get API_SERVER_KEY --reveal").stdout.strip()
    port = gateway.url.rpartition(":")[2]
    assert answer(ask(f"http://127.0.0.1:{port}", key)) == "Open, and safe."


def test_without_a_key_nothing_starts(machine: Machine) -> None:
    machine.home.mkdir(mode=0o700)
    (machine.home / ".env").write_text("API_SERVER_ENABLED=true\nAPI_SERVER_KEY=\n")
    done = machine.type("hermes gateway", API_SERVER_PORT="0")
    assert done.returncode == 2
    assert "no key never starts" in done.stderr
    assert "hermes config set API_SERVER_KEY" in done.stderr


def test_an_existing_home_that_does_not_want_the_api_is_told_how_to_switch_it_on(machine: Machine) -> None:
    machine.home.mkdir(mode=0o700)
    (machine.home / "config.yaml").write_text("model: {default: x}\n")
    (machine.home / "config.yaml").chmod(0o600)
    with machine.window() as lines:
        line = lines.readline()
    assert line.startswith("The API server is off") and "this gateway runs jobs only" in line
    assert "hermes config set API_SERVER_ENABLED true" in line


def test_a_wrong_value_stops_the_start_and_an_unknown_name_is_only_named(
    machine: Machine, model: ScriptedModelServer
) -> None:
    machine.type("hermes config set model.default scripted")
    config = machine.home / "config.yaml"
    text = config.read_text()
    config.write_text(text + "approvals: {mode: manul}\n")
    refused = machine.type("hermes gateway", API_SERVER_PORT="0")
    assert refused.returncode == 2
    assert "config.yaml: approvals.mode: expected one of manual, smart, off, not 'manul'" in refused.stderr
    config.write_text(text + "approvals: {mod: manual}\n")
    gateway = machine.start(API_SERVER_PORT="0")
    assert "config.yaml: approvals.mod is no setting; did you mean approvals.mode?" in gateway.errors
