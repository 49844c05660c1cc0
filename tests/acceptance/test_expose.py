"""`hermes expose` against a real gateway: the program of the tunnel is a stand-in, its TLS, its headers and its name
are not."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from hermes.expose.exposure import ExposureFile
from hermes.expose.tailscale import read_serving
from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway
from tests.acceptance.link.process import free_port
from tests.support.command import SECONDS, Command
from tests.support.edge import Edge
from tests.support.tunnels import CONSENT, StandInCloudflared, StandInTailscale, web, with_path
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8"),
]

OTHERS = {"TCP": {"443": {"HTTPS": True}}, "Web": {"other:443": {"Handlers": {"/": {"Proxy": "http://127.0.0.1:1"}}}}}
"""What somebody else set up at Tailscale before."""
SLOT = 8443
"""The next one then."""
QUICK = StandInCloudflared.host
PROGRAMS = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin"


@dataclass
class Published:
    """A gateway, and a Tailscale whose Funnel ends at `edge`."""

    gateway: Gateway
    tailscale: StandInTailscale
    edge: Edge
    started: list[Command] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://{self.edge.address}:{SLOT}"

    @property
    def file(self) -> ExposureFile:
        return ExposureFile(self.gateway.home / "run")

    def environ(self, **more: str) -> dict[str, str]:
        environ = {**self.gateway.environ, **self.tailscale.environ, "SSL_CERT_FILE": str(self.edge.authority), **more}
        return environ | ({"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {})

    def start(self, *arguments: str, **environ: str) -> Command:
        """`hermes expose …`, which goes on."""
        command = Command(
            subprocess.Popen(
                [sys.executable, "-m", "hermes", "expose", *arguments],
                env=self.environ(**environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        self.started.append(command)
        return command

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "hermes", "expose", *arguments],
            env=self.environ(**environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * SECONDS,
            check=False,
        )

    def status(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return told

    def ask(self, path: str = "/health", **headers: str) -> httpx.Response:
        """From outside. TLS is checked."""
        context = ssl.create_default_context(cafile=str(self.edge.authority))
        return httpx.get(f"{self.url}{path}", verify=context, headers=headers, timeout=SECONDS, trust_env=False)


@pytest.fixture
def published(start_gateway: StartGateway, tmp_path: Path) -> Iterator[Published]:
    place = tmp_path / "tailscale"
    place.mkdir()
    gateway = start_gateway()
    tailscale = StandInTailscale(place, config=OTHERS)
    edge = Edge(place, (SLOT, 10000), lambda slot: leads_to(tailscale, slot))
    tailscale.now(name=edge.address)
    made = Published(gateway, tailscale, edge)
    yield made
    made.run("off")
    for command in made.started:
        if command.process.poll() is None:
            command.process.kill()
            command.process.wait()
    edge.close()


def leads_to(tailscale: StandInTailscale, slot: int) -> int | None:
    config = tailscale.state["config"] or {}
    alive = {session: one for session, one in config.get("Foreground", {}).items() if Path(f"/proc/{session}").exists()}
    mounts = read_serving({**config, "Foreground": alive}).mounts
    return next((mount.port for mount in mounts if mount.slot == slot and mount.is_public), None)


def test_a_server_is_published_for_as_long_as_the_command_runs(published: Published) -> None:
    command = published.start("--for", "1h")
    assert command.says("https://") == published.url
    command.says("It answers there")

    assert published.ask().json()["status"] == "ok"
    assert published.ask("/v1/models").status_code == 401
    answer = published.ask("/v1/models", Authorization=f"Bearer {published.gateway.key}")
    assert answer.status_code == 200
    assert published.status()["url"] == published.url
    assert published.run().returncode == 1  # one at a time

    assert command.stop() == 0
    assert published.tailscale.state["config"] == {**OTHERS, "Foreground": {}}
    assert published.file.read() is None
    assert published.ask().status_code == 502
    direct = httpx.get(f"{published.gateway.url}/health", headers={"Host": published.edge.address})
    assert (direct.status_code, direct.json()["error"]["code"]) == (421, "host_not_allowed")
    assert not [call for call in published.tailscale.calls if "reset" in call]


def test_a_time_that_is_over_closes_it(published: Published) -> None:
    command = published.start("--for", "2s")
    assert command.ended() == 0
    assert "Its time is over; nothing is published any more." in command.said
    assert published.tailscale.state["config"] == {**OTHERS, "Foreground": {}}


def test_in_the_background_it_stays_until_it_is_taken_back(published: Published) -> None:
    done = published.run("--background")
    assert done.returncode == 0, done.stderr
    assert "It answers there" in done.stdout and "hermes expose off" in done.stdout
    assert published.ask().status_code == 200
    assert published.run("--background").returncode == 1
    off = published.run("off")
    assert off.stdout == f"{published.url} is closed.\n"
    assert published.tailscale.state["config"] == OTHERS
    assert published.run("off").stdout == "Nothing was published by this command.\n"


def test_in_the_background_for_a_while_a_process_keeps_it(published: Published) -> None:
    done = published.run("--background", "--for", "1h")
    assert done.returncode == 0, done.stderr
    found = published.file.read()
    assert found is not None and found.pid is not None and published.ask().status_code == 200
    os.kill(found.pid, signal.SIGKILL)  # and its program ends with it
    eventually(lambda: not published.file.is_held, SECONDS)
    assert published.status() | {"addresses": []} == {
        "published": False,
        "url": None,
        "via": None,
        "until": None,
        "background": None,
        "by_hand": [],
        "answers": None,
        "problem": None,
        "addresses": [],
    }
    assert published.run("--background", "--for", "1h").returncode == 0
    assert published.run("off").stdout == f"{published.url} is closed.\n"


def test_what_somebody_set_up_by_hand_works_is_shown_and_is_left_as_it_is(published: Published) -> None:
    port = int(published.gateway.url.rpartition(":")[2])
    config = web(SLOT, port, host=published.edge.address)
    published.tailscale.now(config=config)
    done = published.run()
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == published.url and "set up by hand" in done.stdout
    told = published.status()
    assert (told["by_hand"], told["via"]) == ([{"url": published.url, "public": True, "raw": False}], None)
    assert published.run("off").stdout == "Nothing was published by this command.\n"
    assert published.tailscale.state["config"] == config


@pytest.mark.parametrize(
    "key", ["change-me-local-dev", "short", "a" * 40, "my-super-secret-key-for-the-whole-wide-world-1234"]
)
def test_a_weak_or_printed_key_is_not_published(published: Published, key: str) -> None:
    done = published.run(API_SERVER_KEY=key)
    assert done.returncode == 2
    assert "hermes config set API_SERVER_KEY $(openssl rand -hex 32)" in done.stderr
    assert published.tailscale.calls == []


def test_the_link_to_consent_is_shown_and_it_goes_on_when_it_was_followed(published: Published) -> None:
    published.tailscale.now(consent=CONSENT, waits=True)
    command = published.start()
    command.says(CONSENT)
    published.tailscale.now(consent=None)
    command.says("It answers there")
    assert command.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"consent": CONSENT}, CONSENT),
        ({"consent": CONSENT, "waits": True}, CONSENT),
        ({"backend": "NeedsLogin"}, "sudo tailscale up"),
        ({"runs": False}, "tailscaled"),
        ({"is_denied": True}, "--operator"),
        ({"config": {"TCP": {"443": {}, "8443": {}, "10000": {}}}}, "tailscale serve status"),
    ],
)
def test_what_is_in_the_way_is_told_with_the_way_out(published: Published, state: dict[str, Any], told: str) -> None:
    published.tailscale.now(**state)
    before = published.tailscale.state["config"]
    done = published.run("--background", "--for", "1h")
    assert done.returncode == 1
    assert told in done.stderr
    assert published.file.read() is None and not published.file.is_held
    assert published.tailscale.state["config"] in (before, {**before, "Foreground": {}})


def test_without_the_program_it_says_where_to_get_it(published: Published, tmp_path: Path) -> None:
    done = published.run(PATH=with_path(tmp_path)["PATH"])
    assert done.returncode == 1
    assert "https://tailscale.com/download" in done.stderr


def test_a_tunnel_that_ends_by_itself_is_told(published: Published) -> None:
    command = published.start()
    command.says("It answers there")
    published.tailscale.now(dies=True)
    assert command.ended() == 1
    assert "lost connection to tailscaled" in "\n".join(command.said)
    assert published.file.read() is None


def test_nothing_is_published_while_the_gateway_does_not_run(published: Published) -> None:
    published.gateway.stop()
    done = published.run()
    assert (done.returncode, "hermes gateway start" in done.stderr) == (2, True)


def test_cloudflared_tells_its_name_over_http_or_in_its_log(published: Published, tmp_path: Path) -> None:
    for is_new in (True, False):
        tool = StandInCloudflared(tmp_path, is_new=is_new)
        command = published.start("--via", "cloudflared", PATH=tool.environ["PATH"])
        assert command.says("https://") == f"https://{QUICK}"
        command.says("does not carry streams")
        eventually(lambda: ask_by_name(published, QUICK) == 200, SECONDS)
        assert command.stop() == 0
        assert ask_by_name(published, QUICK) == 421
        assert "API_SERVER_KEY" not in tool.state["environ"]


def test_a_cloudflared_that_gives_up_says_why(published: Published, tmp_path: Path) -> None:
    tool = StandInCloudflared(tmp_path, problem="failed to request quick Tunnel: 429 Too Many Requests")
    done = published.run("--via", "cloudflared", PATH=tool.environ["PATH"])
    assert (done.returncode, "429 Too Many Requests" in done.stderr) == (1, True)


def test_any_command_can_be_the_tunnel(published: Published, tmp_path: Path) -> None:
    tool = tmp_path / "tunnel"
    tool.write_text(
        f"#!/bin/sh\necho see https://docs.example/start\necho forwarding $1 to {published.url}\nexec sleep 600\n"
    )
    tool.chmod(0o755)
    command = published.start("--via", "command", "--command", f"{tool} {{port}}")
    assert command.says("https://") == published.url
    port = published.gateway.url.rpartition(":")[2]
    found = published.file.read()
    assert found is not None and (found.port, found.via) == (int(port), "command")
    assert command.stop() == 0


def ask_by_name(published: Published, name: str) -> int:
    return httpx.get(f"{published.gateway.url}/health", headers={"Host": name}).status_code


def test_a_funnel_set_up_by_hand_is_learned_by_a_running_gateway(
    start_gateway: Callable[..., Gateway], tmp_path: Path
) -> None:
    tailscale = StandInTailscale(tmp_path)
    gateway = start_gateway(environ=tailscale.environ)
    headers = {"Host": tailscale.state["name"]}
    assert httpx.get(f"{gateway.url}/health", headers=headers).status_code == 200
    other = httpx.get(f"{gateway.url}/health", headers={"Host": "other.tail1234.ts.net"})
    assert other.json()["error"]["code"] == "host_not_allowed"


NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    server {{
        listen {address}:{port} ssl;
        ssl_certificate {chain};
        ssl_certificate_key {chain};
        location / {{ proxy_pass http://127.0.0.1:{server}; }}
    }}
}}
"""
"""Without a word about Host, headers or buffers: the server sees a client at 127.0.0.1 that asks for 127.0.0.1."""

