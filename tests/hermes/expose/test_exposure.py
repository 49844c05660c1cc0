"""For how long, and one at a time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hermes.core.errors import Conflict, HermesError, InvalidInput
from hermes.expose.exposure import ExposureFile, Via, seconds_of
from hermes.expose.keeping import off
from hermes.expose.probe import probe
from hermes.expose.tunnels import Wish, open_tunnel
from tests.support.edge import Edge
from tests.support.tunnels import with_path


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("90m", 5400), ("2h", 7200), ("1d", 86_400), ("1h30m", 5400), (" 2 H ", 7200), ("30d", 2_592_000)],
)
def test_a_time_is_written_as_people_write_it(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2x", "-2h", "0h", "2h!", "1.5h", "31d", "9999999999d", "2h 3"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        seconds_of(text)


def test_a_home_publishes_one_thing_at_a_time(tmp_path: Path) -> None:
    file = ExposureFile(tmp_path / "run")
    handle = file.hold()
    with pytest.raises(Conflict) as refusal:
        file.hold()
    assert refusal.value.code == "expose_running"
    held = [file.is_held]
    os.close(handle)
    assert [*held, file.is_held] == [True, False]
    os.close(file.hold())


def test_there_is_nothing_to_take_back_where_nothing_was_published(tmp_path: Path) -> None:
    assert off(tmp_path / "run", with_path(tmp_path)) is None


@pytest.mark.parametrize(
    ("command", "url", "code"),
    [
        (None, None, "invalid_request"),
        ("", None, "invalid_request"),
        ("ngrok 'http", None, "invalid_request"),
        ("no-such-program {port}", None, "expose_tool_missing"),
        ("sleep 60", "http://a.example", "invalid_request"),
        ("sleep 60", "https://a.example/path", "invalid_request"),
        ("sleep 60", "https://user:secret@a.example", "invalid_request"),
        ("sleep 60", "https://", "invalid_request"),
        ("sleep 60", "https://a b", "invalid_request"),
        ("sleep 60", "https://a.example.", "invalid_request"),
        ("sleep 60", f"https://{'a' * 64}.example", "invalid_request"),
        ("sh -c 'echo no account >&2; exit 3'", None, "expose_failed"),
    ],
)
def test_a_command_that_is_no_tunnel_is_refused(
    tmp_path: Path, command: str | None, url: str | None, code: str
) -> None:
    wish = Wish(Via.COMMAND, 8642, command=command, url=url)
    with pytest.raises(HermesError) as refusal:
        open_tunnel(wish, with_path(tmp_path), lock=None, say=print)
    assert refusal.value.code == code
    assert "exit 3" not in (command or "") or "no account" in refusal.value.message


def test_a_command_is_no_shell(tmp_path: Path) -> None:
    tool = tmp_path / "tunnel"
    tool.write_text('#!/bin/sh\necho "$#: $1 $2"\necho "url=https://a.example:8443/"\nexec sleep 60\n')
    tool.chmod(0o755)
    wish = Wish(Via.COMMAND, 8642, command=f"{tool} '{{port}}; touch x' {{url}}")
    opened = open_tunnel(wish, with_path(tmp_path), lock=None, say=print)
    assert opened.program is not None
    opened.program.end()
    assert opened.url == "https://a.example:8443"
    assert opened.program.said().splitlines()[0] == "2: 8642; touch x http://127.0.0.1:8642"


@pytest.mark.parametrize(
    "line",
    [
        "It leads to https://a.example.",
        "\x1b[32mhttps://a.example\x1b[0m",
        "not https://[: nor https://... but https://a.example/ (see https://manual.example/start)",
    ],
)
def test_an_address_is_found_in_what_is_written_for_people(tmp_path: Path, line: str) -> None:
    (tmp_path / "words").write_text(f"{line}\n")
    tool = tmp_path / "tunnel"
    tool.write_text(f"#!/bin/sh\ncat {tmp_path / 'words'}\nexec sleep 60\n")
    tool.chmod(0o755)
    wish = Wish(Via.COMMAND, 8642, command=str(tool))
    opened = open_tunnel(wish, with_path(tmp_path), lock=None, say=print)
    assert opened.program is not None
    opened.program.end()
    assert opened.url == "https://a.example"


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="only Linux has all of 127.0.0.0/8")
def test_the_probe_tells_what_is_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edge = Edge(tmp_path, [0], lambda port: None)
    url = f"https://{edge.address}:{edge.ports[0]}"
    try:
        assert "not trusted" in probe(url, "/health").problem
        monkeypatch.setenv("SSL_CERT_FILE", str(edge.authority))
        found = probe(url, "/health")
        assert (found.has_answered, found.addresses, found.is_from_outside) == (False, (edge.address,), False)
        assert "does not reach the server (502)" in found.problem
    finally:
        edge.close()
    assert "no connection" in probe(url, "/health").problem
    for name in ("nobody.invalid", f"{'a' * 64}.invalid"):
        assert "not known" in probe(f"https://{name}", "/health").problem
