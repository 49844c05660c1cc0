"""`hermes doctor` as it is typed; each finding: tests/hermes/doctor."""

from __future__ import annotations

import json

from hermes.home.env import set_env
from hermes.home.paths import create_home
from hermes.models.scripted import ScriptedModelServer
from tests.support.cli import Hermes


def test_where_nothing_is_wrong_it_says_what_it_looked_at(hermes: Hermes) -> None:
    create_home(hermes.home)
    hermes.environ["API_SERVER_PORT"] = "0"
    with ScriptedModelServer(["ok"]) as server:
        hermes("model", "set", "m", "--base-url", server.base_url)
        done = hermes("doctor")
        assert len(server.requests) == 1
    assert (done.code, done.err) == (0, "")
    places, examined = done.out.splitlines()
    assert places.startswith("Commands can run: local, ")
    assert examined.startswith("Nothing is wrong. Examined: settings, keys,") and examined.endswith(", model.")


def test_what_is_wrong_is_told_with_its_mend_and_exit_code_1(hermes: Hermes) -> None:
    create_home(hermes.home)
    hermes.environ["API_SERVER_PORT"] = "0"
    set_env(hermes.home.env_file, "API_SERVER_KEY", "change-me-local-dev")
    set_env(hermes.home.env_file, "GATEWAY_ALLOW_ALL_USERS", "true")
    done = hermes("doctor", "--offline")
    assert done.code == 1
    assert done.out.splitlines()[:2] == [
        "warning: API_SERVER_KEY is printed in manuals [documented_key]",
        "  hermes config set API_SERVER_KEY $(openssl rand -hex 32)",
    ]
    assert done.out.endswith("1 to mend.\n")
    told = json.loads(hermes("doctor", "--offline", "--json").out)
    assert told["ok"] is False
    assert [(each["name"], each["severity"]) for each in told["findings"]] == [
        ("documented_key", "warning"),
        ("no_effect", "note"),
    ]
    assert "change-me" not in done.out


def test_notes_alone_are_nothing_wrong(hermes: Hermes) -> None:
    create_home(hermes.home)
    hermes.environ["API_SERVER_PORT"] = "0"
    hermes.environ["GATEWAY_ALLOW_ALL_USERS"] = "true"
    done = hermes("doctor", "--offline")
    assert done.code == 0
    assert "note: environment: GATEWAY_ALLOW_ALL_USERS is accepted and has no effect" in done.out
