"""Several settings changed at once: all or none, where each of them counts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hermes.core.errors import ConfigUnreadable, InvalidInput
from hermes.home.config_file import read_config
from hermes.home.edit import change_settings
from hermes.home.env import read_env
from hermes.home.paths import Home, create_home
from hermes.home.settings import Settings, load_settings

FILE = """\
# mine
approvals:
  mode: manual  # never off
  timeout: 60
model_routes:
  fast: small  # the quick one
  gpt-4.1: {default: gpt-4.1, provider: openai}
  # behind the routes
limits: {max_steps: 5}
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    create_home(home)
    home.config_file.write_text(FILE)
    return home


def test_all_are_written_in_their_types_and_every_comment_stays(home: Home) -> None:
    changed = change_settings(
        home,
        {
            "approvals.mode": "smart",
            "approvals.timeout": 60,
            "terminal.timeout": 20.5,
            "toolsets": ["file", "web"],
            "limits.max_steps": None,
            "memory.memory_enabled": None,
        },
    )
    assert changed == ["approvals.mode", "terminal.timeout", "toolsets", "limits.max_steps"]
    assert read_config(home.config_file) == {
        "approvals": {"mode": "smart", "timeout": 60},
        "model_routes": {"fast": "small", "gpt-4.1": {"default": "gpt-4.1", "provider": "openai"}},
        "terminal": {"timeout": 20.5},
        "toolsets": ["file", "web"],
    }
    text = home.config_file.read_text()
    assert all(comment in text for comment in ("# mine", "# never off", "# the quick one", "# behind the routes"))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("approvals.mode", "loud", "approvals.mode: expected one of manual, smart, off, not 'loud'"),
        ("approvals.mod", "off", "approvals.mod is no setting; did you mean approvals.mode?"),
        ("approvals", "off", "approvals is a section; set one of approvals.mode"),
        ("approvals", {"mod": "off"}, "approvals: approvals.mod is no setting"),
        ("terminal.timeout", -1, "terminal.timeout: expected a number above 0, not -1"),
        ("terminal.timeout", True, "terminal.timeout: expected a number above 0, not True"),
        ("terminal.timeout", "5", "terminal.timeout: expected a number above 0, not '5'"),
        ("terminal.timeout", float("inf"), "terminal.timeout: expected a number above 0, not inf"),
        ("mcp_enabled", 1, "mcp_enabled: expected true or false, not 1"),
        ("approvals.mode", False, "approvals.mode: expected one of manual, smart, off, not False"),
        ("API_SERVER_PORT", "x", "API_SERVER_PORT: expected a whole number from 0 to 65535"),
        ("nope", None, "nope is no setting"),
        ("HASS_TOKEN", "", "an empty value is the same as none"),
    ],
)
def test_one_that_is_wrong_is_named_and_nothing_is_written(home: Home, name: str, value: Any, message: str) -> None:
    before = home.config_file.read_text(), home.env_file.read_text()
    with pytest.raises(InvalidInput, match="^" + message.replace("?", r"\?").replace("(", r"\(")) as caught:
        change_settings(home, {"approvals.timeout": 5, "MY_KEY": "x", name: value})
    assert caught.value.param in (name, "value") or value is None
    assert (home.config_file.read_text(), home.env_file.read_text()) == before


def test_what_dotenv_says_is_changed_there_and_a_secret_always(home: Home) -> None:
    home.env_file.write_text("HASS_URL=http://a.example\n")
    home.config_file.write_text("homeassistant: {token: old-old-old, url: http://b.example}\n")
    changes = {"homeassistant.url": "http://c.example", "homeassistant.token": "new-new-new", "MY_KEY": "k"}
    assert change_settings(home, changes) == list(changes)
    assert read_env(home.env_file) == {"HASS_URL": "http://c.example", "HASS_TOKEN": "new-new-new", "MY_KEY": "k"}
    assert read_config(home.config_file) == {"homeassistant": {"url": "http://b.example"}}
    settings = load_settings(home, {})
    assert (settings.homeassistant.url, settings.homeassistant.token) == ("http://c.example", "new-new-new")
    assert change_settings(home, changes) == []

    assert change_settings(home, dict.fromkeys(changes)) == list(changes)
    assert (read_env(home.env_file), read_config(home.config_file)) == ({}, {})


