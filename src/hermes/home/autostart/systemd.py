"""As a systemd unit of the user: it starts with the machine, and again when it crashed. What the unit holds and leaves
out: docs/adr/0081.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from hermes.home.autostart.entry import Method, Program

SYSTEMCTL_SECONDS = 30.0
PROBE_SECONDS = 5.0


class Systemd(Method):
    kind = "systemd"

    def unit_name(self, program: Program) -> str:
        return f"{program.name}.service"

    def file(self, program: Program) -> Path:
        return self.config_home() / "systemd" / "user" / self.unit_name(program)

    def text(self, program: Program) -> str:
        return UNIT.format(
            written_by=program.written_by,
            description=program.description.replace("%", "%%"),
            command=" ".join(_quoted(part, is_command=True) for part in program.foreground),
            homes="\n".join(_home_lines(program)),
            path=_environment("PATH", program.path or "/usr/local/bin:/usr/bin:/bin"),
            stop=program.stop_seconds,
        )

    def belongs(self, text: str, program: Program) -> bool:
        return set(_home_lines(program)) <= set(text.splitlines())

    def is_enabled(self, program: Program) -> bool:
        return self.is_written(program) and self._wanted(program).is_symlink()

    def is_old(self, program: Program) -> bool:
        """Whether this version would write another unit. PATH is the shell's that installed it, and may differ."""
        return _without_path(self.read(program) or "") != _without_path(self.text(program))

    def is_there(self) -> bool:
        return shutil.which("systemctl", path=self.environ.get("PATH", "")) is not None

    def is_reachable(self) -> bool:
        """Whether a systemd of this user answers. In containers and over plain su none does."""
        return self.is_there() and self.ask("show-environment", seconds=PROBE_SECONDS) is None

    def enable(self, program: Program) -> str | None:
        """Where no systemd answers, the unit is there all the same, and the next one of this user takes it up."""
        super().enable(program)
        why = self.ask("daemon-reload") or self.ask("enable", self.unit_name(program))
        if why is not None:
            wanted = self._wanted(program)
            wanted.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                wanted.symlink_to(Path("..") / self.unit_name(program))
        return why

    def disable(self, program: Program, *, stops: bool = False) -> Path | None:
        """`stops`: what the unit runs, too."""
        if not self.is_written(program):
            return None
        self.ask("disable", *(["--now"] if stops else []), self.unit_name(program))
        self._wanted(program).unlink(missing_ok=True)
        removed = super().disable(program)
        self.ask("daemon-reload")
        return removed

    def start(self, program: Program) -> str | None:
        """Starts it anew where it runs; returns when the process is there. What systemctl said, None for success."""
        return self.ask("restart", self.unit_name(program))

    def stop(self, program: Program) -> None:
        """Also one that systemd would start again in a moment. It does not matter whether it ran."""
        self.ask("stop", self.unit_name(program))

    def ask(self, *arguments: str, seconds: float = SYSTEMCTL_SECONDS) -> str | None:
        """None when systemctl succeeded, else its last line."""
        try:
            done = subprocess.run(
                ["systemctl", "--user", *arguments],
                env=_reaching(self.environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        if done.returncode == 0:
            return None
        lines = (done.stderr or done.stdout).strip().splitlines()
        return lines[-1] if lines else f"exit code {done.returncode}"

    def _wanted(self, program: Program) -> Path:
        """What makes it start with the user's systemd; WantedBy of the unit says where."""
        return self.config_home() / "systemd" / "user" / "default.target.wants" / self.unit_name(program)


UNIT = """\
# Written by `{written_by}`, which writes it anew; changes of your own: systemctl --user edit
[Unit]
Description={description}
StartLimitIntervalSec=120
StartLimitBurst=5

[Service]
Type=exec
ExecStart={command}
{homes}
# Programs that the agent calls are found as in the shell that installed it.
{path}
WorkingDirectory=~
Restart=on-failure
RestartSec=2
# 2: the configuration is wrong, and stays wrong however often it is started
RestartPreventExitStatus=2
# What it still does gets its time (of the gateway: api_server.drain_timeout); what tools still run then ends with it.
KillMode=mixed
TimeoutStopSec={stop}
# A tool that takes all memory dies alone, and a crash writes no memory, with keys in it, to disk.
OOMPolicy=continue
LimitCORE=0
LimitNOFILE=65536

[Install]
WantedBy=default.target
"""


def _reaching(environ: Mapping[str, str]) -> dict[str, str]:
    """A program that was not started from a login, as by cron, is not told where the user's systemd is."""
    told = dict(environ)
    if not told.get("XDG_RUNTIME_DIR") and hasattr(os, "getuid"):
        usual = Path(f"/run/user/{os.getuid()}")
        if usual.is_dir():
            told["XDG_RUNTIME_DIR"] = str(usual)
    return told


def _home_lines(program: Program) -> list[str]:
    return [_environment(name, value) for name, value in program.homes.items()]


def _environment(name: str, value: str) -> str:
    return f"Environment={_quoted(f'{name}={value}', is_command=False, always=True)}"


def _quoted(text: str, *, is_command: bool, always: bool = False) -> str:
    """As systemd reads it: % begins a specifier everywhere, $ a variable in commands."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("\n", "\\n")
    if is_command:
        escaped = escaped.replace("$", "$$")
    return f'"{escaped}"' if always or escaped != text or any(c.isspace() or c in "';" for c in text) else text


def _without_path(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith('Environment="PATH=')]
