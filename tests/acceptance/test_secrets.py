"""Canary secrets in the configuration turn up nowhere: not in logs, the database, streams, answers or children."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import StartGateway, make_gateway
from tests.support.terminal import hermes_tty
from tests.support.waiting import eventually

PROVIDER_KEY = "canary-provider-5f2c9a1e7b"
ENV_SECRET = "canary-environment-88d1f0a3"
FILE_SECRET = "canary-dotenv-0c4be7715d"


def test_no_secret_leaves_through_tools_errors_logs_or_the_database(
    start_gateway: StartGateway, model: ScriptedModelServer
):
    gateway = start_gateway(
        {
            "model": {"default": "scripted", "base_url": model.base_url, "api_key": PROVIDER_KEY},
            "approvals": {"timeout": 0.5},  # what has to be asked is not answered
        },
        {"DEPLOY_TOKEN": ENV_SECRET},
    )
    (gateway.home / ".env").write_text(f"THIRD_PARTY_API_KEY={FILE_SECRET}\n")
    (gateway.home / ".env").chmod(0o600)
    gateway.kill()
    gateway.start()
    peeks = [
        Call("terminal", {"command": "env; printenv DEPLOY_TOKEN; cat /proc/self/environ"}),
        Call("terminal", {"command": f"cat {gateway.home}/config.yaml; tr '\\0' '\\n' < /proc/$PPID/environ"}),
        Call("read_file", {"path": f"{gateway.home}/.env"}),
        Call("read_file", {"path": f"{gateway.home}/config.yaml"}),
        Call("search_files", {"pattern": "canary", "path": str(gateway.home)}),
    ]
    seen = b""
    for peek in peeks:
        model.add(Step(tool_calls=[peek]), Step("Looked.", after_tool=True))
        for stream in (False, True):
            if stream:
                model.add(Step(tool_calls=[peek]), Step("Looked.", after_tool=True))
            body = {"messages": [{"role": "user", "content": "look"}], "stream": stream}
            answer = gateway.client.post("/v1/chat/completions", json=body, timeout=90)
            seen += answer.content + repr(answer.headers).encode()
    model.add(Step(status=401, error=f"Incorrect API key provided: {PROVIDER_KEY}", times=0))
    refused = gateway.client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "hi"}]})
    assert refused.status_code == 502
    seen += refused.content
    assert all(PROVIDER_KEY not in str(request["messages"][:-2]) for request in model.requests)
    gateway.stop()
    seen += "\n".join(gateway.output).encode() + gateway.errors.encode()
    for secret in (PROVIDER_KEY, ENV_SECRET, FILE_SECRET, gateway.key):
        assert secret.encode() not in seen
        holders = [path.name for path in files(gateway.home) if secret.encode() in path.read_bytes()]
        assert set(holders) <= {".env", "config.yaml"}, f"{secret[:10]}… lies in {holders}"


@pytest.mark.parametrize("mode", ["manual", "off"])
def test_no_secret_stands_where_commands_of_the_agent_can_read_it(
    start_gateway: StartGateway, model: ScriptedModelServer, mode: str
):
    """Neither in what a child is given nor in what the kernel shows of the gateway; base64 passes every redactor."""
    gateway = start_gateway({"approvals": {"mode": mode, "timeout": 0.5}}, {"DEPLOY_TOKEN": ENV_SECRET})
    (gateway.home / ".env").write_text(f"THIRD_PARTY_API_KEY={FILE_SECRET}\n")
    (gateway.home / ".env").chmod(0o600)
    gateway.stop()
    gateway.start()
    shown = Path(f"/proc/{gateway.pid}/environ").read_bytes() if sys.platform == "linux" else b""
    peeks = [
        "env | base64 -w0",
        f"base64 -w0 < /proc/{gateway.pid}/environ",
        "p=/proc; for n in $(ls $p | grep '^[0-9]'); do cat $p/$n/environ; done 2>/dev/null | base64 -w0",
        f"cat {gateway.home}/.env | base64 -w0",
        f"base64 -w0 {gateway.home}/config.yaml",
        f"python3 -c \"print(open('{gateway.home}/.env').read()[::-1])\"",
        "declare -p | base64 -w0",
        "cat /proc/$PPID/environ | rev",
    ]
    seen: list[str] = []
    for peek in peeks:
        model.add(Step(tool_calls=[Call("terminal", {"command": peek})]), Step("{{tool}}", after_tool=True, times=1))
        run_id = gateway.client.post("/v1/runs", json={"input": "look"}).json()["run_id"]
        seen.append(gateway.client.get(f"/v1/runs/{run_id}/events", timeout=90).text)
    own = {int(one.parent.name) for one in Path("/proc").glob("[0-9]*/environ")} if sys.platform == "linux" else set()
    assert gateway.pid in own or sys.platform != "linux"
    texts = [shown, *(text.encode() for text in seen), *(decoded for text in seen for decoded in decodings(text))]
    for secret in (ENV_SECRET, FILE_SECRET, gateway.key):
        assert not any(secret.encode() in text or secret[::-1].encode() in text for text in texts), secret[:12]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows it in /proc")
@pytest.mark.parametrize("way", [("mcp", "serve"), ("acp",), ()], ids=lambda way: " ".join(way) or "chat")
def test_no_way_in_shows_secrets_of_its_environment(
    tmp_path: Path, model: ScriptedModelServer, way: tuple[str, ...]
) -> None:
    home = make_gateway(tmp_path, model)
    environ = home.environ | {"DEPLOY_TOKEN": ENV_SECRET, "PLAIN": "plain-value"}
    with ExitStack() as stack:
        if way:
            command = [sys.executable, "-m", "hermes", *way]
            pipe = subprocess.PIPE
            process = stack.enter_context(
                subprocess.Popen(command, env=environ, cwd=home.workdir, stdin=pipe, stdout=pipe, stderr=pipe)
            )
            stack.callback(process.kill)
            pid = process.pid
        else:
            tty = stack.enter_context(hermes_tty(environ, home.workdir))
            tty.wait_for_prompt()
            pid = tty.pid
        environment = Path(f"/proc/{pid}/environ")  # empty once the process has ended
        eventually(lambda: b"DEPLOY_TOKEN=\0" in environment.read_bytes(), 30)
        shown = environment.read_bytes()
        assert b"PLAIN=plain-value\0" in shown
        assert ENV_SECRET.encode() not in shown
        assert home.key.encode() not in shown


def decodings(text: str) -> list[bytes]:
    """What may be base64 in events, from each place where it may begin: the n of a line break in JSON is one of its
    letters."""
    runs = re.findall(r"[A-Za-z0-9+/]{24,}", text)
    return [base64.b64decode(run[at : at + (len(run) - at) // 4 * 4]) for run in runs for at in range(4)]


def files(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file()]
