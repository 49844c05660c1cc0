"""Programs that start with the machine: the files, and what a `systemctl` is asked that writes down what it is told."""

from __future__ import annotations

import plistlib
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hermes.core.errors import Conflict, HermesError
from hermes.home.autostart import autostart
from hermes.home.autostart.entry import Program
from hermes.home.autostart.launchd import Launchd
from hermes.home.autostart.startup import Startup
from hermes.home.autostart.systemd import Systemd
from hermes.home.autostart.xdg import Xdg

NAMES = ["plain", "with space", "100%", 'quo"te', "back\\slash", "$HOME", "a'b", "`id`", "ein-größeres"]


def program(home: str, tmp_path: Path) -> Program:
    return Program(
        name="hermes-link",
        label="com.hermes.link",
        description="Hermes Link",
        by_hand="hermeslink start",
        written_by="hermeslink autostart on",
        foreground=("/opt/py thon/bin/python", "-P", "-m", "hermeslink", "start", "--foreground"),
        background=("/opt/py thon/bin/python", "-P", "-m", "hermeslink", "start"),
        homes={"HERMESLINK_HOME": home, "HERMES_HOME": "/home/me/.hermes"},
        path="/usr/bin:/bin",
        log=tmp_path / "link.out",
        stop_seconds=25,
    )


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Of a user on a machine with no systemd and no desktop."""
    programs = tmp_path / "bin"
    programs.mkdir()
    return {"HOME": str(tmp_path), "PATH": str(programs)}


@pytest.fixture
def systemctl(tmp_path: Path, environ: dict[str, str]) -> Callable[[str], None]:
    def make(error: str) -> None:
        file = tmp_path / "bin" / "systemctl"
        end = f'echo "{error}" >&2; exit 1' if error else "exit 0"
        file.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/asked"\n{end}\n')
        file.chmod(0o755)

    return make


@pytest.mark.parametrize("name", NAMES)
def test_systemd_takes_the_unit_whatever_the_home_is_called(tmp_path: Path, name: str) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    unit = replace(program(str(tmp_path / name), tmp_path), foreground=("/bin/true", name))
    file = tmp_path / "hermes-link.service"
    file.write_text(Systemd({}).text(unit))
    done = subprocess.run(
        [analyze, "verify", "--user", str(file)],
        env={"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", NAMES)
def test_a_desktop_reads_from_the_entry_what_was_put_into_it(tmp_path: Path, name: str) -> None:
    wanted = program(str(tmp_path / name), tmp_path)
    text = Xdg({}).text(wanted)
    assert text.startswith("# Written by") and "\n[Desktop Entry]\nType=Application\n" in text
    [line] = re.findall(r"^Exec=(.*)$", text, re.MULTILINE)
    arguments = as_a_desktop_reads(line)
    told = {**wanted.homes, "PATH": wanted.path}
    assert arguments == ["env", *(f"{key}={value}" for key, value in told.items()), *wanted.background]


def as_a_desktop_reads(value: str) -> list[str]:
    """The string first, then the quoting of Exec, then field codes (Desktop Entry Specification 1.5)."""
    string = re.sub(r"\\(.)", lambda match: {"s": " ", "n": "\n", "t": "\t", "r": "\r"}.get(match[1], match[1]), value)
    parts = re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', string)
    arguments = [re.sub(r"\\(.)", r"\1", quoted) if quoted else bare for quoted, bare in parts]
    assert not any(re.search(r"(?<!%)(?:%%)*%[a-zA-Z]", argument) for argument in arguments), "a field code"
    return [argument.replace("%%", "%") for argument in arguments]


@pytest.mark.parametrize("name", NAMES)
def test_launchd_reads_from_the_plist_what_was_put_into_it(tmp_path: Path, name: str) -> None:
    wanted = program(str(tmp_path / name), tmp_path)
    agent = plistlib.loads(Launchd({"HOME": str(tmp_path)}).text(wanted).encode())
    assert agent["Label"] == "com.hermes.link"
    assert agent["ProgramArguments"] == list(wanted.foreground)
    assert agent["EnvironmentVariables"] == {**wanted.homes, "PATH": wanted.path}
    assert (agent["RunAtLoad"], agent["KeepAlive"]) == (True, {"SuccessfulExit": False})


def test_the_startup_folder_gets_a_file_that_opens_no_window(tmp_path: Path) -> None:
    wanted = replace(
        program("C:\\Users\\Zoë 100%\\.hermeslink", tmp_path),
        background=("C:\\Program Files\\Python\\python.exe", "-P", "-m", "hermeslink", "start"),
    )
    method = Startup({"APPDATA": str(tmp_path)})
    assert method.text(wanted).split("\r\n")[-3:] == [
        'set "PATH=/usr/bin:/bin"',
        'start "" /b "C:\\Program Files\\Python\\pythonw.exe" "-P" "-m" "hermeslink" "start"',
        "",
    ]
    assert 'set "HERMESLINK_HOME=C:\\Users\\Zoë 100%%\\.hermeslink"' in method.text(wanted).split("\r\n")
    assert method.file(wanted).name == "hermes-link.cmd"


@pytest.mark.parametrize(
    ("platform", "more", "kind", "place"),
    [
        ("darwin", {}, "launchd", "Library/LaunchAgents/com.hermes.link.plist"),
        (
            "win32",
            {},
            "windows-startup",
            "AppData/Roaming/Microsoft/Windows/Start Menu/Programs/Startup/hermes-link.cmd",
        ),
        ("linux", {"DISPLAY": ":0"}, "xdg", ".config/autostart/hermes-link.desktop"),
    ],
)
def test_it_is_enabled_and_disabled_where_the_system_looks(
    tmp_path: Path, environ: dict[str, str], platform: str, more: dict[str, str], kind: str, place: str
) -> None:
    environ |= more
    wanted, other = program(str(tmp_path / "home"), tmp_path), program(str(tmp_path / "other"), tmp_path)
    file = tmp_path / place
    assert autostart.state(wanted, environ, platform) == autostart.State(False, kind, file)  # type: ignore[arg-type]
    assert autostart.enable(wanted, environ, platform).file == file
    assert autostart.state(wanted, environ, platform) == autostart.State(True, kind, file)  # type: ignore[arg-type]
    assert file.stat().st_mode & 0o777 == 0o600
    autostart.enable(wanted, environ, platform)  # again: nothing else
    assert not autostart.state(other, environ, platform).is_enabled
    with pytest.raises(Conflict, match="belongs to another home"):
        autostart.enable(other, environ, platform)
    assert autostart.disable(other, environ, platform) == []
    assert autostart.disable(wanted, environ, platform) == [file]
    assert autostart.disable(wanted, environ, platform) == []
    assert not autostart.state(wanted, environ, platform).is_enabled


@pytest.mark.parametrize("line", ["Hidden=true", "X-GNOME-Autostart-enabled=false"])
def test_an_entry_that_the_desktop_switched_off_is_off(tmp_path: Path, environ: dict[str, str], line: str) -> None:
    wanted = program(str(tmp_path), tmp_path)
    file = autostart.enable(wanted, environ | {"WAYLAND_DISPLAY": "wayland-0"}).file
    file.write_text(file.read_text().replace("X-GNOME-Autostart-enabled=true", line))
    assert not autostart.state(wanted, environ).is_enabled
    autostart.enable(wanted, environ)
    assert autostart.state(wanted, environ).is_enabled, "and on again"


def test_with_a_systemd_the_unit_is_enabled_and_nothing_is_started_or_stopped(
    tmp_path: Path, environ: dict[str, str], systemctl: Callable[[str], None]
) -> None:
    wanted = program(str(tmp_path / "home"), tmp_path)
    desktop = environ | {"DISPLAY": ":0"}
    autostart.enable(wanted, desktop)
    systemctl("")
    enabled = autostart.enable(wanted, desktop)
    unit = tmp_path / ".config" / "systemd" / "user" / "hermes-link.service"
    assert (enabled.kind, enabled.file, enabled.why) == ("systemd", unit, None)
    assert not Xdg(environ).is_written(wanted), "it would be started twice"
    (unit.parent / "default.target.wants").mkdir()
    (unit.parent / "default.target.wants" / unit.name).symlink_to(unit)  # what the real one does
    assert autostart.state(wanted, desktop) == autostart.State(True, "systemd", unit)
    assert autostart.disable(wanted, desktop) == [unit]
    assert not (unit.parent / "default.target.wants" / unit.name).is_symlink()
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == [
        "--user show-environment",
        "--user daemon-reload",
        "--user enable hermes-link.service",
        "--user disable hermes-link.service",
        "--user daemon-reload",
    ]


def test_the_real_systemctl_calls_a_unit_enabled_that_was_taken_up_without_it(tmp_path: Path) -> None:
    """Offline, as in a container: what `is-enabled` reads are the same files."""
    real = shutil.which("systemctl")
    if real is None:
        pytest.skip("systemctl is not installed")
    wanted = program(str(tmp_path / "home"), tmp_path)
    environ = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path)}
    assert autostart.enable(wanted, environ).kind == "systemd"
    asking = [real, "--user", "is-enabled", "hermes-link.service"]
    offline = {**environ, "SYSTEMD_OFFLINE": "1"}
    said = subprocess.run(asking, env=offline, capture_output=True, text=True, timeout=30, check=False)
    assert (said.stdout.strip(), autostart.state(wanted, environ).is_enabled) == ("enabled", True)
    autostart.disable(wanted, environ)
    gone = subprocess.run(asking, env=offline, capture_output=True, text=True, timeout=30, check=False)
    assert gone.returncode != 0 and not autostart.state(wanted, environ).is_enabled


def test_where_nothing_starts_programs_the_way_out_is_said(tmp_path: Path, environ: dict[str, str]) -> None:
    wanted = program(str(tmp_path), tmp_path)
    assert autostart.state(wanted, environ) == autostart.State(False, None, None)
    with pytest.raises(HermesError, match="hermeslink start") as caught:
        autostart.enable(wanted, environ)
    assert caught.value.code == "autostart_unsupported"
    assert shlex.join(wanted.foreground) in caught.value.message
    assert list((tmp_path).glob("**/*hermes*")) == []
