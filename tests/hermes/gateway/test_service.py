"""The systemd unit, and what is asked of a `systemctl` that writes down what it was told."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path

import pytest

from hermes.core.errors import Conflict, HermesError
from hermes.gateway import service
from hermes.home.env import set_env
from hermes.home.paths import Home, create_home

MakeSystemctl = Callable[..., None]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "a home")
    create_home(made)
    return made


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    programs = tmp_path / "bin"
    programs.mkdir()
    return {"HOME": str(tmp_path), "PATH": str(programs)}


@pytest.fixture
def systemctl(tmp_path: Path, environ: dict[str, str]) -> MakeSystemctl:
    """Puts one on the PATH. It fails with `error`, if there is one."""

    def make(error: str = "") -> None:
        file = Path(environ["PATH"]) / "systemctl"
        end = f'echo "{error}" >&2; exit 1' if error else "exit 0"
        file.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/asked"\n{end}\n')
        file.chmod(0o755)

    return make


def asked(environ: dict[str, str]) -> list[str]:
    file = Path(environ["HOME"]) / "asked"
    return file.read_text().splitlines() if file.exists() else []


def parsed(text: str) -> ConfigParser:
    unit = ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(text)
    return unit


def test_the_unit_runs_this_home_and_gives_its_runs_the_time_they_are_promised(
    home: Home, environ: dict[str, str]
) -> None:
    set_env(home.env_file, "API_SERVER_DRAIN_TIMEOUT", "25")
    text = service.unit_text(home, environ)
    unit = parsed(text)["Service"]
    program = unit["ExecStart"].split()[0]
    assert Path(program).is_absolute() and unit["ExecStart"].endswith("-P -m hermes gateway run")
    assert f'Environment="HERMES_HOME={home.path}"' in text.splitlines()
    assert unit["Restart"] == "on-failure"
    assert int(unit["TimeoutStopSec"]) > 25 + 2
    assert "API_SERVER_KEY" not in text


def test_a_profile_has_a_unit_of_its_own(home: Home, environ: dict[str, str]) -> None:
    alice = Home(home.path / "profiles" / "alice", "alice")
    assert service.unit_name(home) == "hermes-gateway-default.service"
    assert service.unit_file(alice, environ).name == "hermes-gateway-alice.service"
    text = service.unit_text(alice, environ)
    assert parsed(text)["Service"]["ExecStart"].endswith("-m hermes -p alice gateway run")
    assert f'Environment="HERMES_HOME={home.path}"' in text.splitlines()


@pytest.mark.parametrize("name", ["plain", "with space", "100%", 'quo"te', "back\\slash", "$HOME"])
def test_systemd_takes_the_unit_whatever_the_home_is_called(tmp_path: Path, name: str) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    home = Home(tmp_path / name)
    create_home(home)
    file = tmp_path / service.unit_name(home)
    file.write_text(service.unit_text(home, {"PATH": "/usr/bin:/bin"}))
    done = subprocess.run(
        [analyze, "verify", "--user", str(file)],
        env={"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_install_writes_the_unit_and_has_it_started_with_the_machine(
    home: Home, environ: dict[str, str], systemctl: MakeSystemctl
) -> None:
    systemctl()
    assert not service.is_installed(home, environ)
    installed = service.install(home, environ)
    assert (installed.file, installed.kind, installed.why) == (service.unit_file(home, environ), "systemd", None)
    assert installed.file.read_text() == service.unit_text(home, environ)
    assert service.is_installed(home, environ) and not service.is_old(home, environ)
    assert asked(environ)[1:] == ["--user daemon-reload", "--user enable hermes-gateway-default.service"]


def test_without_a_systemd_that_answers_the_unit_is_there_all_the_same(
    home: Home, environ: dict[str, str], systemctl: MakeSystemctl
) -> None:
    systemctl("Failed to connect to bus")
    installed = service.install(home, environ)
    assert installed.why == "Failed to connect to bus"
    wanted = installed.file.parent / "default.target.wants" / installed.file.name
    assert wanted.resolve() == installed.file, "the next systemd of this user takes it up"
    assert not service.is_reachable(environ)
    with pytest.raises(HermesError, match="Failed to connect to bus; see: journalctl"):
        service.start(home, environ)


def test_without_any_systemd_nothing_is_written_and_the_way_out_is_said(home: Home, environ: dict[str, str]) -> None:
    with pytest.raises(HermesError, match="hermes gateway start") as caught:
        service.install(home, environ)
    assert caught.value.code == "autostart_unsupported"
    assert not service.unit_file(home, environ).exists()


def test_the_unit_of_another_home_is_left_alone(
    home: Home, environ: dict[str, str], systemctl: MakeSystemctl, tmp_path: Path
) -> None:
    systemctl()
    service.install(home, environ)
    other = Home(tmp_path / "other")
    create_home(other)
    before = service.unit_file(home, environ).read_text()
    with pytest.raises(Conflict, match="belongs to another home"):
        service.install(other, environ)
    assert service.uninstall(other, environ) == []
    assert service.unit_file(home, environ).read_text() == before


def test_uninstall_stops_it_and_leaves_the_home(home: Home, environ: dict[str, str], systemctl: MakeSystemctl) -> None:
    systemctl()
    file = service.install(home, environ).file
    assert service.uninstall(home, environ) == [file]
    assert not file.exists() and home.env_file.exists()
    assert asked(environ)[3:] == ["--user disable --now hermes-gateway-default.service", "--user daemon-reload"]
    assert service.uninstall(home, environ) == []


def test_xdg_config_home_is_where_units_are(home: Home, environ: dict[str, str], tmp_path: Path) -> None:
    environ["XDG_CONFIG_HOME"] = str(tmp_path / "xdg")
    assert service.unit_file(home, environ).parent == tmp_path / "xdg" / "systemd" / "user"
