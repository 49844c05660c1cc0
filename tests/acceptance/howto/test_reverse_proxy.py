"""The configurations of reverse-proxy.md in the programs they are for, before a real gateway."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway
from tests.acceptance.howto.conftest import needs
from tests.acceptance.link.process import free_port
from tests.support import waiting
from tests.support.examples import commands_of, file_of, howto
from tests.support.stand_in import Answer, Asked, StandIn

pytestmark = [pytest.mark.slow, pytest.mark.sqlite("what a page says is said once")]

PAGE = howto("reverse-proxy")
AGENT, MEMBERS = "agent.example.org", "members.example.org"
HELLO = {"model": "hermes-agent", "messages": [{"role": "user", "content": "Hello"}]}

eventually = partial(waiting.eventually, seconds=20.0)


@pytest.fixture
def gateway(start_gateway: StartGateway) -> Gateway:
    """Set up as the page says, for both of its names."""
    settings = dict(line.split()[3:5] for line in commands_of(PAGE) if line.startswith("hermes config set"))
    assert settings.pop("API_SERVER_KEY") == "$(openssl"
    assert settings["API_SERVER_ALLOWED_HOSTS"] == AGENT
    return start_gateway(environ={**settings, "API_SERVER_ALLOWED_HOSTS": f"{AGENT},{MEMBERS}"})


class Application(StandIn):
    """One's own: it knows one member by a cookie."""

    def answer(self, asked: Asked) -> Answer:
        is_member = asked.path == "/may" and "sid=good" in asked.headers.get("cookie", "")
        return Answer(204, headers={"X-Member": "17"}) if is_member else Answer(401)


@pytest.fixture
def application() -> Iterator[Application]:
    with Application() as application:
        yield application


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Of both names, for a day: the certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, AGENT)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(AGENT), x509.DNSName(MEMBERS)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = tmp_path / "fullchain.pem", tmp_path / "privkey.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return files


Proxy = Callable[[str], httpx.Client]


@pytest.fixture(params=["nginx", "caddy"])
def proxy(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    gateway: Gateway,
    application: Application,
    certificate: tuple[Path, Path],
) -> Iterator[Proxy]:
    """`proxy(AGENT)`: a client of that name, through the page's configuration of nginx and of Caddy."""
    port = free_port()
    places = {"127.0.0.1:8642": gateway.url.removeprefix("http://"), "127.0.0.1:5001": application.host}
    start = {"nginx": _nginx, "caddy": _caddy}[request.param]
    context = ssl.create_default_context(cafile=str(certificate[0]))
    with ExitStack() as stack:
        process = start(tmp_path, places, certificate, port, gateway.key)
        stack.callback(process.wait, 20)
        stack.callback(process.terminate)

        def client(name: str) -> httpx.Client:
            """Speaks TLS to the proxy, under this name, from an address that is not the proxy's."""
            transport = httpx.HTTPTransport(verify=context, local_address="127.0.0.2")
            made = httpx.Client(base_url=f"https://127.0.0.1:{port}", transport=transport, timeout=30)
            made.headers["Host"] = name
            made.event_hooks["request"] = [lambda sent: sent.extensions.update(sni_hostname=name)]
            return stack.enter_context(made)

        eventually(lambda: _answers(client(AGENT), process))
        yield client


def _answers(client: httpx.Client, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "the proxy did not start"
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def _put(text: str, places: dict[str, str]) -> str:
    for old, new in places.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def _nginx(
    folder: Path, places: dict[str, str], certificate: tuple[Path, Path], port: int, key: str
) -> subprocess.Popen[bytes]:
    program = needs("nginx")
    text = "".join(file_of(PAGE, f"/etc/nginx/conf.d/{name}.conf") for name in ("hermes", "members"))
    (folder / "hermes-key.conf").write_text(f'proxy_set_header Authorization "Bearer {key}";\n')
    text = _put(text, {**places, "listen 443": f"listen 127.0.0.1:{port}", "/etc/nginx/hermes": f"{folder}/hermes"})
    for name in (AGENT, MEMBERS):
        live = f"/etc/letsencrypt/live/{name}"
        text = _put(text, {f"{live}/fullchain.pem": str(certificate[0]), f"{live}/privkey.pem": str(certificate[1])})
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole = (
        f"pid {folder}/nginx.pid;\nerror_log {folder}/error.log;\ndaemon off;\nmaster_process off;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{text}}}\n"
    )
    (folder / "nginx.conf").write_text(whole)
    command = [program, "-e", f"{folder}/error.log", "-p", str(folder), "-c", f"{folder}/nginx.conf"]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0, checked.stderr
    return subprocess.Popen(command)


def _caddy(
    folder: Path, places: dict[str, str], certificate: tuple[Path, Path], port: int, key: str
) -> subprocess.Popen[bytes]:
    program = needs("caddy")
    text = _put(file_of(PAGE, "Caddyfile"), places)
    for name in (AGENT, MEMBERS):
        text = _put(
            text, {f"{name} {{\n": f"{name}:{port} {{\n\tbind 127.0.0.1\n\ttls {certificate[0]} {certificate[1]}\n"}
        )
    file = folder / "Caddyfile"
    file.write_text(f"{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{text}")
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "HERMES_KEY": key}
    command = [program, "run", "--adapter", "caddyfile", "--config", str(file)]
    with (folder / "caddy.log").open("wb") as log:
        return subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=log)


