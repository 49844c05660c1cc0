"""The services that tools ask, through Link's socket."""

from __future__ import annotations

import logging
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from hermes.core.redact import Redactor
from hermes.home.config_file import read_config
from hermes.home.env import read_env
from hermes.home.logs import LineFormatter
from tests.support.link import LinkServer

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

TOOLS = "/api/v1/profiles/default/tool-configs"


def told(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    assert "canary" not in answer.text
    found: dict[str, Any] = answer.json()
    return found


def refused(answer: httpx.Response) -> tuple[int, str, str | None]:
    assert "canary" not in answer.text
    error = answer.json()["error"]
    return answer.status_code, error["code"], error.get("field")


async def patch(server: LinkServer, tool: str, body: Any) -> httpx.Response:
    return await server.admin.patch(f"{TOOLS}/{tool}", json=body)


async def test_each_tool_that_the_agent_has_shows_its_settings_and_what_it_lacks(
    server: LinkServer, tmp_path: Path
) -> None:
    web = told(await server.chat.get(f"{TOOLS}/web"))
    assert (web["profileName"], web["configPath"], web["toolKey"]) == ("default", str(tmp_path / "config.yaml"), "web")
    assert (web["available"], web["configured"], web["missing"]) == (True, {}, None)
    assert (web["values"]["searchBackend"], web["values"]["maxResults"]) == ("auto", 8)
    for tool in ("image_gen", "stt", "tts"):
        found = told(await server.chat.get(f"{TOOLS}/{tool}"))
        assert found["configured"] == {f"{tool.upper()}_API_KEY": False, "OPENAI_API_KEY": False}
        assert found["values"]["model"] is None and "apiKey" not in found["values"]
        assert found["missing"].startswith("no model is named")
    home = told(await server.chat.get(f"{TOOLS}/homeassistant"))
    assert home["configured"] == {"HASS_URL": False, "HASS_TOKEN": False} and "token" not in home["values"]


@pytest.mark.parametrize("tool", ["messaging", "rl"])
async def test_a_tool_that_the_agent_has_not_says_so(server: LinkServer, tool: str) -> None:
    found = told(await server.chat.get(f"{TOOLS}/{tool}"))
    assert (found["configured"], found["available"], found["values"]) == (False, False, {})
    assert refused(await patch(server, tool, {"values": {"a": 1}}))[:2] == (409, "tool_not_available")
    assert refused(await patch(server, tool, {}))[:2] == (409, "tool_not_available")


async def test_settings_go_to_config_yaml_and_a_key_to_dotenv_alone(server: LinkServer, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("image_gen:\n  api_key: old-canary\n  size: 1x1  # mine\n")
    body = {"values": {"model": "painter", "baseUrl": "http://h/v1/"}, "env": {"IMAGE_GEN_API_KEY": " new-canary "}}
    found = told(await patch(server, "image_gen", body))
    assert (found["values"]["model"], found["values"]["baseUrl"]) == ("painter", "http://h/v1")
    assert (found["configured"]["IMAGE_GEN_API_KEY"], found["missing"]) == (True, None)
    assert read_env(tmp_path / ".env") == {"IMAGE_GEN_API_KEY": "new-canary"}
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    assert read_config(tmp_path / "config.yaml")["image_gen"] == {
        "size": "1x1",
        "model": "painter",
        "base_url": "http://h/v1",
        "key_env": "IMAGE_GEN_API_KEY",
    }
    assert "# mine" in (tmp_path / "config.yaml").read_text()
    for backup in (tmp_path / "backups").rglob("*"):
        assert backup.is_dir() or "canary" not in backup.read_text()

    found = told(await patch(server, "image_gen", {"env": {"IMAGE_GEN_API_KEY": None}, "values": {"size": None}}))
    assert (found["configured"]["IMAGE_GEN_API_KEY"], found["values"]["keyEnv"]) == (False, None)
    assert read_env(tmp_path / ".env") == {}


async def test_a_key_among_the_values_is_a_key(server: LinkServer, tmp_path: Path) -> None:
    told(await patch(server, "tts", {"values": {"model": "m", "apiKey": "canary"}}))
    assert read_env(tmp_path / ".env") == {"TTS_API_KEY": "canary"}
    assert read_config(tmp_path / "config.yaml") == {"tts": {"model": "m", "key_env": "TTS_API_KEY"}}
    told(await patch(server, "homeassistant", {"values": {"url": "http://ha:8123", "token": "canary"}}))
    assert read_env(tmp_path / ".env")["HASS_TOKEN"] == "canary"
    assert read_config(tmp_path / "config.yaml")["homeassistant"] == {"url": "http://ha:8123"}


async def test_a_key_of_a_name_of_ones_own_and_that_of_openai(server: LinkServer, tmp_path: Path) -> None:
    body = {"values": {"model": "ear", "key_env": "MY_EAR"}, "secrets": {"MY_EAR": "canary-1"}}
    found = told(await patch(server, "stt", body))
    assert found["configured"] == {"MY_EAR": True, "STT_API_KEY": False, "OPENAI_API_KEY": False}
    found = told(await patch(server, "stt", {"values": {"keyEnv": None}, "env": {"OPENAI_API_KEY": "canary-2"}}))
    assert (found["configured"], found["missing"]) == ({"STT_API_KEY": False, "OPENAI_API_KEY": True}, None)
    assert read_env(tmp_path / ".env") == {"MY_EAR": "canary-1", "OPENAI_API_KEY": "canary-2"}


async def test_what_dotenv_says_of_the_home_is_changed_there(server: LinkServer, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HASS_URL=http://old:1\n")
    found = told(await patch(server, "homeassistant", {"values": {"url": "http://new:1"}, "env": {"HASS_TOKEN": "k"}}))
    assert (found["values"]["url"], found["configured"], found["missing"]) == (
        "http://new:1",
        {"HASS_URL": True, "HASS_TOKEN": True},
        None,
    )
    assert read_env(tmp_path / ".env") == {"HASS_URL": "http://new:1", "HASS_TOKEN": "k"}


@pytest.mark.parametrize(
    ("tool", "body", "field"),
    [
        ("web", {"values": {"maxResults": "many"}}, "values.max_results"),
        ("web", {"values": {"maxResults": True}}, "values.max_results"),
        ("web", {"values": {"region": "moon"}}, "values.region"),
        ("web", {"values": {"searxngUrl": "ftp://h"}}, "values.searxng_url"),
        ("web", {"values": {"searxngUrl": "http://me:canary@h"}}, "values.searxng_url"),
        ("web", {"values": {"searxngUrl": "http://"}}, "values.searxng_url"),
        ("web", {"values": {"teleport": 1}}, "values.teleport"),
        ("web", {"values": [1]}, "values"),
        ("web", {"env": {"OPENAI_API_KEY": "canary"}}, "env.OPENAI_API_KEY"),
        ("tts", {"values": {"voice": "a\0b"}}, "values.voice"),
        ("tts", {"values": {"format": "wax"}}, "values.format"),
        ("tts", {"env": {"API_SERVER_KEY": "canary"}}, "env.API_SERVER_KEY"),
        ("tts", {"env": {"PATH": "canary"}}, "env.PATH"),
        ("tts", {"env": {"TTS_API_KEY": "a\ncanary"}}, "env.TTS_API_KEY"),
        ("tts", {"env": {"TTS_API_KEY": 5}}, "env.TTS_API_KEY"),
        ("tts", {"values": {"apiKey": ["canary"]}}, "env.api_key"),
        ("tts", {"values": {"keyEnv": "API_SERVER_KEY"}}, "values.key_env"),
        ("tts", {"values": {"keyEnv": "../x"}}, "values.key_env"),
        ("tts", {"values": {"keyEnv": "ANTHROPIC_API_KEY"}}, "values.key_env"),
        ("tts", {"values": {"keyEnv": "MODEL_LUNA_API_KEY", "baseUrl": "http://h/v1"}}, "values.key_env"),
        ("tts", {"values": {"keyEnv": "OPENAI_API_KEY", "baseUrl": "http://h/v1"}}, "values.key_env"),
        ("homeassistant", {"values": {"url": "ha"}}, "values.url"),
        ("homeassistant", {"env": {"HASS_PASSWORD": "canary"}}, "env.HASS_PASSWORD"),
        ("homeassistant", {"env": {"HASS_URL": "ha"}}, "values.url"),
    ],
)
async def test_a_wrong_value_changes_nothing(
    server: LinkServer, tmp_path: Path, tool: str, body: dict[str, Any], field: str
) -> None:
    (tmp_path / "config.yaml").write_text("limits: {max_steps: 1}\n")
    answer = await server.admin.patch(f"{TOOLS}/{tool}", json=body)
    assert refused(answer) == (400, "profile_tool_config_invalid", field)
    assert str(tmp_path) not in answer.text
    assert (tmp_path / "config.yaml").read_text() == "limits: {max_steps: 1}\n"
    assert not (tmp_path / ".env").exists()


async def test_the_key_of_openai_does_not_follow_to_another_address(server: LinkServer, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPENAI_API_KEY=canary\n")
    (tmp_path / "config.yaml").write_text("tts: {model: m, key_env: OPENAI_API_KEY}\n")
    moved = {"values": {"baseUrl": "http://h/v1"}}
    assert refused(await patch(server, "tts", moved)) == (400, "profile_tool_config_invalid", "values.key_env")
    found = told(await patch(server, "tts", {**moved, "env": {"TTS_API_KEY": "canary-2"}}))
    assert (found["values"]["baseUrl"], found["values"]["keyEnv"]) == ("http://h/v1", "TTS_API_KEY")
    told(await patch(server, "tts", {"values": {"baseUrl": "https://api.openai.com/v1/", "keyEnv": "OPENAI_API_KEY"}}))


async def test_no_log_shows_a_key_that_was_just_sent(server: LinkServer) -> None:
    lines = StringIO()
    handler = logging.StreamHandler(lines)
    handler.setFormatter(LineFormatter(Redactor()))
    logging.getLogger().addHandler(handler)
    try:
        told(await patch(server, "tts", {"env": {"TTS_API_KEY": "a-word-of-the-owner"}}))
        logging.getLogger("hermes").warning("a service said a-word-of-the-owner")
    finally:
        logging.getLogger().removeHandler(handler)
    assert "a service said" in lines.getvalue() and "a-word-of-the-owner" not in lines.getvalue()


@pytest.mark.parametrize("body", [{}, {"values": {}, "env": {}}, {"model": "x"}, None])
async def test_nothing_to_change_is_refused(server: LinkServer, body: Any) -> None:
    assert refused(await patch(server, "web", body))[:2] == (400, "profile_tool_config_update_empty")


async def test_what_is_not_there_is_404_before_anything_else(server: LinkServer) -> None:
    assert refused(await patch(server, "teleport", {}))[:2] == (404, "tool_config_unknown")
    path = "/api/v1/profiles/nobody/tool-configs/teleport"
    assert refused(await server.chat.get(path))[:2] == (404, "profile_not_found")
    assert refused(await server.chat.patch(f"{TOOLS}/web", json={}))[:2] == (403, "scope_required")


async def test_the_audit_names_what_was_changed_and_no_value(server: LinkServer) -> None:
    body = {"values": {"model": "painter"}, "env": {"IMAGE_GEN_API_KEY": "canary"}}
    await patch(server, "image_gen", body)
    await patch(server, "image_gen", body)
    answer = await server.admin.get("/api/v1/audit")
    assert "canary" not in answer.text and "painter" not in answer.text
    [entry] = [entry for entry in answer.json()["entries"] if entry["action"] == "tool_config.changed"]
    assert entry["details"] == {
        "tool": "image_gen",
        "changed": ["image_gen.model", "image_gen.key_env", "IMAGE_GEN_API_KEY"],
    }


async def test_a_password_in_an_address_of_the_file_is_not_told(server: LinkServer, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("stt: {model: m, base_url: 'http://me:canary-12345@h/v1', api_key: canary}\n")
    found = told(await server.chat.get(f"{TOOLS}/stt"))
    assert found["configured"]["STT_API_KEY"] is True
    (tmp_path / ".env").write_bytes(b"A=\xff\n")
    answer = await server.chat.get(f"{TOOLS}/stt")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "profile_config_invalid")
    assert ".env cannot be read" in answer.text and str(tmp_path) not in answer.text