def test_a_list_and_a_flag_are_written_to_dotenv_as_it_says_them(home: Home) -> None:
    home.env_file.write_text("API_SERVER_CORS_ORIGINS=https://a.example\nAPI_SERVER_ENABLED=true\n")
    change_settings(home, {"api_server.cors_origins": ["https://b.example", "https://c.example"]})
    change_settings(home, {"api_server.enabled": False})
    assert read_env(home.env_file)["API_SERVER_CORS_ORIGINS"] == "https://b.example,https://c.example"
    assert load_settings(home, {}).api_server.enabled is False


def test_a_mapping_is_changed_entry_by_entry(home: Home) -> None:
    routes = {"gpt-4.1": {"default": "gpt-4.1", "provider": "openrouter"}, "new": {"default": "n"}}
    assert change_settings(home, {"model_routes": routes}) == ["model_routes"]
    text = home.config_file.read_text()
    assert read_config(home.config_file)["model_routes"] == routes
    assert "# behind the routes" in text and "fast" not in text
    assert change_settings(home, {"model_routes": routes}) == []
    assert change_settings(home, {"model_routes.new": {"default": "m"}}) == ["model_routes.new"]
    with pytest.raises(InvalidInput):
        change_settings(home, {"model_routes": {"x": {"nope": 1}}})


def test_a_model_is_found_by_whatever_name_the_file_has_for_it(home: Home) -> None:
    home.config_file.write_text("model: gpt-5\nmodel_routes:\n  a: {model: x}\n  b: y\n")
    changes = {"model.provider": "openai", "model_routes.a.default": "z", "model_routes.b.base_url": "http://h/v1"}
    assert change_settings(home, changes) == list(changes)
    assert read_config(home.config_file) == {
        "model": {"default": "gpt-5", "provider": "openai"},
        "model_routes": {"a": {"model": "z"}, "b": {"default": "y", "base_url": "http://h/v1"}},
    }
    home.config_file.write_text("model: gpt-5\n")
    assert change_settings(home, {"model.default": None}) == ["model.default"]
    assert read_config(home.config_file) == {}


def test_the_section_of_the_api_is_changed_where_it_stands(home: Home) -> None:
    home.config_file.write_text("gateway: {api_server: {max_queued_runs: 1}}\n")
    assert change_settings(home, {"api_server.max_queued_runs": 2}) == ["api_server.max_queued_runs"]
    assert read_config(home.config_file) == {"gateway": {"api_server": {"max_queued_runs": 2}}}


def test_what_is_added_to_a_list_at_the_same_time_is_all_there(home: Home) -> None:
    def add(number: int) -> None:
        def grown(settings: Settings) -> dict[str, Any]:
            return {"command_allowlist": [*settings.command_allowlist, f"cmd {number}"]}

        change_settings(home, grown)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(12)))
    assert sorted(load_settings(home, {}).command_allowlist) == sorted(f"cmd {number}" for number in range(12))


def test_a_file_that_cannot_be_read_is_named_with_its_line_and_left_alone(home: Home) -> None:
    home.config_file.write_text("a: 1\nb: [\n")
    with pytest.raises(ConfigUnreadable) as caught:
        change_settings(home, {"approvals.mode": "off"})
    assert caught.value.line == 3
    assert home.config_file.read_text() == "a: 1\nb: [\n"


def test_where_config_yaml_cannot_be_written_dotenv_is_as_it_was(home: Home) -> None:
    before = home.env_file.read_bytes()
    (home.path / "backups").write_text("a file in the way")
    with pytest.raises(OSError, match="backups"):
        change_settings(home, {"OPENAI_API_KEY": "sk-" + "a" * 20, "approvals.mode": "off"})
    assert home.env_file.read_bytes() == before
    assert home.config_file.read_text() == FILE
