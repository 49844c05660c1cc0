"""Which settings wait for a restart of the gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes.home.live import NEEDS_RESTART, needs_restart, waiting
from hermes.home.names import below, find_setting
from hermes.home.paths import Home, create_home
from hermes.home.settings import load_settings


@pytest.mark.parametrize(
    "name",
    [
        "api_server.port",
        "gateway.api_server.port",
        "platforms.api_server.host",
        "API_SERVER_PORT",
        "HERMES_DATABASE_URL",
        "logging.level",
        "api_server.key",
        "api_server",
    ],
)
def test_what_the_process_is_made_with_needs_a_restart(name: str) -> None:
    assert needs_restart(name)


@pytest.mark.parametrize(
    "name",
    [
        "approvals.mode",
        "toolsets",
        "platform_toolsets.api_server",
        "terminal.backend",
        "model.default",
        "model",
        "memory.memory_enabled",
        "HASS_TOKEN",
        "OPENAI_API_KEY",
        "A_KEY_OF_MINE",
        "API_SERVER_KEY",
    ],
)
def test_the_rest_is_taken_up_as_it_is(name: str) -> None:
    assert not needs_restart(name)


def test_every_name_that_needs_one_is_a_setting() -> None:
    assert [name for name in NEEDS_RESTART if find_setting(name) is None and not below(name)] == []


def test_what_waits_is_named_and_not_shown(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    create_home(home)
    started = load_settings(home, {})
    home.config_file.write_text("approvals: {mode: 'off'}\napi_server: {port: 9999}\nlogging: {level: debug}\n")
    assert waiting(started, load_settings(home, {})) == ("api_server.port", "logging.level")
    home.env_file.write_text("API_SERVER_ENABLED=true\nAPI_SERVER_KEY=" + "k" * 40 + "\n")
    assert waiting(started, load_settings(home, {})) == ("api_server.port", "logging.level")
    assert waiting(started, started) == ()
