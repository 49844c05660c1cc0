"""Starting with the machine: from an admin's device and from the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hermes.home.paths import Home, create_home
from tests.support.link import serving_link
from tests.support.link_cli import HermesLink

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

ENTRY = Path(".config/autostart/hermes-link.desktop")
GATEWAY = Path(".config/autostart/hermes-gateway-default.desktop")


@pytest.fixture
def desktop(tmp_path: Path) -> Path:
    """The home of a user who logs in at a screen, on a machine without systemd."""
    (tmp_path / ".config" / "autostart").mkdir(parents=True)
    return tmp_path


async def test_an_admin_switches_it_on_and_off_for_both_services(desktop: Path) -> None:
    create_home(Home(desktop))
    async with serving_link(desktop) as server:
        on = await server.admin.post("/api/v1/system/autostart/enable")
        assert on.json() == {
            "ok": True,
            "autostart": {
                "supported": True,
                "enabled": True,
                "method": "xdg",
                "services": {"link": True, "gateway": True},
            },
            "note": None,
        }
        assert f"HERMESLINK_HOME={server.link.home.path}" in (desktop / ENTRY).read_text()
        assert "hermes gateway start" in (desktop / GATEWAY).read_text()
        one = await server.admin.post("/api/v1/system/autostart/disable", json={"services": ["gateway"]})
        assert one.json()["autostart"]["services"] == {"link": True, "gateway": False}
        off = await server.admin.post("/api/v1/system/autostart/disable")
        assert off.json()["autostart"]["services"] == {"link": False, "gateway": False}
        assert not (desktop / ENTRY).exists() and not (desktop / GATEWAY).exists()
        written = (await server.admin.get("/api/v1/audit")).json()["entries"]
        assert [one["action"] for one in written if one["action"].startswith("autostart")] == [
            "autostart.disabled",
            "autostart.disabled",
            "autostart.enabled",
        ]


async def test_an_entry_of_another_home_leaves_nothing_half_done(desktop: Path) -> None:
    create_home(Home(desktop))
    (desktop / GATEWAY).write_text("somebody else's")
    async with serving_link(desktop) as server:
        refused = await server.admin.post("/api/v1/system/autostart/enable")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "entry_of_another_home")
        assert not (desktop / ENTRY).exists()
        alone = await server.admin.post("/api/v1/system/autostart/enable", json={"services": ["link"]})
        assert alone.json()["autostart"]["services"] == {"link": True, "gateway": False}
        assert (desktop / GATEWAY).read_text() == "somebody else's"


async def test_a_folder_that_cannot_be_written_is_named(desktop: Path) -> None:
    async with serving_link(desktop) as server:
        (desktop / ENTRY).mkdir()
        refused = await server.admin.post("/api/v1/system/autostart/enable")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "autostart_not_written")
        assert "hermes-link.desktop" in refused.json()["error"]["message"]


async def test_before_another_server_the_gateway_is_no_matter(desktop: Path) -> None:
    async with serving_link(desktop) as server:
        on = (await server.admin.post("/api/v1/system/autostart/enable")).json()
        assert on["autostart"]["services"] == {"link": True}
        assert not (desktop / GATEWAY).exists()


async def test_a_machine_that_starts_nothing_says_so(tmp_path: Path) -> None:
    async with serving_link(tmp_path) as server:
        refused = await server.admin.post("/api/v1/system/autostart/enable")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "autostart_unsupported")
        assert "hermeslink start" in refused.json()["error"]["message"]


async def test_a_service_that_there_is_not_is_refused(tmp_path: Path) -> None:
    async with serving_link(tmp_path) as server:
        refused = await server.admin.post("/api/v1/system/autostart/enable", json={"services": ["sshd"]})
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "validation_error")


@pytest.mark.parametrize(("on", "off"), [("on", "off"), ("enable", "disable")])
def test_the_command_does_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], desktop: Path, on: str, off: str
) -> None:
    hermeslink = HermesLink(tmp_path, capsys)
    create_home(Home(tmp_path / "hermes"))
    done = hermeslink("autostart", on)
    assert (done.code, done.out) == (0, f"Wrote {desktop / ENTRY}\nWrote {desktop / GATEWAY}\n"), done.err
    told = json.loads(hermeslink("autostart", "status", "--json").out)
    assert told == {
        "link": {"enabled": True, "method": "xdg", "file": str(desktop / ENTRY)},
        "gateway": {"enabled": True, "method": "xdg", "file": str(desktop / GATEWAY)},
    }
    assert hermeslink("autostart", off, "--only-link").out == f"Removed {desktop / ENTRY}\n"
    assert hermeslink("autostart", off).out == f"Removed {desktop / GATEWAY}\n"
    assert hermeslink("autostart", off).out == "Nothing was started with the machine.\n"


SYSTEMCTL = """#!/bin/sh
# what systemd does with the unit, as far as it matters here
unit="$HOME/.config/systemd/user/hermes-link.service"
echo "$2" >> "$HOME/asked"
case "$2" in
enable)
    mkdir -p "$HOME/.config/systemd/user/default.target.wants"
    ln -sf "$unit" "$HOME/.config/systemd/user/default.target.wants/"
    ;;
restart)
    eval "$(sed -n 's/^Environment=/export /p' "$unit")"
    setsid $(sed -n 's/^ExecStart=//p' "$unit") > /dev/null 2>&1 < /dev/null &
    ;;
esac
"""


@pytest.mark.slow
def test_with_the_unit_a_start_goes_through_systemd(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hermeslink = HermesLink(
        tmp_path, capsys, {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    )
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "systemctl").write_text(SYSTEMCTL)
    (programs / "systemctl").chmod(0o755)
    hermeslink.environ["PATH"] = f"{programs}:{hermeslink.environ['PATH']}"
    assert hermeslink("autostart", "on").code == 0
    started = hermeslink("start")
    assert (started.code, "hermeslink stop" in started.out) == (0, True), started.err
    try:
        assert "Stopped (pid" in hermeslink("restart").out
    finally:
        assert "Stopped (pid" in hermeslink("stop").out
    asked = (tmp_path / "asked").read_text().split()
    assert [word for word in asked if word != "show-environment"] == ["daemon-reload", "enable", "restart", "restart"]
