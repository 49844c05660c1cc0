"""Programs on PATH that behave as `tailscale` and `cloudflared` do, with what they would do to the network left out.

`StandInTailscale` keeps the state of its service in a file: what a command set up, another sees.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAME = "box.tail1234.ts.net"
CONSENT = "https://login.tailscale.com/f/funnel?node=nABC123"

_TAILSCALE = """
import fcntl, json, os, signal, sys, time
from contextlib import contextmanager

STATE = {state!r}
verb, arguments = sys.argv[1], sys.argv[2:]
flags = {{a.lstrip("-").partition("=")[0]: a.partition("=")[2] or True for a in arguments if a.startswith("-")}}
words = [a for a in arguments if not a.startswith("-")]

@contextmanager
def state():
    with open(STATE + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with open(STATE) as file:
            known = json.load(file)
        config = known["config"]
        for session in list((config or {{}}).get("Foreground", {{}})):  # tailscaled notices that its client is gone
            if session.isdigit() and not os.path.exists("/proc/" + session):
                del config["Foreground"][session]
                if not config["Foreground"]:
                    del config["Foreground"]
        yield known
        with open(STATE + ".new", "w") as file:
            json.dump(known, file)
        os.replace(STATE + ".new", STATE)

def fail(text):
    print(text, file=sys.stderr)
    raise SystemExit(1)

with state() as now:
    now["calls"].append(sys.argv[1:])
    now["environ"] = dict(os.environ)
if now["hangs"]:
    time.sleep(600)
if not now["runs"]:
    fail("failed to connect to local Tailscale service; is Tailscale running?")
if verb == "status":
    name = now["name"] + "." if now["backend"] == "Running" else ""
    print(json.dumps({{"Version": "1.90.6", "BackendState": now["backend"], "Self": {{"DNSName": name}}}}, indent=2))
    raise SystemExit
if words[:1] == ["status"]:
    print(json.dumps(now["config"], indent=2))
    raise SystemExit
if words[:1] == ["reset"]:
    with state() as now:
        now["config"] = None
    raise SystemExit
if now["backend"] != "Running":
    fail("Logged out." if now["backend"] == "NeedsLogin" else "Tailscale is stopped.")
if now["is_denied"]:
    fail("sending serve config: Access denied: serve config denied\\n\\nUse 'sudo tailscale %s'." % verb)
slot = flags.get("https", "443")
place = now["name"] + ":" + slot
if words[-1:] == ["off"]:
    with state() as now:
        config = now["config"] or {{}}
        handlers = config.get("Web", {{}}).get(place, {{}}).get("Handlers", {{}})
        path = flags.get("set-path")
        if not handlers or (path and path not in handlers):
            fail("error: failed to remove web serve: handler does not exist")
        for one in [path] if path else list(handlers):
            del handlers[one]
        if not handlers:
            for part, key in (("Web", place), ("TCP", slot), ("AllowFunnel", place)):
                config.get(part, {{}}).pop(key, None)
                if part in config and not config[part]:
                    del config[part]
    raise SystemExit
if verb == "funnel" and now["consent"]:
    print("\\nFunnel is not enabled on your tailnet.\\nTo enable, visit:\\n", flush=True)
    print("         %s\\n" % now["consent"], flush=True)
    if not now["waits"]:
        raise SystemExit
    while True:
        with state() as now:
            if not now["consent"]:
                break
        time.sleep(0.05)
    print("Success.", flush=True)
background = "bg" in flags
with state() as now:
    config = now["config"] = now["config"] or {{}}
    parts = [config, *config.get("Foreground", {{}}).values()]
    if any(slot in part.get("TCP", {{}}) for part in parts[1:]):
        fail("foreground already exists under this port")
    if slot in config.get("TCP", {{}}) and not background:
        fail("background configuration already exists, use `tailscale %s --https=%s off` to remove" % (verb, slot))
    mine = config if background else config.setdefault("Foreground", {{}}).setdefault(str(os.getpid()), {{}})
    mine.setdefault("TCP", {{}})[slot] = {{"HTTPS": True}}
    mine.setdefault("Web", {{}}).setdefault(place, {{}}).setdefault("Handlers", {{}})["/"] = {{"Proxy": words[0]}}
    if verb == "funnel":
        mine.setdefault("AllowFunnel", {{}})[place] = True
print("Available on the internet:" if verb == "funnel" else "Available within your tailnet:")
print("\\nhttps://%s/\\n|-- proxy %s\\n" % (place, words[0]))
if background:
    print("%s started and running in the background." % verb.title())
    raise SystemExit
print("Press Ctrl+C to exit.", flush=True)
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    while not now["dies"]:
        time.sleep(0.05)
        with state() as now:
            pass
    fail("lost connection to tailscaled")
except KeyboardInterrupt:
    with state() as now:
        now["config"].get("Foreground", {{}}).pop(str(os.getpid()), None)
"""

_CLOUDFLARED = """
import http.server, json, os, sys, threading, time

STATE = {state!r}
with open(STATE) as file:
    now = json.load(file)
now["calls"].append(sys.argv[1:])
now["environ"] = dict(os.environ)
with open(STATE, "w") as file:
    json.dump(now, file)
def say(text):
    print("2026-01-01T00:00:00Z INF " + text, file=sys.stderr, flush=True)
say("Requesting new quick Tunnel on trycloudflare.com...")
if now["problem"]:
    print("2026-01-01T00:00:00Z ERR " + now["problem"], file=sys.stderr, flush=True)
    raise SystemExit(1)
say("|  https://%s  |" % now["host"])
class Metrics(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = {{"/quicktunnel": {{"hostname": now["host"]}}, "/ready": {{"status": 200, "readyConnections": 1}}}}
        body = json.dumps(known.get(self.path, {{}})).encode()
        self.send_response(200 if self.path in known and now["is_new"] else 404)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *rest):
        pass
host, _, port = sys.argv[sys.argv.index("--metrics") + 1].rpartition(":")
server = http.server.ThreadingHTTPServer((host, int(port)), Metrics)
threading.Thread(target=server.serve_forever, daemon=True).start()
say("Registered tunnel connection connIndex=0")
while True:
    with open(STATE) as file:
        text = file.read()
    if text and json.loads(text)["dies"]:
        raise SystemExit(1)
    time.sleep(0.05)
"""


class StandIn:
    """A program in a folder of its own, which `environ` has on PATH, and the file that it goes by."""

    name: str
    source: str

    def __init__(self, root: Path, **state: Any) -> None:
        self.folder = root / "bin"
        self.folder.mkdir(exist_ok=True)
        self._state = root / f"{self.name}.json"
        self._state.write_text(json.dumps({"calls": [], **state}))
        program = self.folder / self.name
        source = textwrap.dedent(self.source.format(state=str(self._state)))
        program.write_text(f"#!{sys.executable} -ES\n{source}")
        program.chmod(0o755)

    @property
    def state(self) -> dict[str, Any]:
        known: dict[str, Any] = json.loads(self._state.read_text())
        return known

    def now(self, **changes: Any) -> None:
        with Path(f"{self._state}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            text = json.dumps({**self.state, **changes})
            part = self._state.with_suffix(".part")
            part.write_text(text)
            part.replace(self._state)

    @property
    def calls(self) -> list[list[str]]:
        calls: list[list[str]] = self.state["calls"]
        return calls

    @property
    def environ(self) -> dict[str, str]:
        return with_path(self.folder)


class StandInTailscale(StandIn):
    """`config`: the ServeConfig. `backend`: Running, NeedsLogin or Stopped. `consent`: the link where Funnel is not
    allowed yet, and `waits` whether the program waits for it."""

    name = "tailscale"
    source = _TAILSCALE

    def __init__(self, root: Path, **state: Any) -> None:
        usual: Mapping[str, Any] = {
            "runs": True,
            "hangs": False,
            "backend": "Running",
            "name": NAME,
            "config": None,
            "consent": None,
            "waits": False,
            "is_denied": False,
            "dies": False,
        }
        super().__init__(root, **{**usual, **state})


class StandInCloudflared(StandIn):
    """`is_new`: it tells its name over HTTP, too. `problem`: why it gives up."""

    name = "cloudflared"
    source = _CLOUDFLARED
    host = f"test-{secrets.token_hex(8)}.trycloudflare.com"
    """Nobody's."""

    def __init__(self, root: Path, **state: Any) -> None:
        usual = {"host": self.host, "problem": None, "dies": False, "is_new": True}
        super().__init__(root, **{**usual, **state})


def with_path(*folders: Path) -> dict[str, str]:
    """An environment in which these are found first, and no tunnel that this machine may really have."""
    return {"PATH": os.pathsep.join([*map(str, folders), "/usr/bin", "/bin"])}


def web(slot: int, port: int, *, host: str = NAME, is_funnel: bool = True, path: str = "/") -> dict[str, Any]:
    """A ServeConfig as `tailscale funnel --bg --https=SLOT PORT` leaves it."""
    place = f"{host}:{slot}"
    config: dict[str, Any] = {
        "TCP": {str(slot): {"HTTPS": True}},
        "Web": {place: {"Handlers": {path: {"Proxy": f"http://127.0.0.1:{port}"}}}},
    }
    return {**config, "AllowFunnel": {place: True}} if is_funnel else config
