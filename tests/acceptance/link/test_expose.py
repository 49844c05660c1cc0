"""Link through a tunnel: what `hermeslink expose` and the rows do, asked from outside over TLS."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from hermes.expose.exposure import ExposureFile
from tests.acceptance.link.phone import Phone, refused
from tests.acceptance.link.process import LinkProcess, make_link
from tests.acceptance.test_expose import OTHERS, SLOT, leads_to
from tests.support.command import SECONDS, Command
from tests.support.edge import Edge
from tests.support.tunnels import CONSENT, StandInTailscale, web
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.sqlite("Link keeps its data in SQLite"),
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8"),
]


@dataclass
class Place:
    link: LinkProcess
    tailscale: StandInTailscale
    edge: Edge
    started: list[Command] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://{self.edge.address}:{SLOT}"

    def start(self, *arguments: str) -> Command:
        command = Command(
            subprocess.Popen(
                [sys.executable, "-m", "hermeslink", "expose", *arguments],
                env=self.link.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        self.started.append(command)
        return command

    def outside(self, method: str, path: str, token: str | None = None, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        context = ssl.create_default_context(cafile=str(self.edge.authority))
        with httpx.Client(verify=context, timeout=SECONDS, trust_env=False) as client:
            return client.request(method, f"{self.url}{path}", headers=headers, **options)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    folder = tmp_path / "tailscale"
    folder.mkdir()
    tailscale = StandInTailscale(folder, config=OTHERS)
    edge = Edge(folder, (SLOT, 10000), lambda slot: leads_to(tailscale, slot))
    tailscale.now(name=edge.address)
    link = make_link(tmp_path, tmp_path / "hermes")
    link.environ |= {**tailscale.environ, "SSL_CERT_FILE": str(edge.authority)}
    made = Place(link.start(), tailscale, edge)
    yield made
    link.run("expose", "off", check=False)
    for command in made.started:
        if command.process.poll() is None:
            command.process.kill()
            command.process.wait()
    link.close()
    edge.close()


def test_a_phone_pairs_from_elsewhere_by_the_code_that_names_the_published_address(place: Place) -> None:
    command = place.start("--for", "1h")
    assert command.says("https://") == place.url
    command.says("It answers there")
    code = json.loads(place.link.run("pair", "--json").stdout)
    assert code["preferred_urls"][0] == place.url

    paired = place.outside(
        "POST",
        "/api/v1/auth/device-session",
        code["code"],
        json={"device_label": "Far away", "device_platform": "ios"},
    ).json()
    token = paired["access_token"]["token"] if isinstance(paired["access_token"], dict) else paired["access_token"]
    assert place.outside("GET", "/api/v1/auth/me", token).status_code == 200
    assert place.outside("GET", "/api/v1/auth/me").status_code == 401
    assert place.outside("POST", "/api/v1/pairing/session", json={}).status_code == 401
    assert place.outside("GET", "/metrics").status_code == 401
    assert place.outside("GET", "/api/v1/bootstrap").json()["routes"] == []
    told = place.outside("GET", "/api/v1/bootstrap", token).json()
    assert told["routes"][0] == {"url": place.url, "kind": "public"}
    assert command.stop() == 0
    assert place.outside("GET", "/api/v1/bootstrap").status_code == 502


TUNNEL = """
import pathlib, signal, sys, time, urllib.error, urllib.request
port, url, told = sys.argv[1:]

def ask(*_):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/pairing/session", b"{}")
    request.add_header("Content-Type", "application/json")
    try:
        status = urllib.request.urlopen(request, timeout=60).status
    except urllib.error.HTTPError as error:
        status = error.code
    with pathlib.Path(told).open("a") as file:
        file.write(f"{status}\\n")

def end(*_):
    ask()
    raise SystemExit

