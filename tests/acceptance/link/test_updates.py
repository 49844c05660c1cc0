"""An update, one that does not come up, and the way back: with the wheels of this project, from an index, by the real
installers, under a gateway and a Link that run and are restarted.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

import hermes
from hermes.models.script import Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.link.phone import Phone, Received, ok, received, refused
from tests.acceptance.link.process import free_port
from tests.support.index import index
from tests.support.wheels import as_version, borrow, build_wheel, clean_environ, installed_by_pip

pytestmark = [
    pytest.mark.sqlite("Link keeps its data in SQLite"),
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="processes are looked for as POSIX has them"),
]

NOW = hermes.__version__
BROKEN = "\nraise RuntimeError('this version is broken')\n"
MOVES_ON = """
import os as _os, sqlite3 as _sqlite3
_db = _sqlite3.connect(_os.path.join(_os.environ["HERMESLINK_HOME"], "link.db"))
_db.execute("UPDATE alembic_version SET version_num = 'of_the_future'")
_db.commit(); _db.close()
raise RuntimeError('this version is broken, and has changed the database')
"""
UPDATE_SECONDS = 240


@dataclass
class Machine:
    """One installation with a gateway and a Link, which its own commands start in the background."""

    python: Path
    environ: dict[str, str]
    port: int
    link_port: int
    phones: list[Phone] = field(default_factory=list)

    @property
    def hermes_home(self) -> Path:
        return Path(self.environ["HERMES_HOME"])

    @property
    def link_home(self) -> Path:
        return Path(self.environ["HERMESLINK_HOME"])

    @property
    def link_url(self) -> str:
        return f"http://127.0.0.1:{self.link_port}"

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(self.python), "-m", *words],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=UPDATE_SECONDS,
            check=False,
        )
        assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self) -> None:
        self.run("hermes", "gateway", "start")
        self.run("hermeslink", "start")

    def phone(self) -> Phone:
        phone = Phone(self.link_url)
        self.phones.append(phone)
        made = ok(httpx.post(f"{self.link_url}/api/v1/pairing/session", json={"scope": "admin"}, timeout=30))
        phone.pair(made["connect_token"], "Phone")
        return phone

    def versions(self) -> tuple[str, str]:
        """Of the Link that runs, and of what is installed; and the gateway answers."""
        assert httpx.get(f"http://127.0.0.1:{self.port}/health", timeout=30).status_code == 200
        running: str = ok(httpx.get(f"{self.link_url}/api/v1/system/version", timeout=30))["version"]
        return running, self.run("hermes", "--version").stdout.split()[-1]

    def pids(self) -> tuple[int, int]:
        files = (self.hermes_home / "run" / "gateway.pid", self.link_home / "run" / "link.pid")
        gateway, link = (int(json.loads(file.read_text())["pid"]) for file in files)
        return gateway, link

    def status(self, phone: Phone) -> dict[str, Any]:
        """As soon as Link answers again."""
        ends_at = time.monotonic() + UPDATE_SECONDS
        while time.monotonic() < ends_at:
            with suppress(httpx.TransportError):
                told = phone.get("/link/update/status")
                if told["state"] != "running":
                    return told
            time.sleep(0.2)
        raise AssertionError("the update does not end")

    def close(self) -> None:
        for phone in self.phones:
            phone.close()
        for words in (("hermeslink", "stop"), ("hermes", "gateway", "stop")):
            self.run(*words, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("build")
    return build_wheel(tmp_path_factory.mktemp("dist"))


@pytest.fixture
def files(tmp_path: Path, wheel: Path) -> Path:
    """What the index has: this version, to come back to."""
    files = tmp_path / "files"
    files.mkdir()
    as_version(wheel, files, NOW)
    return files


Offer = Callable[..., str]


@pytest.fixture
def offered(files: Path, wheel: Path) -> Iterator[Callable[..., str]]:
    """`offered("9.1", **changes)`: the address of an index that has it, and this version."""
    with ExitStack() as stack:

        def offer(*versions: str, changes: dict[str, str] | None = None) -> str:
            for version in versions:
                as_version(wheel, files, version, changes)
            return stack.enter_context(index(files, "hermes-server", *(file.name for file in files.iterdir())))

        yield offer


@pytest.fixture
def machine(tmp_path: Path, files: Path) -> Iterator[Machine]:
    pytest.importorskip("pip")
    made = make_machine(tmp_path, installed_by_pip(tmp_path / "venv", next(files.iterdir())))
    yield made
    made.close()


def make_machine(root: Path, python: Path, **environ: str) -> Machine:
    home, link_home, port, link_port = root / "hermes", root / "link", free_port(), free_port()
    for directory in (home, link_home):
        directory.mkdir(mode=0o700)
    key = os.urandom(32).hex()
    write(home / ".env", f"API_SERVER_ENABLED=true\nAPI_SERVER_KEY={key}\nAPI_SERVER_PORT={port}\n")
    write(home / "config.yaml", "model:\n  default: none\n  base_url: http://127.0.0.1:9/v1\n")
    write(link_home / "config.json", json.dumps({"port": link_port, "listen-host": "127.0.0.1"}))
    environ = clean_environ(root, HERMES_HOME=str(home), HERMESLINK_HOME=str(link_home), **environ)
    return Machine(python, environ, port, link_port)


def write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


def test_link_updates_both_and_a_phone_sees_it_through(machine: Machine, offered: Offer) -> None:
    machine.environ["PIP_INDEX_URL"] = offered("9.1")
    with ScriptedModelServer([Step(times=0, text="Still here.")]) as model:
        write(machine.hermes_home / "config.yaml", f"model:\n  default: scripted\n  base_url: {model.base_url}\n")
        machine.start()
        phone, before = machine.phone(), machine.pids()
        conversation = phone.conversation()
        assert phone.ask(conversation, "hello") == "Still here."

        told = phone.get("/link/update-check")
        assert (told["update_available"], told["remote"]["target_version"], told["check_state"]) == (True, "9.1", "ok")
        assert phone.get("/status")["link"]["update_available"] is True

        begun = phone.post("/link/update")
        assert (begun["state"], begun["target_version"], begun["from_version"]) == ("running", "9.1", NOW)
        assert refused(phone.client.post("/hermes/update", json={})) == (409, "update_running")

        events = watched(machine, phone)
        last = events[-1].data
        assert (last["state"], last["error"], last["exit_code"]) == ("succeeded", None, 0), last
        assert [one.id for one in events] == sorted({one.id for one in events})
        assert any("Successfully installed hermes-server-9.1" in line for line in last["lines"])
        assert {"installing 9.1", "starting Link"} <= {one.data["stage"] for one in events}
        assert machine.versions() == ("9.1", "9.1")
        assert not set(machine.pids()) & set(before)

        assert phone.ask(conversation, "and now?") == "Still here."
        assert machine.status(phone)["job_id"] == begun["job_id"]
        assert phone.get("/audit")["entries"][0]["action"] == "update.started"
    assert not (machine.hermes_home / "run" / "update").exists()


def watched(machine: Machine, phone: Phone) -> list[Received]:
    """The stream of an update to its end; where Link goes away it is asked again, from where it was."""
    seen: list[Received] = []
    ends_at = time.monotonic() + UPDATE_SECONDS
    while time.monotonic() < ends_at:
        headers = {"Authorization": f"Bearer {phone.access}", "Last-Event-ID": str(seen[-1].id if seen else 0)}
        with (
            suppress(httpx.HTTPError),
            httpx.stream("GET", f"{machine.link_url}/api/v1/link/update/events", headers=headers, timeout=30) as answer,
        ):
            for one in received(answer.iter_lines()):
                assert one.type == "update.status"
                seen.append(one)
                if one.data["state"] != "running":
                    return seen
        time.sleep(0.2)
    raise AssertionError(f"the update did not end: {seen[-1:]}")


@pytest.mark.parametrize("file", ["hermes/gateway/serve.py", "hermeslink/service/serve.py"])
def test_a_version_that_does_not_come_up_is_taken_back(machine: Machine, offered: Offer, file: str) -> None:
    machine.environ["PIP_INDEX_URL"] = offered("9.2", changes={file: BROKEN})
    machine.start()
    phone = machine.phone()

    phone.post("/hermes/update")

    told = machine.status(phone)
    assert told["state"] == "failed"
    assert f"rolled back to {NOW}" in told["error"]
    assert told["manual_command"] == "python -m pip install --upgrade hermes-server==9.2"
    assert any("this version is broken" in line for line in told["lines"])
    assert machine.versions() == (NOW, NOW)


def test_a_database_that_the_broken_version_changed_is_the_one_of_before(machine: Machine, offered: Offer) -> None:
    machine.environ["PIP_INDEX_URL"] = offered("9.3", changes={"hermeslink/service/serve.py": MOVES_ON})
    machine.start()
    phone = machine.phone()
    conversation = phone.conversation(title="Kept")

    phone.post("/link/update")

    told = machine.status(phone)
    assert told["state"] == "failed" and "with the databases of before" in told["error"], told
    assert phone.get("/conversations")["conversations"][0]["id"] == conversation
    assert machine.versions() == (NOW, NOW)
    with sqlite3.connect(machine.link_home / "link.db.of-9.3") as aside:
        assert aside.execute("SELECT version_num FROM alembic_version").fetchone() == ("of_the_future",)
    aside.close()


def test_an_installer_that_fails_leaves_what_runs(machine: Machine, offered: Offer, files: Path) -> None:
    machine.environ["PIP_INDEX_URL"] = url = offered("9.4")
    machine.start()
    phone, before = machine.phone(), machine.pids()
    assert phone.get("/link/update-check")["update_available"] is True
    (files / "hermes_server-9.4-py3-none-any.whl").write_bytes(b"no wheel")

    phone.post("/link/update", {"version": "9.4"})

    told = machine.status(phone)
    assert (told["state"], told["exit_code"]) == ("failed", 1), (told, url)
    assert f"{NOW} is still there" in told["error"]
    assert machine.pids() == before
    assert machine.versions() == (NOW, NOW)


def test_only_a_version_of_the_index_is_brought_and_the_one_that_is_named(machine: Machine, offered: Offer) -> None:
    machine.environ["PIP_INDEX_URL"] = offered("9.5", "9.6")
    machine.start()
    phone = machine.phone()
    for version in ("9.7", "1.0; touch owned", "--index-url=http://evil.example", "../../x", "9.5 --pre"):
        answer = phone.client.post("/link/update", json={"version": version})
        assert refused(answer) == (400, "update_version_unknown"), version
    assert refused(phone.client.post("/link/update", json={"version": NOW})) == (409, "update_not_needed")

    phone.post("/link/update", {"version": "9.5"})

    assert machine.status(phone)["state"] == "succeeded"
    assert machine.versions() == ("9.5", "9.5")


def test_an_update_whose_process_was_killed_is_told_with_the_way_out(machine: Machine, offered: Offer) -> None:
    machine.environ["PIP_INDEX_URL"] = offered("9.8")
    machine.start()
    phone = machine.phone()

    begun = phone.post("/link/update")
    end_updater(begun["job_id"])

    told = machine.status(phone)
    assert (told["state"], told["job_id"]) == ("failed", begun["job_id"])
    assert told["error"].startswith("the update was ended while it was ")
    assert told["manual_command"] == "python -m pip install --upgrade hermes-server==9.8"
    done = machine.run("hermes", "update", "--status", check=False)
    assert done.returncode == 1 and "the update was ended while" in done.stderr
    phone.post("/link/update")
    assert machine.status(phone)["state"] == "succeeded"
    assert machine.versions() == ("9.8", "9.8")


@pytest.mark.parametrize("installer", ["uv", "pipx"])
def test_the_tool_that_installed_it_updates_it_and_goes_back_without_pinning(
    installer: str, tmp_path: Path, wheel: Path, offered: Offer
) -> None:
    tool = {"uv": uv_tool, "pipx": pipx}[installer](tmp_path, offered())
    machine = make_machine(tmp_path, tool.python, **tool.environ)
    try:
        machine.start()
        phone = machine.phone()
        url = offered("9.2", changes={"hermes/gateway/serve.py": BROKEN})
        restart_link(machine, PIP_INDEX_URL=url, UV_DEFAULT_INDEX=url)
        phone.post("/link/update")
        told = machine.status(phone)
        assert (told["state"], told["manual_command"]) == ("failed", tool.by_hand), told
        assert f"rolled back to {NOW}" in told["error"], told
        assert machine.versions() == (NOW, NOW)

        url = offered("9.3")
        restart_link(machine, PIP_INDEX_URL=url, UV_DEFAULT_INDEX=url)
        phone.post("/link/update")
        told = machine.status(phone)
        assert (told["state"], told["target_version"]) == ("succeeded", "9.3"), told
        assert machine.versions() == ("9.3", "9.3")
    finally:
        machine.close()


@dataclass
class Tool:
    """What an installer of programs made: its interpreter, and what has to be set for the installer to find it."""

    python: Path
    environ: dict[str, str]
    by_hand: str


def uv_tool(root: Path, url: str) -> Tool:
    pytest.importorskip("uv")
    program = Path(sys.executable).with_name("uv")
    place = root / "tools"
    environ = {
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "UV_TOOL_DIR": str(place),
        "UV_TOOL_BIN_DIR": str(root / "bin"),
        "UV_DEFAULT_INDEX": url,
        "UV_PYTHON_DOWNLOADS": "never",
    }
    install(root, environ, str(program), "tool", "install", "--python", sys.executable, "hermes-server")
    return tool_of(place, environ, "uv tool install --force hermes-server==9.2")


def pipx(root: Path, url: str) -> Tool:
    """pipx itself, and the pip that it brings, come from where pip is configured to take packages."""
    programs = root / "pipx-program" / "bin"
    subprocess.run([sys.executable, "-m", "venv", programs.parent], check=True)
    environ = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PIPX_HOME": str(root / "pipx"),
        "PIPX_BIN_DIR": str(root / "bin"),
        "PIPX_MAN_DIR": str(root / "man"),
        "PIPX_SHARED_LIBS": str(root / "pipx" / "shared"),
    }
    for command in (("pip", "install", "-q", "pipx"), ("pipx", "upgrade-shared")):
        program = [str(programs / command[0]), *command[1:]]
        done = subprocess.run(program, env={**os.environ, **environ}, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"pipx cannot be had from here: {done.stderr[-200:]}")
    environ["PIP_INDEX_URL"] = url
    install(root, environ, str(programs / "pipx"), "install", "--python", sys.executable, "hermes-server")
    return tool_of(root / "pipx" / "venvs", environ, "pipx install --force hermes-server==9.2")


def install(root: Path, environ: dict[str, str], *command: str) -> None:
    done = subprocess.run(command, env=clean_environ(root, **environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def tool_of(place: Path, environ: dict[str, str], by_hand: str) -> Tool:
    [site] = place.glob("hermes-server/lib/python*/site-packages")
    borrow(site)
    return Tool(place / "hermes-server" / "bin" / "python", environ, by_hand)


def restart_link(machine: Machine, **environ: str) -> None:
    """It asks the index that its environment names."""
    machine.environ.update(environ)
    (machine.link_home / "updates.json").unlink(missing_ok=True)
    machine.run("hermeslink", "restart")


def end_updater(job_id: str) -> None:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if job_id.encode() in (folder / "cmdline").read_bytes():
                os.killpg(int(folder.name), signal.SIGKILL)


def test_the_command_line_updates_and_restarts_what_runs(machine: Machine, offered: Offer) -> None:
    machine.environ["PIP_INDEX_URL"] = offered("9.9")
    machine.start()
    before = machine.pids()

    told = machine.run("hermeslink", "update", "--check")
    assert told.stdout.startswith(f"hermes 9.9 is there; this is {NOW}.")
    done = machine.run("hermeslink", "update", "--yes")

    assert done.stdout.endswith("hermes 9.9 is installed.\n"), done.stdout
    assert f"{NOW} -> 9.9; running: the gateway, Link\n" in done.stdout
    assert machine.versions() == ("9.9", "9.9")
    assert not set(machine.pids()) & set(before)
