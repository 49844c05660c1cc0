"""What a profile's agent may do, through Link's socket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from hermes.core.toolset import CATALOGUE
from hermes.home.config_file import read_config
from hermes.home.profiles import create_profile
from tests.support.link import LinkServer

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

PERMISSIONS = "/api/v1/profiles/default/permissions"


def told(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["permissions"]
    return found


def enabled(permissions: dict[str, Any]) -> list[str]:
    return [item["key"] for item in permissions["toolsets"]["items"] if item["enabled"]]


def refused(answer: httpx.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error.get("field")


async def patch(server: LinkServer, body: Any) -> httpx.Response:
    return await server.admin.patch(PERMISSIONS, json=body)


async def test_a_profile_without_settings_shows_the_defaults(server: LinkServer, tmp_path: Path) -> None:
    found = told(await server.chat.get(PERMISSIONS))
    assert (found["profileName"], found["configPath"]) == ("default", str(tmp_path / "config.yaml"))
    assert found["approvals"] == {"mode": "manual", "timeout": 60, "cronMode": "deny", "deny": []}
    assert (found["terminal"]["backend"], found["terminal"]["cwd"], found["terminal"]["maxTimeout"]) == (
        "local",
        None,
        1800,
    )
    assert found["terminal"]["docker"]["mount"] is True and found["terminal"]["ssh"]["keyFile"] is None
    assert found["toolsets"]["mcpEnabled"] is True
    assert (found["commandAllowlist"], found["problems"]) == ([], [])


async def test_every_toolset_of_the_catalogue_is_shown_with_its_risk(server: LinkServer) -> None:
    items = {item["key"]: item for item in told(await server.chat.get(PERMISSIONS))["toolsets"]["items"]}
    assert list(items) == [info.name for info in CATALOGUE]
    assert items["terminal"] == {
        "key": "terminal",
        "label": "Terminal",
        "description": "Run shell commands and manage background processes",
        "risk": "run",
        "enabled": True,
        "requiresConfig": False,
        "configured": True,
    }
    assert (items["file"]["risk"], items["web"]["risk"]) == ("write", "read")
    needing = {key for key, item in items.items() if item["requiresConfig"]}
    assert needing == {"image_gen", "stt", "tts", "homeassistant"}
    assert {key for key, item in items.items() if not item["configured"]} == needing


async def test_all_that_is_sent_is_written_by_either_spelling_and_comments_stay(
    server: LinkServer, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text("approvals:\n  mode: manual  # mine\n")
    changed = told(
        await patch(
            server,
            {
                "approvals": {"mode": "smart", "timeout": 30, "cronMode": "approve"},
                "terminal": {"cwd": str(tmp_path), "max_timeout": 60, "docker": {"memory": "2g"}, "ssh": None},
                "toolsets": {"enabledToolsets": ["file", "web", "web"], "mcp_enabled": False},
                "commandAllowlist": ["git push*"],
            },
        )
    )
    assert changed == told(await server.chat.get(PERMISSIONS))
    assert changed["approvals"] == {"mode": "smart", "timeout": 30, "cronMode": "approve", "deny": []}
    assert (enabled(changed), changed["toolsets"]["mcpEnabled"]) == (["file", "web"], False)
    assert "# mine" in (tmp_path / "config.yaml").read_text()
    assert read_config(tmp_path / "config.yaml") == {
        "approvals": {"mode": "smart", "timeout": 30.0, "cron_mode": "approve"},
        "terminal": {"cwd": str(tmp_path), "max_timeout": 60.0, "docker": {"memory": "2g"}},
        "toolsets": ["file", "web"],
        "mcp_enabled": False,
        "command_allowlist": ["git push*"],
    }


async def test_null_is_the_default_again(server: LinkServer, tmp_path: Path) -> None:
    await patch(server, {"approvals": {"mode": "off"}, "terminal": {"cwd": str(tmp_path)}})
    changed = told(await patch(server, {"approvals": {"mode": None}, "terminal": {"cwd": None}}))
    assert (changed["approvals"]["mode"], changed["terminal"]["cwd"]) == ("manual", None)
    assert read_config(tmp_path / "config.yaml") == {}


async def test_the_list_that_counts_for_the_api_is_changed_and_that_of_mcp_servers_stays(
    server: LinkServer, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    servers = "mcp_servers: {a: {command: run}, b: {command: run}}\n"
    config.write_text(servers)
    await patch(server, {"toolsets": {"enabled_toolsets": ["file"]}})
    assert read_config(config)["toolsets"] == ["file", "mcp-a", "mcp-b"]
    await patch(server, {"toolsets": {"enabled_toolsets": ["web", "mcp-b"]}})
    assert read_config(config)["toolsets"] == ["web", "mcp-b"]
    await patch(server, {"toolsets": {"enabled_toolsets": []}})
    assert read_config(config)["toolsets"] == ["mcp-b"]

    config.write_text(servers + "toolsets: [todo]\nplatform_toolsets: {api_server: [safe], cli: [file]}\n")
    changed = told(await patch(server, {"toolsets": {"enabled_toolsets": ["safe", "file"]}}))
    assert read_config(config)["platform_toolsets"] == {"api_server": ["safe", "file"], "cli": ["file"]}
    assert read_config(config)["toolsets"] == ["todo"]
    assert enabled(changed) == ["file", "web", "todo", "clarify", "vision"]


async def test_what_is_configured_is_said_so(server: LinkServer, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("tts: {model: m}\nstt: {model: m, base_url: http://h/v1}\n")
    (tmp_path / ".env").write_text("HASS_URL=http://h\nHASS_TOKEN=t\n")
    items = {item["key"]: item["configured"] for item in told(await server.chat.get(PERMISSIONS))["toolsets"]["items"]}
    assert (items["tts"], items["stt"], items["homeassistant"], items["image_gen"]) == (False, True, True, False)
    (tmp_path / ".env").write_text("OPENAI_API_KEY=k\n")
    items = {item["key"]: item["configured"] for item in told(await server.chat.get(PERMISSIONS))["toolsets"]["items"]}
    assert items["tts"] is True


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"approvals": {"mode": "loud"}}, "approvals.mode"),
        ({"approvals": {"mode": False}}, "approvals.mode"),
        ({"approvals": {"timeout": 0}}, "approvals.timeout"),
        ({"approvals": {"timeout": 1e300}}, "approvals.timeout"),
        ({"approvals": {"deny": [""]}}, "approvals.deny"),
        ({"approvals": {"timeout": True}}, "approvals.timeout"),
        ({"approvals": {"cronMode": "off"}}, "approvals.cronMode"),
        ({"approvals": "off"}, "approvals"),
        ({"terminal": {"backend": "cloud"}}, "terminal.backend"),
        ({"terminal": {"shell": "sh\0"}}, "terminal.shell"),
        ({"terminal": {"docker": {"image": "a\nb"}}}, "terminal.docker.image"),
        ({"terminal": {"bubblewrap": {"binds": ["a\0b"]}}}, "terminal.bubblewrap.binds"),
        ({"terminal": {"env_passthrough": ["A", ""]}}, "terminal.env_passthrough"),
        ({"terminal": {"cwd": "relative"}}, "terminal.cwd"),
        ({"terminal": {"cwd": "/not/there"}}, "terminal.cwd"),
        ({"terminal": {"cwd": "/\0"}}, "terminal.cwd"),
        ({"terminal": {"cwd": "~nobody-at-all/x"}}, "terminal.cwd"),
        ({"terminal": {"ssh": {"port": 70000}}}, "terminal.ssh.port"),
        ({"terminal": {"docker": {"memory": "much"}}}, "terminal.docker.memory"),
        ({"toolsets": {"enabled_toolsets": ["teleport"]}}, "toolsets.enabled_toolsets"),
        ({"toolsets": {"enabled_toolsets": "file"}}, "toolsets.enabled_toolsets"),
        ({"toolsets": {"enabled_toolsets": [1]}}, "toolsets.enabled_toolsets.0"),
        ({"terminal": {"docker": {"mount": 0}}}, "terminal.docker.mount"),
        ({"terminal": {"max_processes": "5"}}, "terminal.max_processes"),
        ({"toolsets": {"mcp_enabled": "perhaps"}}, "toolsets.mcp_enabled"),
        ({"command_allowlist": [" "]}, "command_allowlist"),
        ({"command_allowlist": ["x" * 4001]}, "command_allowlist"),
        ({"command_allowlist": [str(number) for number in range(1001)]}, "command_allowlist"),
        ({"command_allowlist": {}}, "command_allowlist"),
    ],
)
async def test_a_wrong_value_changes_nothing_of_all_that_is_sent(
    server: LinkServer, tmp_path: Path, body: dict[str, Any], field: str
) -> None:
    (tmp_path / "config.yaml").write_text("limits: {max_steps: 1}\n")
    answer = await patch(server, {"command_allowlist": ["git push*"], **body})
    assert refused(answer) == (400, "profile_permissions_invalid", field)
    assert str(tmp_path) not in answer.text
    assert (tmp_path / "config.yaml").read_text() == "limits: {max_steps: 1}\n"


@pytest.mark.parametrize(
    "body",
    [{}, {"approvals": {}}, {"approvals": None, "terminal": {"docker": {}}}, {"toolsets": {}}, {"what": "ever"}],
)
async def test_nothing_to_change_is_refused(server: LinkServer, body: dict[str, Any]) -> None:
    assert refused(await patch(server, body)) == (400, "profile_permissions_update_empty", None)
    assert refused(await server.admin.patch(PERMISSIONS))[:2] == (400, "profile_permissions_update_empty")


async def test_only_an_admin_may_change_them(server: LinkServer, tmp_path: Path) -> None:
    for body in ({"approvals": {"mode": "off"}}, {"terminal": {"backend": "docker"}}, {"approvals": {"timeout": 5}}):
        assert refused(await server.chat.patch(PERMISSIONS, json=body))[:2] == (403, "scope_required")
    assert not (tmp_path / "config.yaml").exists()


async def test_the_audit_says_who_changed_what(server: LinkServer) -> None:
    await patch(server, {"approvals": {"mode": "off"}, "command_allowlist": ["a", "b"]})
    await patch(server, {"approvals": {"mode": "off"}})
    [entry] = [
        entry
        for entry in (await server.admin.get("/api/v1/audit")).json()["entries"]
        if entry["action"].startswith("permissions")
    ]
    assert (entry["action"], entry["subject"], entry["device_id"]) == (
        "permissions.changed",
        "default",
        server.admin_device.device.id,
    )
    assert entry["details"] == {"approvals.mode": "off", "command_allowlist": "2 patterns"}


async def test_each_profile_has_its_own(server: LinkServer, tmp_path: Path) -> None:
    create_profile(tmp_path, "alice")
    path = "/api/v1/profiles/alice/permissions"
    assert told(await server.admin.patch(path, json={"approvals": {"mode": "off"}}))["profileName"] == "alice"
    assert told(await server.chat.get(PERMISSIONS))["approvals"]["mode"] == "manual"
    for name in ("nobody", "..", "%2e%2e", "Alice", "a%2Fb"):
        for answer in (
            await server.admin.get(f"/api/v1/profiles/{name}/permissions"),
            await server.admin.patch(f"/api/v1/profiles/{name}/permissions", json={"approvals": {"mode": "off"}}),
        ):
            assert answer.status_code == 404


async def test_a_file_that_is_wrong_is_named_by_its_line_and_nothing_of_it_is_told(
    server: LinkServer, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("approvals: {mode: loud, timeout: 5}\n")
    found = told(await server.chat.get(PERMISSIONS))
    assert (found["approvals"]["mode"], found["approvals"]["timeout"]) == ("manual", 5)
    assert found["problems"] == ["config.yaml: approvals.mode: expected one of manual, smart, off"]
    assert told(await patch(server, {"approvals": {"mode": "off"}}))["problems"] == []

    config.write_text("model:\n  api_key: canary-one\n  api_key: canary-two\n")
    for answer in (await server.chat.get(PERMISSIONS), await patch(server, {"approvals": {"mode": "off"}})):
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (409, "profile_config_invalid")
        assert "config.yaml, line 3" in error["message"]
        assert "canary" not in answer.text and str(tmp_path) not in answer.text
