"""A new user's first evening: Link listens on this machine alone, is published through a TLS proxy, and a browser on
another machine pairs and chats. Nothing of the machine's own rights reaches that other machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from hermes.toolsets.browser import there
from tests.acceptance.conftest import Gateway
from tests.acceptance.link.process import LinkProcess, free_port
from tests.support.other_host import OtherHost, missing, other_host

REASON = there.problem(None) or missing()
REASON = REASON or next((f"{name} is not installed" for name in ("nginx", "openssl") if not shutil.which(name)), "")
pytestmark = [
    pytest.mark.sqlite("Link keeps its data in SQLite"),
    pytest.mark.slow,
    pytest.mark.skipif(bool(REASON), reason=REASON),
]

NGINX = """daemon off;
error_log stderr;
pid {directory}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/f;
    uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
    server {{
        listen {address}:{port} ssl;
        ssl_certificate {directory}/cert.pem;
        ssl_certificate_key {directory}/key.pem;
        location / {{
            proxy_pass http://127.0.0.1:{link};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
    }}
}}
"""
CHAT = """async text => {
    const stored = Object.values(localStorage).concat(Object.values(sessionStorage)).join(" ");
    const token = stored.match(/hlat_[\\w-]+/)[0];
    const headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json"};
    const ask = async (method, path, body) => {
        const answer = await fetch("/api/v1" + path, {method, headers, body: body && JSON.stringify(body)});
        return [answer.status, await answer.json()];
    };
    const [, made] = await ask("POST", "/conversations", {title: "From the train"});
    const id = made.conversation.id;
    const stream = await fetch(`/api/v1/conversations/${id}/events`, {headers});
    const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
    let seen = "";
    const until = async word => {
        while (!seen.includes(word)) {
            const {value, done} = await reader.read();
            if (done) throw new Error("the stream ended before " + word);
            seen += value;
        }
    };
    const [first, said] = await ask("POST", `/conversations/${id}/messages`, {content: "Tell me a long story."});
    await until("message.delta");  // while the model goes on talking
    const [stopped] = await ask("POST", `/conversations/${id}/runs/${said.run.id}/cancel`, {});
    await until("run.cancelled");
    const before = seen;
    const [second] = await ask("POST", `/conversations/${id}/messages`, {content: text});
    await until("message.completed");
    return {statuses: [first, stopped, second], before, seen, type: stream.headers.get("content-type")};
}"""


@pytest.fixture
def elsewhere() -> Iterator[OtherHost]:
    with other_host() as host:
        yield host


def certificate(directory: Path, address: str) -> None:
    key, cert = directory / "key.pem", directory / "cert.pem"
    words = f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=agent.test -addext subjectAltName=IP:{address}"
    subprocess.run(
        ["openssl", *words.split(), "-keyout", str(key), "-out", str(cert)],
        check=True,
        capture_output=True,
        timeout=60,
    )


def test_a_browser_on_another_machine_pairs_and_chats_through_a_published_link(
    known_gateway: Gateway, link: LinkProcess, model: ScriptedModelServer, elsewhere: OtherHost, tmp_path: Path
) -> None:
    from playwright.sync_api import sync_playwright

    port = free_port()
    public = f"https://{elsewhere.ours}:{port}"
    certificate(tmp_path, elsewhere.ours)
    config = tmp_path / "nginx.conf"
    config.write_text(NGINX.format(directory=tmp_path, address=elsewhere.ours, port=port, link=link.port))
    environ = {**link.environ, "SSL_CERT_FILE": str(tmp_path / "cert.pem")}
    expose = [sys.executable, "-m", "hermeslink", "expose", "--via", "command", "--url", public]
    command = f"{shutil.which('nginx')} -e stderr -p {tmp_path} -c {config}"
    with subprocess.Popen(
        [*expose, "--command", command], env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as exposing:
        try:
            assert exposing.stdout is not None
            said = ""
            for line in exposing.stdout:
                said += line
                if "It answers there" in line or "It does not answer" in line:
                    break
            threading.Thread(target=exposing.stdout.read, daemon=True).start()
            assert public in said and "It answers there" in said, said
            try_from(elsewhere, link, tmp_path, public)
            model.add(Step("Once upon a time", when="^Tell", hang=True))
            model.add(Step("Yes, at home.", when="^Are you"))
            paired = subprocess.run(
                [sys.executable, "-m", "hermeslink", "pair"],
                env=link.environ,
                capture_output=True,
                text=True,
                check=True,
            )
            [token] = re.findall(r"^Connect token: (\S+)$", paired.stdout, re.MULTILINE)
            assert f"{public}/pair" in paired.stdout and paired.stderr == ""
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=str(elsewhere.wrapper("/usr/bin/chromium", tmp_path)),
                    args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
                )
                page = browser.new_context(ignore_https_errors=True).new_page()
                page.goto(f"{public}/pair")
                page.fill("#token", token)
                page.click("#typed button[type=submit]")
                page.wait_for_selector("#paired:not([hidden])")
                found: dict[str, Any] = page.evaluate(CHAT, "Are you there?")
                browser.close()
            assert (found["statuses"], found["type"].partition(";")[0]) == ([202, 200, 202], "text/event-stream")
            assert "Once" in spoken(found["before"]), "the proxy passes words on as they come"
            assert spoken(found["seen"]).endswith("Yes, at home.")
        finally:
            exposing.terminate()
            exposing.wait(30)
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{public}/pair", verify=False, timeout=5)


def try_from(elsewhere: OtherHost, link: LinkProcess, directory: Path, public: str) -> None:
    """What somebody over there gets who has nothing but the address."""
    ask = (
        "import httpx, json, sys\n"
        "def tried(method, url, **more):\n"
        "    try:\n"
        "        answer = httpx.request(method, url, verify=False, timeout=10, **more)\n"
        "        return [answer.status_code, answer.json() if 'json' in answer.headers['content-type'] else None]\n"
        "    except httpx.HTTPError as error: return [0, type(error).__name__]\n"
        f"public, plain = {public!r}, 'http://{elsewhere.ours}:{link.port}'\n"
        "print(json.dumps({\n"
        "  'plain': tried('GET', plain + '/api/v1/bootstrap'),\n"
        "  'bootstrap': tried('GET', public + '/api/v1/bootstrap'),\n"
        "  'code': tried('POST', public + '/api/v1/pairing/session', json={'scope': 'admin'}),\n"
        "  'metrics': tried('GET', public + '/metrics'),\n"
        "  'lying': tried('POST', public + '/api/v1/pairing/session', json={}, headers={'Host': '127.0.0.1'}),\n"
        "  'rebound': tried('GET', public + '/api/v1/bootstrap', headers={'Host': 'evil.example'}),\n"
        "}))\n"
    )
    done = subprocess.run(
        elsewhere.command(sys.executable, "-c", ask),
        env={name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    got = json.loads(done.stdout)
    assert got["plain"][0] == 0, "it listens on this machine alone"
    assert got["bootstrap"][0] == 200 and got["bootstrap"][1]["preferred_pairing_urls"] == []
    assert (got["code"][0], got["code"][1]["error"]["code"]) == (401, "auth_required")
    assert got["metrics"][0] == 401
    assert (got["lying"][0], got["lying"][1]["error"]["code"]) == (401, "auth_required")
    assert (got["rebound"][0], got["rebound"][1]["error"]["code"]) == (421, "host_not_allowed")


def spoken(stream: str) -> str:
    """The text of all deltas."""
    payloads = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
    return "".join(one["payload"].get("text", "") for one in payloads if one["type"] == "message.delta")
