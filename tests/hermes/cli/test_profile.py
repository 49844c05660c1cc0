"""`hermes profile`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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


def test_a_profile_goes_to_the_trash_and_comes_back_by_what_is_said(hermes: Hermes) -> None:
    hermes("profile", "create", "alice")
    done = hermes("profile", "delete", "alice")
    assert done.code == 0
    _, source, target = done.out.splitlines()[-1].split()
    assert "/trash/alice-" in source
    assert target == f"{hermes.home.path}/profiles/alice"
    assert hermes("profile", "show", "alice").code == 1
    assert hermes("profile", "delete", "alice").code == 1
    hermes("profile", "create", "alice")
    assert hermes("profile", "delete", "alice", "--now").out == "Removed the profile alice for good.\n"


def test_use_chooses_what_commands_without_p_mean(hermes: Hermes) -> None:
    """Where HERMES_HOME is not set: it would win."""
    environ = {"HOME": str(hermes.home.path.parent), "HERMES_HOME": ""}
    hermes.environ = environ
    hermes("profile", "create", "alice")
    assert hermes("profile", "use", "alice").out == "Commands without -p now mean the profile alice.\n"
    listed = hermes("profile", "list").out.splitlines()
    assert [line.split()[:2] for line in listed[1:3]] == [["default", "off"], ["*", "alice"]]
    assert "hermes profile use default" in listed[-1]
    assert json.loads(hermes("-p", "default", "profile", "show", "--json").out)["name"] == "default"
    hermes("profile", "rename", "alice", "bob")
    assert json.loads(hermes("profile", "show", "--json").out)["name"] == "bob"
    hermes("profile", "use", "default")
    assert json.loads(hermes("profile", "show", "--json").out)["name"] == "default"
    hermes.environ = {}
    hermes("profile", "create", "carol")
    assert "HERMES_HOME is set, and wins" in hermes("profile", "use", "carol").out
    assert json.loads(hermes("profile", "show", "--json").out)["name"] == "default"


@pytest.mark.sqlite("the file of a home")
def test_a_profile_goes_into_a_file_and_comes_out_with_its_sessions(hermes: Hermes, tmp_path: Path) -> None:
    hermes("profile", "create", "alice")
    hermes("-p", "alice", "config", "set", "model.default", "gpt-6")
    hermes("-p", "alice", "keys", "add", "bot")
    file = tmp_path / "alice.tar.gz"
    done = hermes("profile", "export", "alice", str(file))
    assert (done.code, "without secrets" in done.out) == (0, True)
    assert hermes("profile", "export", "alice", str(file)).code == 1
    assert hermes("profile", "import", str(file)).code == 1
    done = hermes("profile", "import", str(file), "--name", "bob")
    assert done.code == 0
    assert (
        done.out.splitlines()[-1]
        == f"Look at its settings before you start it: {hermes.home.path}/profiles/bob/config.yaml"
    )
    assert hermes("-p", "bob", "config", "get", "model.default").out == "gpt-6\n"
    assert json.loads(hermes("-p", "bob", "keys", "list", "--json").out) == []


@pytest.mark.sqlite("the file of a home")
def test_secrets_leave_and_arrive_only_when_both_sides_say_so(hermes: Hermes, tmp_path: Path) -> None:
    hermes("profile", "create", "alice")
    hermes("-p", "alice", "keys", "add", "bot")
    file = tmp_path / "alice.tar.gz"
    assert "WITH its secrets" in hermes("profile", "export", "alice", str(file), "--with-secrets").out
    done = hermes("profile", "import", str(file), "--name", "careful")
    assert "It has secrets, which were left out" in done.out
    assert json.loads(hermes("-p", "careful", "keys", "list", "--json").out) == []
    hermes("profile", "import", str(file), "--name", "trusting", "--with-secrets")
    assert [key["name"] for key in json.loads(hermes("-p", "trusting", "keys", "list", "--json").out)] == ["bot"]
    profiles = hermes.home.path / "profiles"
    key = read_env(profiles / "alice" / ".env")["API_SERVER_KEY"]
    assert read_env(profiles / "trusting" / ".env")["API_SERVER_KEY"] == key
    assert read_env(profiles / "careful" / ".env")["API_SERVER_KEY"] != key


def test_a_file_that_is_no_archive_exits_2(hermes: Hermes, tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_text("text")
    done = hermes("profile", "import", str(tmp_path / "x.tar.gz"))
    assert (done.code, "is no archive that" in done.err) == (2, True)
    assert hermes("profile", "import", str(tmp_path / "missing")).code == 1
    assert hermes("profile", "export", "default", str(tmp_path / "no" / "x.tar.gz")).code == 2
