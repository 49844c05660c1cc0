"""`hermes config`."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from hermes.home.config_file import read_config
from hermes.home.env import read_env
from hermes.home.locks import lock_gateway
from tests.support.cli import Hermes


def test_the_first_value_that_is_set_makes_the_home_and_says_so(hermes: Hermes) -> None:
    done = hermes("config", "set", "model.default", "gpt-5")
    assert done.code == 0
    assert done.err.splitlines() == [
        f"Made a home in {hermes.home.path}, with a random API key in {hermes.home.env_file}.",
        f"model.default is set in {hermes.home.config_file}",
    ]
    assert len(read_env(hermes.home.env_file)["API_SERVER_KEY"]) == 64


def test_upper_case_goes_to_dotenv_and_dotted_to_config_yaml(hermes: Hermes) -> None:
    assert hermes("config", "set", "API_SERVER_PORT", "8700").code == 0
    assert hermes("config", "set", "approvals.timeout", "90").code == 0
    assert read_env(hermes.home.env_file)["API_SERVER_PORT"] == "8700"
    assert read_config(hermes.home.config_file) == {"approvals": {"timeout": 90}}
    assert hermes("config", "get", "api_server.port").out == "8700\n"
    assert hermes("config", "get", "API_SERVER_PORT").out == "8700\n"
    assert hermes("config", "get", "approvals.timeout").out == "90\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("set", "API_SERVER_PROT", "1"), "hermes: API_SERVER_PROT is no setting; did you mean API_SERVER_PORT?\n"),
        (("set", "api_server.prot", "1"), "hermes: api_server.prot is no setting; did you mean api_server.port?\n"),
        (("get", "api_server.prot"), "hermes: api_server.prot is no setting; did you mean api_server.port?\n"),
        (("get", "API_SERVER_PROT"), "hermes: API_SERVER_PROT is no setting; did you mean API_SERVER_PORT?\n"),
        (("unset", "modle"), "hermes: modle is no setting; did you mean model?\n"),
        (
            ("set", "api_server.port", "abc"),
            "hermes: api_server.port: expected a whole number from 0 to 65535, not 'abc'\n",
        ),
    ],
)
def test_a_wrong_name_or_value_is_named_in_one_line_and_exits_2(
    hermes: Hermes, arguments: tuple[str, ...], message: str
) -> None:
    hermes("config", "set", "model.default", "x")
    done = hermes("config", *arguments)
    assert (done.code, done.out, done.err) == (2, "", message)


def test_a_value_that_is_not_set_exits_1(hermes: Hermes) -> None:
    done = hermes("config", "get", "model.provider")
    assert (done.code, done.out, done.err) == (1, "", "model.provider is not set\n")
    assert not hermes.home.path.exists(), "asking makes nothing"


def test_a_section_is_given_as_json(hermes: Hermes) -> None:
    hermes("config", "set", "approvals.deny", '["rm *"]')
    section = json.loads(hermes("config", "get", "approvals").out)
    assert section == {"mode": "manual", "timeout": 60, "model": None, "cron_mode": "deny", "deny": ["rm *"]}


def test_an_entry_that_the_user_named_is_shown_set_and_removed_by_its_name(hermes: Hermes) -> None:
    refused = hermes("config", "set", "model_routes.fast", "{}")
    assert "hermes: model_routes.fast is a section; set one of model_routes.fast." in refused.err
    assert hermes("config", "get", "mcp_servers.mine").err == "mcp_servers.mine is not set\n"
    hermes("config", "set", "mcp_servers.mine.command", "npx")
    assert json.loads(hermes("config", "get", "mcp_servers.mine").out)["command"] == "npx"
    assert hermes("config", "unset", "mcp_servers.mine").err == "mcp_servers.mine is removed\n"
    assert hermes("config", "unset", "mcp_servers.mine").err == "mcp_servers.mine was not set\n"


SECRETS = {
    "API_SERVER_KEY": "canary-api-key-0001",
    "OPENAI_API_KEY": "canary-openai-0002",
    "MY_SERVICE_TOKEN": "canary-token-0003",
    "model.api_key": "canary-model-0004",
    "database.url": "postgresql://me:canary-0005@db/x",
    "mcp_servers.x.env": '{"API_TOKEN": "canary-mcp-0006"}',
    "mcp_servers.x.args": '["--api-key", "canary-mcp-0013", "--token=canary-mcp-0014"]',
    "mcp_servers.y.headers": '{"Authorization": "Bearer canary-mcp-0011"}',
    "mcp_servers.y.url": "https://me:canary-mcp-0012@mcp.example/sse",
    "model_routes.fast.api_key": "canary-route-0007",
    "fallback_models": '[{"default": "m", "api_key": "canary-fallback-0008"}]',
    "model.base_url": "http://me:canary-0009@127.0.0.1/v1",
}


@pytest.mark.sqlite("the environment has nothing but the home")
def test_secrets_are_masked_until_they_are_asked_for(hermes: Hermes) -> None:
    for name, value in SECRETS.items():
        assert hermes("config", "set", name, value).code == 0
    hermes.environ["GROQ_API_KEY"] = "canary-groq-0010"
    shown = [hermes("config", "show"), hermes("config", "show", "--all"), hermes("config", "show", "--json")]
    shown += [
        hermes("config", "get", name) for name in (*SECRETS, "GROQ_API_KEY", "model", "api_server", "mcp_servers")
    ]
    shown += [hermes("config", "check"), hermes("profile", "show"), hermes("profile", "list")]
    for done in shown:
        assert "canary" not in done.out + done.err
    assert hermes("config", "get", "API_SERVER_KEY", "--reveal").out == "canary-api-key-0001\n"
    assert hermes("config", "show", "--reveal").out.count("canary") == len(SECRETS) + 2


@pytest.mark.sqlite("the environment has nothing but the home")
def test_show_says_where_each_value_is_set_and_what_is_wrong(hermes: Hermes) -> None:
    hermes("config", "set", "approvals.mode", "off")
    hermes("config", "set", "OPENAI_API_KEY", "sk-x")
    with hermes.home.config_file.open("a") as file:
        file.write("nope: 1\n")
    hermes.environ["API_SERVER_PORT"] = "8700"
    done = hermes("config", "show", "--json")
    shown: dict[str, Any] = json.loads(done.out)
    assert {name: entry["source"] for name, entry in shown.items()} == {
        "api_server.enabled": ".env",
        "api_server.key": ".env",
        "api_server.port": "environment",
        "approvals.mode": "config.yaml",
        "OPENAI_API_KEY": ".env",
    }
    assert done.err == "problem: config.yaml: nope is no setting\n"


def test_a_value_that_something_stronger_overrides_is_said_to_be(hermes: Hermes) -> None:
    hermes.environ["API_SERVER_PORT"] = "9000"
    done = hermes("config", "set", "api_server.port", "8700")
    assert "note: API_SERVER_PORT in the environment is set too, and counts instead\n" in done.err
    assert hermes("config", "get", "api_server.port").out == "9000\n"


def test_a_running_gateway_is_mentioned(hermes: Hermes) -> None:
    hermes("config", "set", "model.default", "x")
    lock = lock_gateway(hermes.home.pid_file, now=0.0)
    done = hermes("config", "set", "model.default", "y")
    listener = hermes("config", "set", "API_SERVER_PORT", "8700")
    lock.release()
    assert done.err.endswith("note: the gateway is running, and takes this up with the next run\n")
    assert listener.err.endswith("note: the gateway is running; restart needed: hermes gateway restart\n")


def test_a_new_key_is_said_to_count_at_once(hermes: Hermes) -> None:
    hermes("config", "set", "model.default", "x")
    lock = lock_gateway(hermes.home.pid_file, now=0.0)
    done = hermes("config", "set", "API_SERVER_KEY", "f3" * 16)
    lock.release()
    assert "takes this up now; the key before opens nothing more" in done.err
    assert "restart" not in done.err


def test_a_minus_reads_the_value_from_stdin(hermes: Hermes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("sk from stdin\n"))
    assert hermes("config", "set", "OPENAI_API_KEY", "-").code == 0
    assert read_env(hermes.home.env_file)["OPENAI_API_KEY"] == "sk from stdin"


def test_a_value_may_begin_with_a_minus(hermes: Hermes) -> None:
    assert hermes("config", "set", "OPENAI_API_KEY", "-abc").code == 0
    assert read_env(hermes.home.env_file)["OPENAI_API_KEY"] == "-abc"


def test_a_removed_value_is_the_default_again(hermes: Hermes) -> None:
    hermes("config", "set", "approvals.timeout", "90")
    assert hermes("config", "unset", "approvals.timeout").code == 0
    assert hermes("config", "get", "approvals.timeout").out == "60\n"
    done = hermes("config", "unset", "approvals.timeout")
    assert (done.code, done.err) == (0, "approvals.timeout was not set\n")


def test_check_is_silent_on_trouble_it_does_not_find_and_exits_0(hermes: Hermes) -> None:
    hermes("config", "set", "model.default", "x")
    done = hermes("config", "check")
    assert (done.code, done.out) == (0, f"No problems in {hermes.home.path}\n")


def test_check_names_all_there_is_and_exits_1(hermes: Hermes) -> None:
    hermes("config", "set", "API_SERVER_KEY", "short")
    hermes("config", "set", "API_SERVER_HOST", "0.0.0.0")
    hermes.home.config_file.write_text("nope: 1\nlimits: {max_steps: x}\n")
    hermes.home.env_file.chmod(0o644)
    done = hermes("config", "check")
    assert done.code == 1
    lines = done.out.splitlines()
    assert lines[0] == "problem: config.yaml: limits.max_steps: expected a whole number above 0, not 'x'"
    assert lines[1] == "problem: config.yaml: nope is no setting"
    assert lines[2].startswith(f"problem: {hermes.home.env_file} can be read by others")
    assert lines[3].startswith("problem: API_SERVER_KEY has 5 characters, and on 0.0.0.0 it must be random")
    assert len(lines) == 4


def test_a_weak_key_on_loopback_and_a_name_of_old_are_notes(hermes: Hermes) -> None:
    hermes("config", "set", "API_SERVER_KEY", "alice-secret")
    hermes.environ["GATEWAY_ALLOW_ALL_USERS"] = "true"
    done = hermes("config", "check")
    assert done.code == 0
    assert [line.partition(":")[0] for line in done.out.splitlines()] == [
        "note",
        "note",
        "No problems in " + str(hermes.home.path),
    ]


@pytest.mark.sqlite("a file that cannot be read names no database")
def test_a_file_that_cannot_be_read_does_not_keep_one_from_looking(hermes: Hermes) -> None:
    hermes("config", "set", "model.default", "x")
    hermes.home.config_file.write_text("a: [\n")
    assert hermes("config", "show").code == 0
    assert hermes("config", "check").code == 1
    for command in (("config", "get", "model.max_tokens"), ("model",), ("tools", "list")):
        told = hermes(*command).err.splitlines()
        assert told[0].startswith(f"problem: {hermes.home.config_file}, line 2: "), command
        assert told[0].endswith("; its default is shown. See also: hermes config check"), command
    done = hermes("config", "set", "model.default", "y")
    assert done.code == 2
    assert str(hermes.home.config_file) in done.err
    assert hermes.home.config_file.read_text() == "a: [\n"


def test_paths_are_printed_whether_or_not_they_exist(hermes: Hermes) -> None:
    assert hermes("config", "path").out == f"{hermes.home.config_file}\n"
    assert hermes("config", "path", "--env").out == f"{hermes.home.env_file}\n"
