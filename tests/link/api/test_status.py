"""GET /status, /models and /profiles: values of this moment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hermes import __version__
from hermes.home.locks import GatewayProcess, lock_gateway
from hermes.home.paths import Home
from tests.support.link import LinkServer, serving_link
from tests.support.link_stand_in import LinkStandIn

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")


async def state(server: LinkServer) -> tuple[str, str | None]:
    told = (await server.admin.get("/api/v1/status")).json()["api_server"]
    return told["state"], told["issue"]


async def test_status_follows_the_api_server(tmp_path: Path) -> None:
    async with LinkStandIn() as stand_in, serving_link(tmp_path) as server:
        stand_in.write_env(tmp_path)
        assert await state(server) == ("online", None)
        await stand_in.stop()
        offline, mend = await state(server)
        assert (offline, "hermes gateway" in (mend or "")) == ("offline", True)
        await stand_in.start(key="another")
        unauthorized, mend = await state(server)
        assert (unauthorized, "API_SERVER_KEY" in (mend or "")) == ("unauthorized", True)
        stand_in.write_env(tmp_path)
        assert await state(server) == ("online", None)


async def test_status_counts_what_there_is_and_looks_at_the_gateway(tmp_path: Path) -> None:
    home = Home(tmp_path)
    async with serving_link(tmp_path) as server:
        told = (await server.admin.get("/api/v1/status")).json()
        assert told["devices"] == {"total": 2, "active": 2, "revoked": 0, "trusted": 2}
        assert (told["paired"], told["profiles"], told["gateway"]["state"]) == (True, {"total": 1}, "stopped")
        assert told["link"] == {"state": "running", "version": __version__, "update_available": None}
        assert told["link_id"] == server.link.identity.link_id

        (tmp_path / "profiles" / "alice").mkdir(parents=True)
        home.run_dir.mkdir()
        lock = lock_gateway(home.pid_file, now=1.0)
        try:
            lock.announce(GatewayProcess(os.getpid(), 1.0, None, is_ready=True))
            told = (await server.chat.get("/api/v1/status")).json()
        finally:
            lock.release()
        assert (told["gateway"]["state"], told["profiles"]) == ("jobs_only", {"total": 2})
        assert told["devices"]["total"] == 1


async def test_models_are_the_api_servers_own_list(tmp_path: Path) -> None:
    async with LinkStandIn() as stand_in, serving_link(tmp_path) as server:
        stand_in.write_env(tmp_path)
        answer = await server.chat.get("/api/v1/models")
        assert answer.json() == {"object": "list", "data": [{"id": "stand-in", "object": "model"}]}

        of_another_kind = {"data": [{"id": "x"}, {"id": "y", "object": "alias", "of": "x"}], "has_more": False}
        stand_in.answers["GET", "/v1/models"] = (200, of_another_kind)
        assert (await server.chat.get("/api/v1/models")).json() == of_another_kind


async def test_profiles_are_the_names_of_the_homes(tmp_path: Path) -> None:
    (tmp_path / "profiles" / "alice").mkdir(parents=True)
    async with serving_link(tmp_path) as server:
        assert (await server.chat.get("/api/v1/profiles")).json() == {"ok": True, "profiles": ["default", "alice"]}
