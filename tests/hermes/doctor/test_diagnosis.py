"""Each finding is provoked for real, and gone when its mend was done."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hermes.doctor import Finding, Severity, diagnose, machine
from hermes.gateway import service
from hermes.home.config_file import set_config
from hermes.home.env import set_env
from hermes.home.locks import running_gateway
from hermes.home.paths import Home, create_home
from hermes.home.settings import load_settings
from hermes.models.scripted import ScriptedModelServer
from hermes.store.database import Database
from tests.support.store import keep_session

NOW = 1_790_000_000.0


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """One where nothing is wrong."""
    made = Home(tmp_path / "home")
    create_home(made)
    return made


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "API_SERVER_PORT": "0"}


@pytest.fixture
def findings(home: Home, environ: dict[str, str]) -> Callable[..., list[Finding]]:
    def find(*, asks_model: bool = False, now: float = NOW) -> list[Finding]:
        return list(diagnose(home, environ, now=now, asks_model=asks_model).findings)

    return find


Find = Callable[..., list[Finding]]


def named(found: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.name, finding.severity.value) for finding in found]


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, found
    return found[0]


def type_in(mend: str | None, home: Home, environ: dict[str, str]) -> None:
    """What a person would type."""
    assert mend is not None
    script = f'hermes() {{ {shlex.quote(sys.executable)} -m hermes "$@"; }}\n{mend}'
    here = {**environ, "HERMES_HOME": str(home.path)}
    subprocess.run(["bash", "-c", script], env=here, check=True, capture_output=True, timeout=60)


def test_a_new_home_has_no_findings(findings: Find) -> None:
    assert findings() == []


def test_where_no_home_is_there_is_only_a_note(tmp_path: Path) -> None:
    found = diagnose(Home(tmp_path / "none"), {}, now=NOW).findings
    assert [(each.name, each.is_wrong, each.mend) for each in found] == [("no_home", False, "hermes gateway")]
    assert not (tmp_path / "none").exists()


def test_a_home_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = only(list(diagnose(Home(tmp_path / "file" / "home"), {}, now=NOW).findings))
    assert (found.name, found.is_wrong, found.mend) == ("no_writing", True, None)
    assert found.text == f"{tmp_path / 'file'} is no directory, so there can be no home in {tmp_path / 'file' / 'home'}"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_cannot_be_written_is_told_until_it_can(
    home: Home, environ: dict[str, str], findings: Find
) -> None:
    home.path.chmod(0o500)
    found = only(findings())
    assert found.name == "no_writing"
    type_in(found.mend, home, environ)
    assert findings() == []


@pytest.mark.parametrize(
    ("host", "key", "expected"),
    [
        ("127.0.0.1", "change-me-local-dev", [("documented_key", "warning")]),
        ("127.0.0.1", "x7Qp", [("weak_key", "warning")]),
        ("127.0.0.1", None, [("no_key", "error")]),
        ("0.0.0.0", "f3" * 16 + "9ab1c5d7", [("wide_bind", "warning")]),
        ("0.0.0.0", "change-me-local-dev", [("documented_key", "error"), ("wide_bind", "warning")]),
        ("0.0.0.0", "x7QpLw2Tz9Kd4Rm8", [("weak_key", "error"), ("wide_bind", "warning")]),
    ],
)
def test_a_key_is_judged_by_who_can_try_it(
    home: Home, environ: dict[str, str], findings: Find, host: str, key: str | None, expected: list[tuple[str, str]]
) -> None:
    environ["API_SERVER_HOST"] = host
    if key is None:
        home.env_file.write_text("API_SERVER_ENABLED=true\n")
    else:
        set_env(home.env_file, "API_SERVER_KEY", key)
    found = findings()
    assert named(found) == expected
    for finding in found:
        assert key is None or key not in finding.text
        if finding.name != "wide_bind":
            type_in(finding.mend, home, environ)
    assert [name for name, _ in named(findings()) if name != "wide_bind"] == []


def test_a_wide_bind_is_mended_by_its_command(home: Home, environ: dict[str, str], findings: Find) -> None:
    set_env(home.env_file, "API_SERVER_HOST", "0.0.0.0")
    finding = only(findings())
    assert finding.name == "wide_bind"
    type_in(finding.mend, home, environ)
    assert findings() == []


@pytest.mark.parametrize(
    "name",
    [
        ".env",
        ".env.bak",
        "config.yaml",
        pytest.param("state.db", marks=pytest.mark.sqlite("a file")),
        "logs",
        "logs/gateway.log",
        "files",
    ],
)
def test_a_file_that_others_can_read_is_named_and_closed(
    home: Home, environ: dict[str, str], findings: Find, name: str
) -> None:
    file = home.path / name
    if name == "state.db":
        Database.open_now(f"sqlite:///{file}").close_now()
    elif name == "files":
        file.mkdir()
    elif not file.exists():
        file.write_text("")
    file.chmod(0o755 if file.is_dir() else 0o644)
    finding = only(findings())
    assert (finding.name, finding.severity) == ("open_file", Severity.ERROR)
    assert str(file) in finding.text
    type_in(finding.mend, home, environ)
    assert findings() == []


def test_settings_that_are_wrong_unknown_or_idle_are_told_apart(
    home: Home, environ: dict[str, str], findings: Find
) -> None:
    set_config(home.config_file, ["approvals", "mod"], "manual")
    set_config(home.config_file, ["approvals", "timeout"], "soon")
    set_env(home.env_file, "API_SERVER_PROT", "8643")
    set_env(home.env_file, "GATEWAY_ALLOW_ALL_USERS", "true")
    found = findings()
    assert named(found) == [
        ("wrong_setting", "error"),
        ("unknown_setting", "warning"),
        ("unknown_setting", "warning"),
        ("no_effect", "note"),
    ]
    assert [finding.is_wrong for finding in found] == [True, True, True, False]
    for finding in found:
        type_in(finding.mend, home, environ)
    assert findings() == []


@pytest.mark.parametrize("text", ["approvals: [\n", "a: b: c\n", "just text\n", "model: {}\nmodel: {}\n"])
def test_a_file_that_cannot_be_read_has_no_command_that_mends_it(home: Home, findings: Find, text: str) -> None:
    home.config_file.write_text(text)
    finding = only(findings())
    assert (finding.name, finding.mend) == ("wrong_setting", None)


def test_a_line_that_cannot_be_read_is_told(home: Home, findings: Find) -> None:
    home.env_file.write_text(home.env_file.read_text() + "A B C\n")
    finding = only(findings())
    assert (finding.name, finding.mend) == ("setting", "hermes config check")


def test_a_name_that_the_shell_sets_is_unset_there(environ: dict[str, str], findings: Find) -> None:
    environ["HERMES_LOG_LEVL"] = "info"
    finding = only(findings())
    assert (finding.name, finding.mend) == ("unknown_setting", "unset HERMES_LOG_LEVL")


def test_an_api_that_is_off_is_no_fault(home: Home, environ: dict[str, str], findings: Find) -> None:
    set_env(home.env_file, "API_SERVER_ENABLED", "false")
    finding = only(findings())
    assert (finding.name, finding.is_wrong) == ("api_off", False)
    type_in(finding.mend, home, environ)
    assert findings() == []


def test_any_web_site_as_an_origin_is_told(home: Home, environ: dict[str, str], findings: Find) -> None:
    set_env(home.env_file, "API_SERVER_CORS_ORIGINS", "*")
    finding = only(findings())
    assert named([finding]) == [("cors_any", "warning")]
    type_in(finding.mend, home, environ)
    assert findings() == []


def test_an_origin_that_no_page_has_is_told(home: Home, environ: dict[str, str], findings: Find) -> None:
    good = "https://a.example,http://localhost:3000/,capacitor://localhost,null"
    set_env(home.env_file, "API_SERVER_CORS_ORIGINS", f"{good},b.example,https://c.example/chat")
    finding = only(findings())
    assert named([finding]) == [("cors_no_origin", "warning")]
    assert finding.text.startswith("API_SERVER_CORS_ORIGINS: b.example, https://c.example/chat: no page")
    type_in(finding.mend, home, environ)
    assert findings() == []


@pytest.mark.sqlite("the file of a home")
def test_a_damaged_database_is_told_with_a_way_out(home: Home, environ: dict[str, str], findings: Find) -> None:
    Database.open_now(f"sqlite:///{home.state_db}").close_now()
    with home.state_db.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(os.urandom(4096 * 8))
    finding = only(findings())
    assert named([finding]) == [("broken_database", "error")]
    assert str(home.state_db) in finding.text
    type_in(finding.mend, home, environ)
    assert findings() == []


@pytest.mark.sqlite("a file elsewhere")
def test_a_damaged_database_is_told_wherever_it_lies(environ: dict[str, str], findings: Find, tmp_path: Path) -> None:
    file = tmp_path / "elsewhere.db"
    environ["HERMES_DATABASE_URL"] = f"sqlite:///{file}"
    Database.open_now(f"sqlite:///{file}").close_now()
    assert findings() == []
    file.write_bytes(b"x" * 8192)
    finding = only(findings())
    assert (finding.name, str(file) in finding.text) == ("broken_database", True)


@pytest.mark.sqlite("the file of a home")
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "newer_database"),
        ("DROP TABLE alembic_version", "foreign_database"),
    ],
)
def test_a_database_that_no_gateway_starts_with_is_told(home: Home, findings: Find, script: str, expected: str) -> None:
    Database.open_now(f"sqlite:///{home.state_db}").close_now()
    with closing(sqlite3.connect(home.state_db)) as conn, conn:
        conn.execute(script)
    assert named(findings()) == [(expected, "error")]


def test_a_directory_in_the_place_of_the_database_is_told(home: Home, environ: dict[str, str], findings: Find) -> None:
    home.state_db.mkdir(0o700)
    finding = only(findings())
    assert (finding.name, "is no file" in finding.text) == ("broken_database", True)
    type_in(finding.mend, home, environ)
    assert findings() == []


@pytest.mark.sqlite("the file of a home")
def test_a_clock_that_went_back_is_told_by_what_happened_before(home: Home, findings: Find) -> None:
    database = Database.open_now(f"sqlite:///{home.state_db}")
    database.write_now(lambda conn: keep_session(conn, last_active=NOW + 7200))
    database.close_now()
    finding = only(findings())
    assert (finding.name, "2.0 h behind" in finding.text) == ("clock", True)
    assert findings(now=NOW + 7200) == []


def test_a_clock_that_was_never_set_is_told(findings: Find) -> None:
    assert named(findings(now=1000.0)) == [("clock", "error")]


def test_a_time_zone_that_does_not_exist_is_told(home: Home, environ: dict[str, str], findings: Find) -> None:
    environ["TZ"] = "Mars/Olympus_Mons"
    assert (only(findings()).name, only(findings()).mend) == ("timezone", "unset TZ")
    environ["TZ"] = "Europe/Berlin"
    set_config(home.config_file, ["jobs", "timezone"], "Mars/Olympus_Mons")
    finding = only(findings())
    assert (finding.name, "Mars/Olympus_Mons" in finding.text) == ("wrong_setting", True)
    type_in(finding.mend, home, environ)
    assert findings() == []


def test_toolsets_that_are_not_there_are_told(home: Home, environ: dict[str, str], findings: Find) -> None:
    set_config(home.config_file, ["toolsets"], ["terminal", "telepathy"])
    assert named(findings()) == [("unknown_toolset", "note")]
    set_config(home.config_file, ["toolsets"], ["terminl"])
    finding = only(findings())
    assert (finding.name, finding.is_wrong, "terminl" in finding.text) == ("unknown_toolset", True, True)
    type_in(finding.mend, home, environ)
    assert findings() == []


def test_a_profiles_shell_is_mended_in_the_profile(home: Home) -> None:
    alice = Home(home.path / "profiles" / "alice", "alice")
    create_home(alice)
    set_config(alice.config_file, ["terminal", "shell"], "no-such-shell")
    found = [each for each in diagnose(alice, {}, now=NOW, asks_model=False).findings if each.name == "missing_program"]
    assert [each.mend for each in found] == ["hermes -p alice config unset terminal.shell"]


def test_a_disk_that_is_full_or_nearly_is_told(home: Home) -> None:
    assert list(machine.disk(home, full_bytes=0, tight_bytes=0)) == []
    huge = 1 << 60
    assert [each.severity for each in machine.disk(home, full_bytes=0, tight_bytes=huge)] == [Severity.WARNING]
    assert [each.severity for each in machine.disk(home, full_bytes=huge, tight_bytes=huge)] == [Severity.ERROR]


def test_a_unit_of_another_version_is_told_and_another_homes_is_not_ours(
    home: Home, environ: dict[str, str], findings: Find
) -> None:
    file = service.unit_file(home, environ)
    file.parent.mkdir(parents=True)
    file.write_text(service.unit_text(home, environ | {"PATH": "/elsewhere"}))
    assert findings() == []
    file.write_text(file.read_text().replace("KillMode=mixed", "KillMode=process"))
    assert (only(findings()).name, only(findings()).mend) == ("old_unit", "hermes gateway install")
    file.write_text(file.read_text().replace(str(home.path), "/somewhere/else"))
    assert findings() == []


def test_programs_and_directories_that_are_missing_are_told(
    home: Home, environ: dict[str, str], findings: Find
) -> None:
    set_config(home.config_file, ["terminal", "shell"], "fishy")
    set_config(home.config_file, ["terminal", "cwd"], str(home.path / "gone"))
    found = findings()
    assert named(found) == [("missing_program", "error"), ("missing_directory", "error")]
    for finding in found:
        type_in(finding.mend, home, environ)
    assert findings() == []


def test_a_missing_ripgrep_is_told(home: Home, environ: dict[str, str], tmp_path: Path) -> None:
    """In another environment of Python, which has our packages and not their programs."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True, timeout=60)
    places = [path for path in sys.path if path.endswith("site-packages")] + [str(Path(service.__file__).parents[2])]
    done = subprocess.run(
        [tmp_path / "venv" / "bin" / "python", "-m", "hermes", "doctor", "--offline", "--json"],
        env={**environ, "PATH": "", "HERMES_HOME": str(home.path), "PYTHONPATH": os.pathsep.join(places)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert [(each["name"], each["mend"]) for each in json.loads(done.stdout)["findings"]] == [
        ("missing_program", "pip install 'ripgrep>=14.1,<15'")
    ]


def test_a_port_of_somebody_else_is_told(home: Home, environ: dict[str, str], findings: Find) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        environ["API_SERVER_PORT"] = str(other.getsockname()[1])
        found = only(findings())
        assert found.name == "port_taken"
        assert "API_SERVER_PORT is set in the environment" in found.text
        assert found.mend is not None
        assert found.mend.startswith("unset API_SERVER_PORT; hermes config set API_SERVER_PORT ")
        assert found.mend.split()[-1] != environ["API_SERVER_PORT"]
        del environ["API_SERVER_PORT"]
        type_in(found.mend, home, environ)
        assert findings() == []


def test_the_port_that_is_offered_can_be_had(home: Home, environ: dict[str, str], findings: Find) -> None:
    del environ["API_SERVER_PORT"]
    with closing(socket.create_server(("127.0.0.1", 0))) as first:
        port = first.getsockname()[1]
        set_env(home.env_file, "API_SERVER_PORT", str(port))
        with contextlib.suppress(OSError), closing(socket.create_server(("127.0.0.1", port + 1))):
            type_in(only(findings()).mend, home, environ)
            assert findings() == []


def test_an_address_of_another_machine_is_mended_by_another_address(
    home: Home, environ: dict[str, str], findings: Find
) -> None:
    del environ["API_SERVER_PORT"]
    set_env(home.env_file, "API_SERVER_HOST", "192.0.2.1")
    found = next(each for each in findings() if each.name == "port_taken")
    assert found.mend == "hermes config set API_SERVER_HOST 127.0.0.1"


@pytest.fixture
def running(home: Home, environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    here = {**environ, "HERMES_HOME": str(home.path), "OPENAI_API_KEY": "sk-none", "API_SERVER_PORT": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", "hermes", "gateway"], env=here, stdout=subprocess.PIPE, text=True, cwd=home.path
    )
    with process:
        assert process.stdout is not None
        assert "listening" in process.stdout.readline()
        yield process
        process.kill()


@pytest.mark.sqlite("the file of a home")
def test_a_gateway_that_was_killed_and_one_that_hangs_are_told(
    home: Home, findings: Find, running: subprocess.Popen[str]
) -> None:
    deadline = time.monotonic() + 20
    while not ((told := running_gateway(home.pid_file)) and told.is_ready):
        assert time.monotonic() < deadline
    assert findings() == []
    os.kill(running.pid, signal.SIGSTOP)
    assert named(findings()) == [("silent_gateway", "error")]
    os.kill(running.pid, signal.SIGCONT)
    assert findings() == []
    running.kill()
    running.wait()
    assert (only(findings()).name, only(findings()).mend) == ("stale_lock", "hermes gateway start")


def test_a_model_that_answers_is_asked_with_its_key_and_once(home: Home, findings: Find) -> None:
    with ScriptedModelServer(["ok"], api_key="sk-right") as server:
        set_config(home.config_file, ["model"], {"default": "m", "base_url": server.base_url, "api_key": "sk-right"})
        assert findings(asks_model=True) == []
        assert [body["messages"][-1]["content"] for body in server.requests] == ["Answer with the word ok."]


def test_a_refused_key_is_told_with_the_setting_that_holds_it(home: Home, findings: Find) -> None:
    with ScriptedModelServer(["ok"], api_key="sk-right") as server:
        set_config(home.config_file, ["model"], {"default": "m", "base_url": server.base_url, "key_env": "MY_KEY"})
        set_env(home.env_file, "MY_KEY", "sk-wrong-1234567890")
        finding = only(findings(asks_model=True))
    assert (finding.name, finding.mend) == ("model_key", "hermes config set MY_KEY YOUR_KEY")
    assert "sk-wrong" not in finding.text


def test_a_model_that_nobody_serves_is_told(home: Home, findings: Find) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as gone:
        port = gone.getsockname()[1]
    set_config(home.config_file, ["model"], {"default": "m", "base_url": f"http://127.0.0.1:{port}/v1"})
    assert named(findings(asks_model=True)) == [("model_unreachable", "error")]


async def test_a_model_that_is_silent_is_not_waited_for(home: Home, environ: dict[str, str]) -> None:
    from hermes.doctor import model

    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        set_config(home.config_file, ["model"], {"default": "m", "base_url": address})
        settings = load_settings(home, environ)
        found = await model.examine(home, settings, environ, seconds=0.2)
    assert [(each.name, each.text) for each in found] == [
        ("model_unreachable", "the model did not answer within 0.2 s")
    ]


def test_a_provider_without_a_key_is_told(home: Home, findings: Find) -> None:
    set_config(home.config_file, ["model"], {"default": "gpt-x", "provider": "openai"})
    finding = only(findings(asks_model=True))
    assert (finding.name, "OPENAI_API_KEY is not set" in finding.text) == ("no_model", True)


def test_a_backend_that_cannot_work_is_told_until_it_is_another(
    home: Home, environ: dict[str, str], findings: Find, tmp_path: Path
) -> None:
    set_config(home.config_file, ["terminal", "backend"], "ssh")
    found = only(findings())
    assert (found.name, found.severity) == ("backend", Severity.ERROR)
    assert found.text == "commands are to run in ssh, and none can: terminal.ssh.host is not set"
    set_config(home.config_file, ["terminal", "backend"], "docker")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "docker").write_text("#!/bin/sh\necho Cannot connect to the Docker daemon >&2; exit 1\n")
    (programs / "docker").chmod(0o755)
    environ["PATH"] = f"{programs}:{environ['PATH']}"
    found = only(findings())
    assert found.text == "commands are to run in docker, and none can: Cannot connect to the Docker daemon"
    type_in(found.mend, home, environ)
    assert findings() == []


def test_every_backend_is_told_with_what_is_in_its_way(home: Home, environ: dict[str, str]) -> None:
    places = {place.name: place.problem for place in diagnose(home, environ, now=NOW, asks_model=False).places}
    assert list(places) == ["local", "bubblewrap", "docker", "ssh"]
    assert places["local"] == ""
    assert places["ssh"]
