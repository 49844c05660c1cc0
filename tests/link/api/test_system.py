"""What a device learns of the machine that Link runs on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hermeslink import __version__
from hermeslink.home import LinkHome
from hermeslink.system.installation import install_id
from tests.support.link import LinkServer, serving_link

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")


async def test_the_place_is_told_as_it_is(server: LinkServer) -> None:
    server.link.network.port = server.port
    told = (await server.chat.get("/api/v1/system/status")).json()
    assert {key: told[key] for key in ("ok", "version", "linkId", "port", "updateAvailable")} == {
        "ok": True,
        "version": __version__,
        "linkId": server.link.identity.link_id,
        "port": server.port,
        "updateAvailable": None,
    }
    assert told["networkReport"] == {"lanIps": list(server.link.network.lan_addresses()), "publicUrls": []}
    assert told["autostart"] == {"supported": False, "enabled": False, "method": None, "services": {"link": False}}
    again = (await server.admin.get("/api/v1/system/status")).json()
    assert re.fullmatch("inst_[0-9a-f]{32}", told["installId"]) and again["installId"] == told["installId"]


async def test_a_lan_host_is_what_is_told(tmp_path: Path) -> None:
    async with serving_link(tmp_path, settings={"lan-host": "192.0.2.7"}) as server:
        told = (await server.chat.get("/api/v1/system/status")).json()
        assert told["networkReport"]["lanIps"] == ["192.0.2.7"]
        assert told["environment"]["warning"] is None


def test_an_installation_keeps_its_id_and_mends_one_that_is_none(tmp_path: Path) -> None:
    home = LinkHome(tmp_path)
    first = install_id(home)
    assert install_id(home) == first
    assert home.install_id_file.stat().st_mode & 0o777 == 0o600
    home.install_id_file.write_text("../../etc")
    second = install_id(home)
    assert second != first and install_id(home) == second
