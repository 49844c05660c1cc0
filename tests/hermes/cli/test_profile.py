"""`hermes profile`."""

from __future__ import annotations

import json

from hermes.home.env import read_env
from tests.support.cli import Hermes


def test_create_says_what_to_do_next(hermes: Hermes) -> None:
    done = hermes("profile", "create", "alice")
    assert done.code == 0
    first, *commands, hint = done.out.splitlines()
    assert "under /p/alice/v1" in hint
    assert first.startswith(f"Made profile alice in {hermes.home.path}/profiles/alice.")
    assert [line.strip() for line in commands] == [
        "hermes -p alice config set API_SERVER_ENABLED true",
        "hermes -p alice config set API_SERVER_PORT 8643",
        "hermes -p alice gateway",
    ]
    for line in commands[:-1]:
        assert hermes(*line.split()[1:]).code == 0


def test_create_twice_is_an_error(hermes: Hermes) -> None:
    hermes("profile", "create", "alice")
    done = hermes("profile", "create", "alice")
    assert (done.code, done.err) == (
        1,
        "hermes: there is a profile 'alice' already; see it with: hermes profile show alice\n",
    )


def test_a_bad_name_exits_2_and_makes_nothing(hermes: Hermes) -> None:
    assert hermes("profile", "create", "../evil").code == 2
    assert not hermes.home.path.exists()


def test_a_clone_has_the_current_profiles_model_and_its_own_key(hermes: Hermes) -> None:
    hermes("config", "set", "model.default", "gpt-5")
    hermes("config", "set", "OPENAI_API_KEY", "sk-x")
    hermes("profile", "create", "one", "--clone")
    hermes("-p", "one", "config", "set", "model.default", "gpt-6")
    hermes("-p", "one", "profile", "create", "two", "--clone")
    assert hermes("-p", "one", "config", "get", "model.default").out == "gpt-6\n"
    assert hermes("-p", "two", "config", "get", "model.default").out == "gpt-6\n"
    assert hermes("-p", "two", "config", "get", "OPENAI_API_KEY", "--reveal").out == "sk-x\n"
    profiles = hermes.home.path / "profiles"
    keys = {
        read_env(path / ".env")["API_SERVER_KEY"] for path in (hermes.home.path, profiles / "one", profiles / "two")
    }
    assert len(keys) == 3


def test_the_list_marks_the_current_one(hermes: Hermes) -> None:
    hermes("config", "set", "model.default", "gpt-5")
    hermes("profile", "create", "alice")
    rows = [line.split() for line in hermes("-p", "alice", "profile", "list").out.splitlines()]
    assert rows == [
        ["name", "api", "model", "path"],
        ["default", "on", "gpt-5", str(hermes.home.path)],
        ["*", "alice", "off", "-", f"{hermes.home.path}/profiles/alice"],
    ]


def test_the_environment_speaks_for_the_current_profile_only(hermes: Hermes) -> None:
    hermes("profile", "create", "alice")
    hermes.environ["API_SERVER_PORT"] = "9000"
    listed = {each["name"]: each["port"] for each in json.loads(hermes("profile", "list", "--json").out)}
    assert listed == {"default": 9000, "alice": 8642}


def test_show_takes_a_name_or_the_current_one(hermes: Hermes) -> None:
    hermes("profile", "create", "alice")
    by_name = json.loads(hermes("profile", "show", "alice", "--json").out)
    assert by_name == json.loads(hermes("-p", "alice", "profile", "show", "--json").out)
    assert (by_name["name"], by_name["api_enabled"], by_name["url"], by_name["problems"]) == ("alice", False, None, 0)
    done = hermes("profile", "show", "bob")
    assert (done.code, done.err) == (1, "hermes: no profile 'bob'; list them with: hermes profile list\n")
