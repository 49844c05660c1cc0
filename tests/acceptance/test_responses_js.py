"""The responses API by the official `openai` package for JavaScript, against a real gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes.models.scripted import Call, ScriptedModelServer, Step
from tests.acceptance.conftest import Gateway
from tests.support import openai_js
from tests.support.openai_js import Run

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("responses_client.mjs")
LOOK = Step(text="Let me look.", tool_calls=(Call("terminal", {"command": "true"}),))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package and the script."""
    return openai_js.install(tmp_path_factory.mktemp("openai-js"), SCRIPT)


@pytest.fixture
def run(package: Path, gateway: Gateway) -> Run:
    return openai_js.runner(package, SCRIPT, gateway)


def test_it_makes_a_chain_reads_it_and_deletes(run: Run, model: ScriptedModelServer) -> None:
    model.add("first", "second")
    assert run("create") == {"texts": ["first", "second"], "same": True, "items": ["two"]}


def test_its_streaming_helper_gathers_a_stream_with_the_servers_tools_in_it(
    run: Run, model: ScriptedModelServer
) -> None:
    model.add(LOOK, Step(text=["Do", "ne."]), LOOK, "Done.")
    kinds = ["message", "function_call", "function_call_output", "message"]
    assert run("helper") == {"deltas": "Let me look.Done.", "text": "Let me look.Done.", "kinds": kinds}
    assert run("mcp") == {"text": "Let me look.Done.", "kinds": ["message", "mcp_call", "message"]}


def test_it_answers_an_approval_of_its_own_stream(run: Run, gateway: Gateway, model: ScriptedModelServer) -> None:
    (gateway.workdir / "old").mkdir()
    model.add(Step(tool_calls=(Call("terminal", {"command": "rm -rf old"}),)), "Deleted.")
    assert run("approval") == {"text": "Deleted.", "asked": ["rm -rf old"]}
    assert not (gateway.workdir / "old").exists()


def test_it_runs_a_tool_of_its_own(run: Run, model: ScriptedModelServer) -> None:
    model.add(Step(tool_calls=(Call("get_weather", {"city": "Paris"}),)), "It is {{tool}}.")
    assert run("clientTools") == {"asked": "Paris", "text": "It is sunny."}


def test_it_takes_up_a_stream_in_the_background(run: Run, model: ScriptedModelServer) -> None:
    model.add(Step(text=["Do", "ne."], delay_ms=20))
    assert run("background") == {"gapless": True, "text": "Done."}
