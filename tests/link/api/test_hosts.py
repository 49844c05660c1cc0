"""DNS rebinding: only a name of this service gets an answer, before anything else is looked at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.link import LinkServer, serving_link

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

VERSION = "GET /api/v1/system/version HTTP/1.1"
HOSTS = [
    ("localhost", "ok"),
    ("LocalHost:1", "ok"),
    ("127.0.0.1:18642", "ok"),
    ("[::1]:18642", "ok"),
    ("[0:0:0:0:0:0:0:1]", "ok"),
    ("evil.com", "host_not_allowed"),
    ("127.0.0.1.evil.com", "host_not_allowed"),
    ("localhost.evil.com", "host_not_allowed"),
    ("evil.com:18642", "host_not_allowed"),
    ("localhost.", "host_not_allowed"),
    ("127.0.0.1.", "host_not_allowed"),
    ("127.1", "host_not_allowed"),
    ("2130706433", "host_not_allowed"),
    ("0x7f000001", "host_not_allowed"),
    ("0.0.0.0", "host_not_allowed"),
    ("[::ffff:127.0.0.1]", "host_not_allowed"),
    ("xlocalhost", "host_not_allowed"),
    ("", "invalid_host"),
    ("localhost:", "invalid_host"),
    ("localhost:99999", "invalid_host"),
    ("localhost@evil.com", "invalid_host"),
    ("evil.com@localhost", "invalid_host"),
    ("localhost,evil.com", "invalid_host"),
    ("localhost evil.com", "invalid_host"),
    ("http://localhost", "invalid_host"),
    ("[::1", "invalid_host"),
    ("[localhost]", "invalid_host"),
    ("loc%61lhost", "invalid_host"),
]


def outcome(answer: bytes) -> str:
    """`ok`, or the code of the error."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"x-content-type-options: nosniff" in head
    status = int(head.split()[1])
    told = json.loads(body)
    if status == 200:
        return "ok"
    assert status == {"host_not_allowed": 421, "invalid_host": 400, "invalid_request": 400}[told["error"]["code"]]
    assert told["ok"] is False
    return str(told["error"]["code"])


async def test_only_a_name_of_ours_is_answered(server: LinkServer) -> None:
    for host, expected in HOSTS:
        assert outcome(await server.head(VERSION, f"Host: {host}")) == expected, host


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([VERSION], "invalid_host"),
        ([VERSION, "Host: localhost", "Host: localhost"], "invalid_host"),
        ([VERSION, "Host: localhost", "Host: evil.com"], "invalid_host"),
        (["GET http://evil.com/api/v1/system/version HTTP/1.1", "Host: evil.com"], "host_not_allowed"),
        (["GET http://localhost/api/v1/system/version HTTP/1.1", "Host: evil.com"], "host_not_allowed"),
        (["GET http://localhost/api/v1/system/version HTTP/1.1", "Host: localhost"], "ok"),
        (["GET /api/v1/system/version HTTP/1.0"], "invalid_host"),
        (["OPTIONS /api/v1/system/version HTTP/1.1", "Host: evil.com", "Origin: http://evil.com"], "host_not_allowed"),
        (["GET /api/v1/devices HTTP/1.1", "Host: evil.com"], "host_not_allowed"),
        (["POST /api/v1/pairing/session HTTP/1.1", "Host: evil.com", "Content-Length: 0"], "host_not_allowed"),
    ],
)
async def test_there_is_one_host_and_it_comes_first(server: LinkServer, lines: list[str], expected: str) -> None:
    assert outcome(await server.head(*lines, token=server.admin_device.access.token)) == expected


async def test_names_of_this_machine_and_of_the_settings_pass(tmp_path: Path) -> None:
    settings = {"allowed-hosts": ["box.example.com"], "lan-host": "192.168.7.9"}
    async with serving_link(tmp_path, settings=settings) as server:
        for host in ("box.example.com", "BOX.example.com:443", server.link.network.local_name, "192.168.7.9:18642"):
            assert outcome(await server.head(VERSION, f"Host: {host}")) == "ok", host
        assert outcome(await server.head(VERSION, "Host: x.box.example.com")) == "host_not_allowed"


async def test_the_refusal_names_the_setting(server: LinkServer) -> None:
    answer = await server.client.get("/api/v1/system/version", headers={"Host": "evil.com"})
    assert "allowed-hosts" in answer.json()["error"]["message"]
