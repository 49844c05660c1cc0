"""What a toolset waits for, and which are offered: for the agent and for Link the same."""

from __future__ import annotations

import pytest

from hermes.home.reading import Reading
from hermes.home.services import EXAMPLES, NEEDING, lacking, service_of
from hermes.home.settings import Settings


def settings_of(**raw: object) -> Settings:
    reading = Reading()
    reading.add_config(raw)
    return reading.settings()


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_service_needs_a_model_and_openais_own_key_unless_it_is_a_server_of_its_own(name: str) -> None:
    nothing = settings_of()
    assert lacking(name, nothing, {}, "hermes").startswith(f"no model is named: hermes config set {name}.model")
    named = settings_of(**{name: {"model": "m"}})
    assert lacking(name, named, {}, "hermes -p a").startswith("OPENAI_API_KEY is not set: hermes -p a config set")
    assert lacking(name, named, {"OPENAI_API_KEY": "k"}, "hermes") == ""
    own = settings_of(**{name: {"model": "m", "base_url": "http://h/v1"}})
    assert lacking(name, own, {}, "hermes") == ""
    service, _ = service_of(name, getattr(own, name), {"OPENAI_API_KEY": "k"}, "hermes")
    assert service is not None and not service.key
    keyed = settings_of(**{name: {"model": "m", "base_url": "http://h/v1", "key_env": "MY_KEY"}})
    assert lacking(name, keyed, {}, "hermes") == "MY_KEY is not set: hermes config set MY_KEY KEY"


def test_the_home_needs_an_address_and_a_token() -> None:
    assert "address" in lacking("homeassistant", settings_of(), {}, "hermes")
    assert "token" in lacking("homeassistant", settings_of(homeassistant={"url": "http://h"}), {}, "hermes")
    there = settings_of(homeassistant={"url": "http://h", "token": "t"})
    assert lacking("homeassistant", there, {}, "hermes") == ""
    assert "web" not in NEEDING and lacking("web", settings_of(), {}, "hermes") == ""


def test_without_mcp_no_toolset_of_a_server_is_offered() -> None:
    assert settings_of().toolsets_for("api_server") is None
    off = settings_of(mcp_enabled=False).toolsets_for("api_server")
    assert off is not None and "terminal" in off
    chosen = {"toolsets": ["file", "mcp-a"], "platform_toolsets": {"cli": ["mcp-b", "web"]}}
    assert settings_of(**chosen).toolsets_for("api_server") == ["file", "mcp-a"]
    assert settings_of(**chosen, mcp_enabled=False).toolsets_for("api_server") == ["file"]
    assert settings_of(**chosen, mcp_enabled=False).toolsets_for("cli") == ["web"]
