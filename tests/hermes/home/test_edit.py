"""One setting changed by its name, checked before it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes.core.errors import InvalidInput
from hermes.home.config_file import read_config
from hermes.home.edit import beaten_by, doubt_about, set_setting, unset_setting
from hermes.home.env import read_env
from hermes.home.paths import Home, create_home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    create_home(home)
    return home


@pytest.mark.parametrize(
    ("name", "text", "written"),
    [
        ("model.default", "gpt-5", {"model": {"default": "gpt-5"}}),
        ("model.default", "4", {"model": {"default": "4"}}),
        ("model.context_length", "8192", {"model": {"context_length": 8192}}),
        ("approvals.mode", "off", {"approvals": {"mode": "off"}}),
        ("approvals.timeout", "1.5", {"approvals": {"timeout": 1.5}}),
        ("approvals.timeout", "90", {"approvals": {"timeout": 90}}),
        ("approvals.deny", '["rm *", "git push*"]', {"approvals": {"deny": ["rm *", "git push*"]}}),
        ("streaming.enabled", "false", {"streaming": {"enabled": False}}),
        ("streaming.enabled", "off", {"streaming": {"enabled": False}}),
        ("toolsets", "terminal,file", {"toolsets": ["terminal", "file"]}),
        ("toolsets", '["file"]', {"toolsets": ["file"]}),
        ("platform_toolsets.api_server", "file", {"platform_toolsets": {"api_server": ["file"]}}),
        ("model_routes.fast.default", "x", {"model_routes": {"fast": {"default": "x"}}}),
        ("fallback_models", '["a", {"default": "b"}]', {"fallback_models": ["a", {"default": "b"}]}),
        ("gateway.api_server.port", "8700", {"api_server": {"port": 8700}}),
        ("mcp_servers.x.command", "run", {"mcp_servers": {"x": {"command": "run"}}}),
        ("mcp_servers.x.timeout", "12", {"mcp_servers": {"x": {"timeout": 12}}}),
        ("mcp_servers.x.enabled", "true", {"mcp_servers": {"x": {"enabled": True}}}),
        ("api_server.key", "0123", {"api_server": {"key": "0123"}}),
    ],
)
def test_a_dotted_name_is_written_to_config_yaml_in_its_type(home: Home, name: str, text: str, written: dict) -> None:
    assert set_setting(home, name, text) == str(home.config_file)
    assert read_config(home.config_file) == written


def test_an_upper_case_name_is_written_to_dotenv(home: Home) -> None:
    assert set_setting(home, "API_SERVER_PORT", "8700") == str(home.env_file)
    assert read_env(home.env_file)["API_SERVER_PORT"] == "8700"
    set_setting(home, "MY_OWN_TOKEN", "x y")
    assert read_env(home.env_file)["MY_OWN_TOKEN"] == "x y"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("api_server.prot", "1", "api_server.prot is no setting; did you mean api_server.port?"),
        ("api_server_port", "1", "api_server_port is no setting; did you mean api_server.port?"),
        ("API_SERVER_PROT", "1", "API_SERVER_PROT is no setting; did you mean API_SERVER_PORT?"),
        ("Api_Server_Port", "1", "Api_Server_Port is no setting; did you mean api_server.port?"),
        ("modle", "1", "modle is no setting; did you mean model?"),
        ("zzzzzz", "1", "zzzzzz is no setting; all names: hermes config show --all"),
        ("approvals", "x", "approvals is a section; set one of approvals.mode, approvals.timeout"),
        ("api_server.port", "abc", "api_server.port: expected a whole number from 0 to 65535, not 'abc'"),
        ("API_SERVER_PORT", "abc", "API_SERVER_PORT: expected a whole number from 0 to 65535, not 'abc'"),
        ("approvals.mode", "manul", "approvals.mode: expected one of manual, smart, off, not 'manul'"),
        ("approvals.deny", "rm *", "approvals.deny: expected a list of texts, not 'rm *'"),
        ("approvals.timeout", '["a"]', "approvals.timeout: expected a number above 0"),
        ("toolsets", "[web, file]", "[web, file] is no list: write its texts in double quotes"),
        ("approvals.deny", "[git push*]", "[git push*] is no list: write its texts in double quotes"),
        ("gateway.api_server.port", "x", "gateway.api_server.port: expected a whole number"),
        ("model.base_url", "localhost:1", "model.base_url: expected an address that starts with http://"),
        ("model.default", "", "no value for model.default; to remove it: hermes config unset model.default"),
        ("API_SERVER_KEY", "", "no value for API_SERVER_KEY"),
        ("fallback_models[].default", "x", "fallback_models[].default is no setting"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_written(home: Home, name: str, text: str, message: str) -> None:
    before = (home.env_file.read_text(), home.config_file.read_text())
    with pytest.raises(InvalidInput) as caught:
        set_setting(home, name, text)
    assert caught.value.message.startswith(message)
    assert (home.env_file.read_text(), home.config_file.read_text()) == before


def test_a_wrong_line_elsewhere_does_not_hinder_a_right_change(home: Home) -> None:
    home.config_file.write_text("nope: 1\nlimits: {max_steps: x}\n")
    set_setting(home, "limits.max_steps", "5")
    assert read_config(home.config_file) == {"nope": 1, "limits": {"max_steps": 5}}


def test_the_api_section_is_changed_where_the_file_has_it(home: Home) -> None:
    home.config_file.write_text("gateway:\n  api_server:\n    port: 1  # mine\n")
    set_setting(home, "api_server.port", "2")
    set_setting(home, "api_server.host", "::1")
    assert home.config_file.read_text() == "gateway:\n  api_server:\n    port: 2  # mine\n    host: ::1\n"


def test_a_model_named_alone_becomes_a_section(home: Home) -> None:
    home.config_file.write_text("model: gpt-5  # mine\n")
    set_setting(home, "model.provider", "openai")
    assert read_config(home.config_file) == {"model": {"default": "gpt-5", "provider": "openai"}}


def test_removing_takes_the_value_from_every_place(home: Home) -> None:
    home.config_file.write_text("gateway: {api_server: {port: 1}}\napi_server: {port: 2}\n")
    assert unset_setting(home, "api_server.port")
    assert read_config(home.config_file) == {}
    assert not unset_setting(home, "api_server.port")
    assert unset_setting(home, "API_SERVER_KEY")
    assert "API_SERVER_KEY" not in read_env(home.env_file)


def test_what_this_version_does_not_know_can_be_removed_and_nothing_else_pretends(home: Home) -> None:
    home.config_file.write_text("nope: 1\n")
    assert unset_setting(home, "nope")
    with pytest.raises(InvalidInput):
        unset_setting(home, "nope")


def test_the_stronger_place_is_named(home: Home) -> None:
    set_setting(home, "API_SERVER_PORT", "2")
    assert beaten_by(home, "api_server.port", {}) == f"API_SERVER_PORT in {home.env_file}"
    assert beaten_by(home, "API_SERVER_PORT", {}) is None
    assert beaten_by(home, "API_SERVER_PORT", {"API_SERVER_PORT": "3"}) == "API_SERVER_PORT in the environment"
    assert beaten_by(home, "model.default", {}) is None


def test_a_name_close_to_a_providers_key_is_doubted() -> None:
    assert doubt_about("OPENAI_API_KY") == "OPENAI_API_KEY"
    assert doubt_about("OPENAI_API_KEY") is None
    assert doubt_about("MY_OWN_TOKEN") is None
