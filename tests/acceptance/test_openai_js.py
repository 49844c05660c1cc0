"""The official `openai` package for JavaScript against a real gateway. Node and npm come from the machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hermes.models.scripted import Call, ScriptedModelServer, Step
from tests.acceptance.conftest import Gateway

SCRIPT = Path(__file__).with_name("openai_client.mjs")

Run = Callable[[str], Any]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package and the script."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        assert os.environ.get("CI") != "true", "CI needs node and npm"
        pytest.skip("node and npm are not installed: the JavaScript client is not tested")
    folder = tmp_path_factory.mktemp("openai-js")
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder), "openai@6"]
    done = subprocess.run(install, capture_output=True, text=True, timeout=100)
    if done.returncode != 0:
        assert os.environ.get("CI") != "true", done.stderr
        pytest.skip(f"npm cannot install openai: the JavaScript client is not tested ({done.stderr.strip()[-200:]})")
    shutil.copy(SCRIPT, folder / SCRIPT.name)
    return folder


@pytest.fixture
def run(package: Path, gateway: Gateway) -> Run:
    def run(scenario: str) -> Any:
        command = ["node", SCRIPT.name, gateway.base_url, gateway.key, scenario]
        done = subprocess.run(command, cwd=package, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_it_chats(run: Run, model: ScriptedModelServer) -> None:
    model.add("Hello there")
    told = run("chat")
    assert (told["text"], told["finish"], told["session"]) == ("Hello there", "stop", True)
    assert told["tokens"] > 0


def test_it_reads_a_stream_with_the_servers_tools_in_it(run: Run, model: ScriptedModelServer) -> None:
    model.add(Step(text="Let me look.", tool_calls=(Call("terminal", {"command": "true"}),)), Step(text=["Do", "ne."]))
    assert run("stream") == {
        "text": "Let me look.\n\nDone.",
        "usage": True,
        "tools": [["terminal", "running"], ["terminal", "completed"]],
    }


def test_its_streaming_helper_gathers_such_a_stream(run: Run, model: ScriptedModelServer) -> None:
    model.add(Step(tool_calls=(Call("terminal", {"command": "true"}),)), "Done.")
    assert run("helper") == {"text": "Done.", "finish": "stop"}


def test_it_answers_an_approval_of_its_own_stream(run: Run, gateway: Gateway, model: ScriptedModelServer) -> None:
    (gateway.workdir / "old").mkdir()
    model.add(Step(tool_calls=(Call("terminal", {"command": "rm -rf old"}),)), "Deleted.")
    assert run("approval") == {"text": "Deleted.", "asked": ["rm -rf old"]}
    assert not (gateway.workdir / "old").exists()


def test_its_tool_runner_runs_the_clients_tools(run: Run, model: ScriptedModelServer) -> None:
    model.add(Step(tool_calls=(Call("get_weather", {"city": "Paris"}),)), "It is {{tool}}.")
    assert run("clientTools") == {"text": "It is sunny.", "asked": ["Paris"]}


def test_it_lists_the_models(run: Run) -> None:
    assert run("models") == {"ids": ["hermes-agent"], "one": "hermes-agent"}


def test_it_raises_the_class_for_each_status(run: Run, model: ScriptedModelServer) -> None:
    model.add(Step(status=429, headers={"Retry-After": "3600"}), Step(status=401, times=0))
    assert run("errors") == {
        "400": ["BadRequestError", 400, "invalid_request"],
        "401": ["AuthenticationError", 401, "invalid_api_key"],
        "404": ["NotFoundError", 404, "model_not_found"],
        "upstream 429": ["RateLimitError", 429, "upstream_rate_limited"],
        "upstream 401": ["InternalServerError", 502, "upstream_auth"],
        "stream": ["APIError", None, "upstream_auth"],
    }