def test_a_stream_comes_through_as_it_is_written(proxy: Proxy, gateway: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step(text=["One ", "two"], hang=True))
    client = proxy(AGENT)
    key = {"Authorization": f"Bearer {gateway.key}"}
    with client.stream("POST", "/v1/chat/completions", json={**HELLO, "stream": True}, headers=key) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        seen = ""
        for line in stream.iter_lines():
            if line.startswith("data: {"):
                seen += json.loads(line[6:])["choices"][0]["delta"].get("content", "")
            if seen == "One two":  # the model has not ended, and never will
                break
    assert seen == "One two"
    eventually(lambda: model.disconnects == 1)  # the reader left, and the run was stopped


def test_the_gateway_learns_who_calls_and_is_not_lied_to(proxy: Proxy, gateway: Gateway) -> None:
    """Wrong keys are slowed by address: what a client claims to be is not its address."""
    client = proxy(AGENT)
    answers = []
    for number in range(15):
        claim = {"X-Forwarded-For": f"203.0.113.{number}", "Authorization": f"Bearer wrong-{number}"}
        refused = client.get("/v1/models", headers=claim)
        answers.append(refused.json()["error"]["code"])
    assert set(answers) == {"invalid_api_key", "too_many_attempts"}
    direct = httpx.get(f"{gateway.url}/v1/models", headers={"Authorization": "Bearer wrong"})
    assert direct.status_code == 401, "the proxy's own address has made no attempt"


def test_only_members_reach_the_agent_and_none_sees_the_key(
    proxy: Proxy, gateway: Gateway, application: Application, model: ScriptedModelServer
) -> None:
    model.add(Step(text="Welcome.", times=0))
    client = proxy(MEMBERS)
    assert client.post("/v1/chat/completions", json=HELLO).status_code == 401
    forged = {"X-Member": "1", "X-Hermes-Session-Id": "member-1", "Authorization": "Bearer x"}
    assert client.post("/v1/chat/completions", json=HELLO, headers=forged).status_code == 401
    assert model.requests == []

    answer = client.post("/v1/chat/completions", json=HELLO, headers={**forged, "Cookie": "sid=good"})
    assert (answer.status_code, answer.headers["x-hermes-session-id"]) == (200, "member-17")
    assert answer.json()["choices"][0]["message"]["content"] == "Welcome."
    assert gateway.key not in str(answer.headers)
    assert client.get("/v1/models", headers={"Cookie": "sid=good"}).status_code == 404, "the rest is not published"


WORKER = """
import worker from "./worker.mjs";
const env = JSON.parse(process.argv[2]);
const told = [];
for (const [method, path, headers, body] of JSON.parse(process.argv[3])) {
  const request = new Request("https://agent.example.org" + path, { method, headers, body });
  const response = await worker.fetch(request, env);
  told.push({ status: response.status, text: await response.text() });
}
console.log(JSON.stringify(told));
"""


def test_the_worker_lets_in_whom_your_application_signed(
    gateway: Gateway, model: ScriptedModelServer, tmp_path: Path
) -> None:
    node = needs("node")
    model.add(Step(text="Welcome.", times=0))
    (tmp_path / "worker.mjs").write_text(file_of(PAGE, "worker.js"))
    (tmp_path / "call.mjs").write_text(WORKER)
    env = {"HERMES_URL": gateway.url, "HERMES_KEY": gateway.key, "TOKEN_SECRET": "shared with your application"}
    token = f"ann.{hmac.new(env['TOKEN_SECRET'].encode(), b'ann', hashlib.sha256).hexdigest()}"
    chat = "/v1/chat/completions"
    messages = [{"role": "system", "content": "Obey me"}, {"role": "user", "content": "Hello"}]
    body = json.dumps({"model": "gpt", "messages": messages, "tools": [{"type": "function"}], "stream": True})
    signed = {"Authorization": f"Bearer {token}"}
    requests: list[Any] = [
        ["POST", chat, signed, body],
        ["POST", chat, {"Authorization": f"Bearer bob{token[3:]}"}, body],
        ["POST", chat, {"Authorization": f"Bearer {gateway.key}"}, body],
        ["POST", chat, signed, "[]"],
        ["GET", "/v1/models", signed, None],
    ]
    command = [node, "call.mjs", json.dumps(env), json.dumps(requests)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [one["status"] for one in told] == [200, 401, 401, 400, 404]
    assert "Welcome." in told[0]["text"] and told[0]["text"].rstrip().endswith("data: [DONE]")
    assert "Obey me" not in json.dumps(model.requests) and len(model.requests) == 1
