"""The official `openai` package for JavaScript against a real gateway. Node and npm come from the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes.models.scripted import Call, ScriptedModelServer, Step
from tests.acceptance.conftest import Gateway
from tests.support import openai_js
from tests.support.openai_js import Run

SCRIPT = Path(__file__).with_name("openai_client.mjs")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package and the script."""
    return openai_js.install(tmp_path_factory.mktemp("openai-js"), SCRIPT)


@pytest.fixture
def run(package: Path, gateway: Gateway) -> Run:
    return openai_js.runner(package, SCRIPT, gateway)


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
