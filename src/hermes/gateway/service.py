"""The gateway as a systemd user unit, `hermes-gateway-<profile>.service`: it starts with the machine and is started
again when it crashed. What the unit holds and leaves out: docs/adr/0081.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hermes.core.errors import Conflict, HermesError
from hermes.home.files import write_private
from hermes.home.paths import Home
from hermes.home.settings import load_settings

SYSTEMCTL_SECONDS = 30.0
STOP_MARGIN_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Installed:
    """`is_enabled`: systemd took it; else `why` is what systemctl said, and somebody has to tell systemd himself."""

    file: Path
    is_enabled: bool
    why: str = ""


def unit_name(home: Home) -> str:
    return f"hermes-gateway-{home.name}.service"


def unit_file(home: Home, environ: Mapping[str, str]) -> Path:
    named = environ.get("XDG_CONFIG_HOME", "")
    config = Path(named) if named.startswith("/") else Path(environ.get("HOME") or Path.home()) / ".config"
    return config / "systemd" / "user" / unit_name(home)


def is_installed(home: Home, environ: Mapping[str, str]) -> bool:
    """Whether the unit is there and of this home; another home may have a profile of the same name."""
    return _home_line(home) in _lines(unit_file(home, environ))


def is_old(home: Home, environ: Mapping[str, str]) -> bool:
    """Whether this version would write another unit. PATH is the shell's that installed it, and may differ."""
    wanted = unit_text(home, environ).splitlines()
    return _without_path(_lines(unit_file(home, environ))) != _without_path(wanted)


def is_reachable(environ: Mapping[str, str]) -> bool:
    """Whether a systemd of this user answers. In containers and over plain su none does."""
    return _systemctl(environ, "show-environment") is None


def install(home: Home, environ: Mapping[str, str]) -> Installed:
    """Writes the unit and has it started with the machine. Raises HermesError where there is no systemd at all, and
    Conflict when the unit is another home's."""
    if shutil.which("systemctl", path=environ.get("PATH")) is None:
        raise HermesError(
            f"there is no systemd on this machine; run the gateway in the background with: {home.command} gateway "
            f"start, or have your own service manager run: {' '.join(_command(home))}, with HERMES_HOME={home.root}",
            code="no_systemd",
        )
    file = unit_file(home, environ)
    if file.exists() and not is_installed(home, environ):
        raise Conflict(
            f"{file} belongs to another home; remove it first, or give this home a profile of another name",
            code="unit_of_another_home",
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_private(file, unit_text(home, environ))
    why = _systemctl(environ, "daemon-reload") or _systemctl(environ, "enable", unit_name(home))
    return Installed(file, why is None, why or "")


def uninstall(home: Home, environ: Mapping[str, str]) -> Path | None:
    """Stops it, too. None when it was not installed."""
    file = unit_file(home, environ)
    if not is_installed(home, environ):
        return None
    _systemctl(environ, "disable", "--now", unit_name(home))
    file.unlink()
    _systemctl(environ, "daemon-reload")
    return file


def start(home: Home, environ: Mapping[str, str]) -> None:
    """Returns when systemd has started the process. Raises HermesError with what systemctl said."""
    why = _systemctl(environ, "restart", unit_name(home))
    if why is not None:
        raise HermesError(
            f"systemd did not start {unit_name(home)}: {why}; see: journalctl --user -u {unit_name(home)}",
            code="gateway_not_started",
        )


def stop(home: Home, environ: Mapping[str, str]) -> None:
    """Also one that systemd would start again in a moment. It does not matter whether it ran."""
    _systemctl(environ, "stop", unit_name(home))


def unit_text(home: Home, environ: Mapping[str, str]) -> str:
    api = load_settings(home, environ, is_lenient=True).api_server
    who = f" of profile {home.name}" if home.is_profile else ""
    return UNIT.format(
        who=who,
        command=" ".join(_quoted(part, is_command=True) for part in _command(home)),
        home=_home_line(home),
        path=_environment("PATH", environ.get("PATH", "/usr/local/bin:/usr/bin:/bin")),
        stop=int(api.drain_delay + api.drain_timeout) + STOP_MARGIN_SECONDS,
    )


UNIT = """\
# Written by `hermes gateway install`; a later install writes it anew. Changes of your own: systemctl --user edit
[Unit]
Description=Hermes gateway{who}
StartLimitIntervalSec=120
StartLimitBurst=5

[Service]
Type=exec
ExecStart={command}
{home}
# Programs that the agent calls are found as in the shell that installed it.
{path}
WorkingDirectory=~
Restart=on-failure
RestartSec=2
# 2: the configuration is wrong, and stays wrong however often it is started
RestartPreventExitStatus=2
# Open runs get api_server.drain_timeout; what tools still run then ends with it.
KillMode=mixed
TimeoutStopSec={stop}
# A tool that takes all memory dies alone, and a crash writes no memory, with keys in it, to disk.
OOMPolicy=continue
LimitCORE=0
LimitNOFILE=65536

[Install]
WantedBy=default.target
"""


def _command(home: Home) -> list[str]:
    profile = ["-p", home.name] if home.is_profile else []
    return [sys.executable, "-P", "-m", "hermes", *profile, "gateway", "run"]


def _home_line(home: Home) -> str:
    return _environment("HERMES_HOME", str(home.root))


def _environment(name: str, value: str) -> str:
    return f"Environment={_quoted(f'{name}={value}', is_command=False, always=True)}"


def _quoted(text: str, *, is_command: bool, always: bool = False) -> str:
    """As systemd reads it: % begins a specifier everywhere, $ a variable in commands."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("\n", "\\n")
    if is_command:
        escaped = escaped.replace("$", "$$")
    return f'"{escaped}"' if always or escaped != text or any(c.isspace() or c in "';" for c in text) else text


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def _without_path(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith('Environment="PATH=')]


def _systemctl(environ: Mapping[str, str], *arguments: str) -> str | None:
    """None when it succeeded, else its last line."""
    try:
        done = subprocess.run(
            ["systemctl", "--user", *arguments],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SYSTEMCTL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    lines = (done.stderr or done.stdout).strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"
