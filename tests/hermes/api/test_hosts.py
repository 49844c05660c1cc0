"""DNS rebinding: only a name of this server gets an answer."""

from __future__ import annotations

import json

import pytest

from hermes.core.errors import HostNotAllowed, InvalidInput
from hermes.core.hosts import AllowedHosts, normal_host
from tests.support.api import KEY, FakeRunner, Server, make_services, serving

HERE = ("127.0.0.1", 8642)


def outcome(hosts: AllowedHosts, *values: bytes, server: tuple[str, int] | None = HERE) -> str:
    try:
        hosts.check([(b"accept", b"*/*"), *((b"host", value) for value in values)], server)
    except InvalidInput as error:
        return error.code
    except HostNotAllowed as error:
        assert "API_SERVER_ALLOWED_HOSTS" in error.message
        return error.code
    return "ok"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"127.0.0.1:8642", "ok"),
        (b"127.0.0.1", "ok"),
        (b"localhost", "ok"),
        (b"localhost:1", "ok"),
        (b"LOCALHOST:8642", "ok"),
        (b"LocalHost", "ok"),
        (b"[::1]", "ok"),
        (b"[::1]:8642", "ok"),
        (b"[0:0:0:0:0:0:0:1]:8642", "ok"),
        (b"127.0.0.1.evil.com", "host_not_allowed"),
        (b"localhost.evil.com", "host_not_allowed"),
        (b"evil.com", "host_not_allowed"),
        (b"evil.com:8642", "host_not_allowed"),
        (b"localhost.", "host_not_allowed"),
        (b"127.0.0.1.", "host_not_allowed"),
        (b"127.0.0.2", "host_not_allowed"),
        (b"127.1", "host_not_allowed"),
        (b"2130706433", "host_not_allowed"),
        (b"0x7f000001", "host_not_allowed"),
        (b"0.0.0.0:8642", "host_not_allowed"),
        (b"[::]", "host_not_allowed"),
        (b"[::ffff:127.0.0.1]", "host_not_allowed"),
        (b"[::2]", "host_not_allowed"),
        (b"xlocalhost", "host_not_allowed"),
        (b"", "invalid_host"),
        (b":8642", "invalid_host"),
        (b"localhost:", "invalid_host"),
        (b"localhost:x", "invalid_host"),
        (b"localhost:99999", "invalid_host"),
        (b"localhost:8642:1", "invalid_host"),
        (b"localhost:8642/", "invalid_host"),
        (b"localhost@evil.com", "invalid_host"),
        (b"evil.com@localhost", "invalid_host"),
        (b"localhost evil.com", "invalid_host"),
        (b"localhost,evil.com", "invalid_host"),
        (b"localhost\\evil.com", "invalid_host"),
        (b"http://localhost", "invalid_host"),
        (b"[::1", "invalid_host"),
        (b"[::1]x", "invalid_host"),
        (b"[::1%25lo]", "invalid_host"),
        (b"[localhost]", "invalid_host"),
        (b"loc%61lhost", "invalid_host"),
        ("löcalhost".encode(), "invalid_host"),
        (b"localhost\x00", "invalid_host"),
        (b"localhost\n", "invalid_host"),
    ],
)
def test_only_loopback_names_pass_by_default(value: bytes, expected: str) -> None:
    assert outcome(AllowedHosts(), value) == expected


def test_there_must_be_exactly_one_host() -> None:
    hosts = AllowedHosts()
    assert outcome(hosts) == "invalid_host"
    assert outcome(hosts, b"localhost", b"localhost") == "invalid_host"
    assert outcome(hosts, b"localhost", b"evil.com") == "invalid_host"


def test_allowed_names_and_the_bound_one_pass_whatever_their_port() -> None:
    hosts = AllowedHosts("192.168.1.5", ["hermes.example.com", "Box:8642", "[2001:db8::1]:443", "2001:db8::2"])
    for value in (b"192.168.1.5", b"hermes.example.com:443", b"HERMES.example.com", b"box", b"[2001:db8::1]"):
        assert outcome(hosts, value) == "ok"
    assert outcome(hosts, b"[2001:db8:0::2]:1") == "ok"
    assert outcome(hosts, b"x.hermes.example.com") == "host_not_allowed"
    assert outcome(hosts, b"hermes.example.com.evil.com") == "host_not_allowed"


