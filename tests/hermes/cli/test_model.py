"""`hermes model`."""

from __future__ import annotations

import json

import pytest

from hermes.home.config_file import read_config
from hermes.models.scripted import ScriptedModelServer
from tests.support.cli import Hermes


@pytest.fixture(autouse=True)
def no_local_models(hermes: Hermes) -> None:
    hermes.environ["OLLAMA_HOST"] = "127.0.0.1:1"


def test_a_configured_model_is_shown_with_its_reason(hermes: Hermes) -> None:
    hermes("model", "set", "qwen3", "--base-url", "http://127.0.0.1:9/v1")
    done = hermes("model")
    assert done.code == 0
    first, second, *_ = done.out.splitlines()
    assert first.startswith("qwen3 of ")
    assert first.endswith(" at http://127.0.0.1:9/v1")
    assert second == "because set in model"


def test_that_there_is_none_is_said_once(hermes: Hermes, caplog: pytest.LogCaptureFixture) -> None:
    hermes("config", "set", "model.provider", "openai")
    assert hermes("model").out.startswith("No language model: ")
    assert [record for record in caplog.records if record.name.startswith("hermes")] == []


def test_a_key_in_dotenv_is_found_and_never_shown(hermes: Hermes) -> None:
    hermes("config", "set", "GROQ_API_KEY", "canary-groq")
    facts = json.loads(hermes("model", "--json").out)
    assert (facts["choice"]["provider"], facts["choice"]["source"]) == ("groq", "environment")
    assert "GROQ_API_KEY" in facts["choice"]["why"]
    for arguments in (("model",), ("model", "--json")):
        assert "canary" not in hermes(*arguments).out


def test_a_local_server_is_found(hermes: Hermes) -> None:
    with ScriptedModelServer(()) as server:
        hermes("model", "set", "scripted", "--base-url", server.base_url)
        facts = json.loads(hermes("model", "--json").out)
    assert facts["choice"]["model"] == "scripted"
    assert {"openai", "ollama", "lmstudio", "embedded"} <= {each["provider"] for each in facts["candidates"]}


def test_set_replaces_the_whole_model_and_keeps_comments(hermes: Hermes) -> None:
    hermes("config", "set", "model.default", "old")
    hermes.home.config_file.write_text(
        "# mine\nmodel:  # the model\n  default: old  # why\n  provider: openai\n  context_length: 1000\n"
    )
    assert hermes("model", "set", "new", "--key-env", "MY_KEY").code == 0
    assert hermes.home.config_file.read_text() == (
        "# mine\nmodel:  # the model\n  default: new  # why\n  key_env: MY_KEY\n"
    )
    assert hermes("model", "unset").code == 0
    assert read_config(hermes.home.config_file) == {}


def test_a_wrong_address_is_refused(hermes: Hermes) -> None:
    done = hermes("model", "set", "x", "--base-url", "127.0.0.1:9")
    assert done.code == 2
    assert "expected an address that starts with http://" in done.err
    assert read_config(hermes.home.config_file) == {}


def test_to_choose_takes_a_person(hermes: Hermes) -> None:
    done = hermes("model", "choose")
    assert (done.code, done.out) == (2, "")
    assert "in a script: hermes model set NAME" in done.err