signal.signal(signal.SIGINT, end)
ask()
print(url, flush=True)
time.sleep(600)
"""
"""It tells nobody who is behind it, and somebody comes through it as soon and as late as can be."""


def test_nobody_is_local_before_the_address_is_known_or_after_the_time_is_over(place: Place, tmp_path: Path) -> None:
    program, told = tmp_path / "tunnel.py", tmp_path / "told"
    program.write_text(TUNNEL)
    tool = f"{sys.executable} {program} {{port}} {place.url} {told}"
    command = place.start("--via", "command", "--command", tool, "--for", "1s")
    assert command.ended() == 0
    assert set(told.read_text().split()) == {"401"}
    assert httpx.post(f"{place.link.url}/api/v1/pairing/session", json={}).status_code == 201


def test_an_admin_opens_and_closes_it_from_a_phone(place: Place) -> None:
    admin = place.link.phone()
    chat = place.link.phone(scope="chat")
    assert refused(ask(chat, place, "POST", {})) == (403, "scope_required")
    opened = ask(admin, place, "POST", {"seconds": 3600}).json()
    assert (opened["url"], opened["answers"], opened["problem"]) == (place.url, True, None)
    assert opened["exposure"]["public"] and opened["exposure"]["until"]
    assert refused(ask(admin, place, "POST", {})) == (409, "expose_running")
    again = ask(admin, place, "GET").json()
    assert (again["url"], again["answers"]) == (place.url, None)
    place.link.stop()
    assert ExposureFile(place.link.home / "run").is_held  # it outlives the service
    place.link.start()
    closed = ask(admin, place, "DELETE").json()
    assert (closed["closed"], closed["exposed"]) == (place.url, False)
    assert ask(admin, place, "DELETE").json()["closed"] is None
    assert place.tailscale.state["config"] == {**OTHERS, "Foreground": {}}
    actions = [entry["action"] for entry in admin.get("/audit")["entries"]]
    assert actions.count("expose.opened") == actions.count("expose.closed") == 1


def test_what_tailscale_keeps_needs_no_process(place: Place) -> None:
    admin = place.link.phone()
    opened = ask(admin, place, "POST", {"seconds": None}).json()
    assert (opened["url"], opened["answers"], opened["exposure"]["until"]) == (place.url, True, None)
    assert place.tailscale.state["config"]["AllowFunnel"] == {f"{place.edge.address}:{SLOT}": True}
    assert ask(admin, place, "DELETE").json()["closed"] == place.url
    assert place.tailscale.state["config"] == OTHERS


def test_the_link_to_consent_reaches_the_phone(place: Place) -> None:
    place.tailscale.now(consent=CONSENT, waits=True)
    answer = ask(place.link.phone(), place, "POST", {})
    assert refused(answer) == (409, "expose_consent_required")
    assert CONSENT in answer.json()["error"]["message"]


def test_a_tools_own_words_stay_in_the_log(place: Place) -> None:
    program = place.tailscale.folder / "cloudflared"
    program.write_text("#!/bin/sh\necho cannot open /etc/cloudflared/secret.json >&2\nexit 1\n")
    program.chmod(0o755)
    answer = ask(place.link.phone(), place, "POST", {"via": "cloudflared"})
    assert refused(answer) == (502, "expose_failed")
    assert "secret.json" not in answer.text
    eventually(lambda: "secret.json" in (place.link.home / "logs" / "link.log").read_text(), SECONDS)


def test_the_doctor_and_the_status_tell_of_a_funnel_set_up_by_hand(place: Place) -> None:
    place.tailscale.now(config=web(SLOT, place.link.port, host=place.edge.address))
    told = json.loads(place.link.run("expose", "status", "--json").stdout)
    assert (told["url"], told["answers"], told["via"]) == (place.url, False, None)
    assert "421" in told["problem"]  # an address is no name of Tailscale's, which is learned
    findings = json.loads(place.link.run("doctor", "--json", check=False).stdout)["findings"]
    [published] = [one for one in findings if one["name"] == "published"]
    assert (published["mend"], published["is_wrong"]) == (f"tailscale funnel --https={SLOT} off", False)
    assert place.url in published["text"]


def ask(phone: Phone, place: Place, method: str, body: Any = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {phone.access}"}
    return httpx.request(method, f"{place.link.url}/api/v1/expose", headers=headers, json=body, timeout=SECONDS)
