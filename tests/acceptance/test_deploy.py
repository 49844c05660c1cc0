"""The files of deploy/ against what the server is: names that exist, times that fit together."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from hermes.gateway.serve import EXIT_SECONDS
from hermes.home.names import PLACES, env_names
from hermes.http.server import KEEP_ALIVE_SECONDS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
NODES = ("hermes1", "hermes2")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(DEPLOY / "compose.yaml")
    return loaded


def test_every_variable_that_a_node_gets_is_a_setting(compose: dict[str, Any]) -> None:
    image = re.findall(r"\b((?:API_SERVER|HERMES)_[A-Z_]+)=", (DEPLOY / "Dockerfile").read_text())
    given = {*compose["services"]["hermes1"]["environment"], *image}
    assert given - {*env_names(), *PLACES} == set()


def test_nodes_are_the_same_but_for_their_homes(compose: dict[str, Any]) -> None:
    own = {"volumes": "a home", "hostname": "its name in hermes nodes"}
    first, second = ({**compose["services"][name]} for name in NODES)
    assert {key for key in first if first[key] != second[key]} == own.keys()
    assert [compose["services"][name]["volumes"] for name in NODES] == [[f"{name}:/home/hermes"] for name in NODES]
    behind = compose["services"]["proxy"]["environment"]["HERMES_NODES"].split()
    assert {name.partition(":")[0] for name in behind} == {*NODES}


def test_no_key_is_written_there_and_none_can_be_forgotten(compose: dict[str, Any]) -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    assert "${POSTGRES_PASSWORD:?" in text
    environment = compose["services"]["hermes1"]["environment"]
    for name in ("API_SERVER_KEY", "API_SERVER_CALLBACK_SECRET"):
        assert environment[name].startswith(f"${{{name}:?"), name


def test_a_stopping_node_has_the_time_it_takes(compose: dict[str, Any]) -> None:
    node = compose["services"]["hermes1"]
    environment = node["environment"]
    delay, drain = float(environment["API_SERVER_DRAIN_DELAY"]), float(environment["API_SERVER_DRAIN_TIMEOUT"])
    proxy = (DEPLOY / "Caddyfile").read_text()
    assert _seconds(node["stop_grace_period"]) > delay + drain + EXIT_SECONDS
    assert delay > 2 * _setting(proxy, "health_interval"), "the proxy has to notice before anything is refused"
    assert _setting(proxy, "keepalive") < KEEP_ALIVE_SECONDS, "the side that asks closes first"


def test_the_image_is_made_of_files_that_are_there_and_runs_as_nobody_in_particular() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    copied = [name for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.M) for name in line.split()[:-1]]
    assert copied and [name for name in copied if not (ROOT / name).exists()] == []
    let_in = re.findall(r"^!(.+)$", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.M)
    assert {*copied} == {*let_in}
    assert re.findall(r"^USER (.+)$", text, re.M) == ["10001"]


def test_keys_are_made_once_and_are_nobody_elses_to_read(tmp_path: Path) -> None:
    script = shutil.copy(DEPLOY / "make-env.sh", tmp_path)
    made = subprocess.run(["sh", script], capture_output=True, text=True, timeout=30)
    assert made.returncode == 0, made.stderr
    file = tmp_path / ".env"
    first = file.read_text()
    keys = re.findall(r"^[A-Z_]+=([0-9a-f]{64})$", first, re.M)
    assert (len(set(keys)), stat.S_IMODE(file.stat().st_mode)) == (3, 0o600)
    assert subprocess.run(["sh", script], capture_output=True, timeout=30).returncode == 1
    assert file.read_text() == first


def _setting(proxy: str, name: str) -> float:
    [value] = re.findall(rf"^\s*{name} (\S+)$", proxy, re.M)
    return _seconds(value)


def _seconds(text: str) -> float:
    assert text.endswith("s"), text
    return float(text[:-1])