def test_bound_to_every_interface_the_address_that_was_called_is_a_name_of_ours() -> None:
    hosts = AllowedHosts("0.0.0.0")
    assert outcome(hosts, b"192.168.1.5:8642", server=("192.168.1.5", 8642)) == "ok"
    assert outcome(hosts, b"192.168.1.6:8642", server=("192.168.1.5", 8642)) == "host_not_allowed"
    assert outcome(hosts, b"0.0.0.0:8642", server=("0.0.0.0", 8642)) == "host_not_allowed"
    assert outcome(hosts, b"[fd00::5]", server=("fd00::5", 8642)) == "ok"
    assert outcome(hosts, b"localhost", server=None) == "ok"


def test_a_published_name_can_come_and_go_while_the_server_runs() -> None:
    hosts = AllowedHosts()
    hosts.add("box.tail1234.ts.net")
    assert outcome(hosts, b"box.tail1234.ts.net") == "ok"
    hosts.remove("box.tail1234.ts.net")
    assert outcome(hosts, b"box.tail1234.ts.net") == "host_not_allowed"
    hosts.remove("localhost")
    assert outcome(hosts, b"localhost") == "ok"


@pytest.mark.parametrize("setting", ["", "*", "a b", "http://x", "[]", "::::"])
def test_a_setting_that_is_no_name_allows_nothing(setting: str) -> None:
    assert normal_host(setting) is None
    AllowedHosts("127.0.0.1", [setting])


def request(line: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([line, *headers, b"Authorization: Bearer " + KEY.encode(), b"Connection: close", b"", b""])


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (request(b"GET /health HTTP/1.1", b"Host: localhost"), 200),
        (request(b"GET /health HTTP/1.1", b"Host: evil.com"), 421),
        (request(b"GET /v1/models HTTP/1.1", b"Host: evil.com"), 421),
        (request(b"GET /health HTTP/1.1"), 400),
        (request(b"GET /health HTTP/1.1", b"Host: localhost", b"Host: evil.com"), 400),
        (request(b"GET /health HTTP/1.1", b"Host: localhost", b"Host: localhost"), 400),
        (request(b"GET http://evil.com/health HTTP/1.1", b"Host: evil.com"), 421),
        (request(b"GET http://localhost/health HTTP/1.1", b"Host: evil.com"), 421),
        (request(b"GET http://localhost/health HTTP/1.1", b"Host: localhost"), 200),
        (request(b"GET /health HTTP/1.0"), 400),
        (request(b"OPTIONS /health HTTP/1.1", b"Host: evil.com", b"Origin: http://evil.com"), 421),
    ],
)
async def test_over_the_socket_the_host_comes_before_everything(server: Server, head: bytes, status: int) -> None:
    answer = await server.raw(head)
    first, _, body = answer.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 %d " % status)
    assert b"x-content-type-options: nosniff" in first
    if status != 200:
        assert json.loads(body)["error"]["code"] == ("host_not_allowed" if status == 421 else "invalid_host")


async def test_a_rebound_page_starts_no_run() -> None:
    runner = FakeRunner()
    async with serving(make_services(runner)) as server:
        response = await server.chat(headers={"Host": "evil.com"})
        assert (response.status_code, response.json()["error"]["code"]) == (421, "host_not_allowed")
        assert "evil.com" in response.json()["error"]["message"]
    assert runner.requests == []


async def test_a_name_may_be_learned_before_it_is_refused() -> None:
    known: set[str] = set()
    asked: list[tuple[str, int]] = []

    async def learn(name: str, port: int) -> bool:
        asked.append((name, port))
        if name == "box.ts.net":
            known.add(name)
        return name in known

    hosts = AllowedHosts(also=lambda: known, learn=learn)
    for value, expected in ((b"localhost", "ok"), (b"box.ts.net", "ok"), (b"Box.ts.net:443", "ok"), (b"x", "no")):
        try:
            await hosts.admit([(b"host", value)], HERE)
            outcome = "ok"
        except HostNotAllowed:
            outcome = "no"
        assert outcome == expected, value
    assert asked == [("box.ts.net", 8642), ("x", 8642)]