CADDY = """
{{
    admin off
    auto_https off
}}
https://{address}:{port} {{
    tls {chain} {chain}
    reverse_proxy 127.0.0.1:{server}
}}
"""


@pytest.mark.parametrize(
    ("program", "config", "command"),
    [
        ("nginx", NGINX, "nginx -c {folder}/config"),
        ("caddy", CADDY, "caddy run --adapter caddyfile --config {folder}/config"),
    ],
)
def test_a_real_proxy_is_a_tunnel_through_which_streams_flow_and_nobody_is_local(
    published: Published, model: ScriptedModelServer, tmp_path: Path, program: str, config: str, command: str
) -> None:
    if shutil.which(program, path=PROGRAMS) is None:
        assert os.environ.get("CI") != "true", f"CI needs {program}"
        pytest.skip(f"{program} is not installed")
    model.add(Step(when="count", text=["one ", *["more "] * 10, "end"], delay_ms=300))
    edge, server = published.edge, published.gateway.url.rpartition(":")[2]
    folder = tmp_path / "proxy"
    folder.mkdir()
    port = free_port()
    filled = config.format(
        folder=folder, address=edge.address, port=port, chain=edge.authority.with_name("edge.pem"), server=server
    )
    (folder / "config").write_text(filled)
    url = f"https://{edge.address}:{port}"
    given = ["--via", "command", "--command", command.format(folder=folder), "--url", url]
    expose = published.start(*given, PATH=PROGRAMS)
    assert expose.says("https://") == url
    expose.says("It answers there")

    context = ssl.create_default_context(cafile=str(edge.authority))
    with httpx.Client(base_url=url, verify=context, timeout=SECONDS, trust_env=False) as client:
        began, arrivals = time.monotonic(), []
        key = {"Authorization": f"Bearer {published.gateway.key}"}
        body = {"model": "hermes-agent", "stream": True, "messages": [{"role": "user", "content": "count"}]}
        with client.stream("POST", "/v1/chat/completions", json=body, headers=key) as answer:
            assert answer.status_code == 200
            for line in answer.iter_lines():
                if '"content"' in line:
                    arrivals.append(time.monotonic() - began)
        assert len(arrivals) >= 3
        assert arrivals[-1] - arrivals[0] > 1.0, "it was held back until it was whole"
        statuses = [
            client.get(
                "/v1/models",
                headers={"Authorization": f"Bearer wrong{number}", "X-Forwarded-For": f"203.0.113.{number}"},
            ).status_code
            for number in range(12)
        ]
        assert (statuses[0], statuses[-1]) == (401, 429)  # whatever they say of who sends them
    assert expose.stop() == 0


def test_the_commands_of_the_page_are_commands(published: Published, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "howto" / "expose.md").read_text("utf-8")
    commands = set(re.findall(r"^hermes expose.*$|(?<=`)hermes expose [^`…]*(?=`)", page, re.M))
    assert len(commands) >= 8
    for command in sorted(commands):
        words = shlex.split(command)[2:]
        done = published.run(*words, PATH=with_path(tmp_path)["PATH"])
        assert done.returncode == (0 if words[:1] in (["off"], ["status"]) else 1), (command, done.stderr)
        assert "is not installed" in done.stderr or "there is no program" in done.stderr or not done.returncode
