"""The gateway as a program that starts with the machine. Where there is a systemd, as a unit of the user, which starts
it again when it crashed; `start` and `restart` of the command line go through it then.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hermes.core.errors import HermesError
from hermes.home.autostart import autostart
from hermes.home.autostart.autostart import Enabled
from hermes.home.autostart.gateway import gateway_program
from hermes.home.autostart.systemd import Systemd
from hermes.home.paths import Home


def unit_name(home: Home) -> str:
    return f"hermes-gateway-{home.name}.service"


def unit_file(home: Home, environ: Mapping[str, str]) -> Path:
    return Systemd(environ).file(gateway_program(home, environ))


def unit_text(home: Home, environ: Mapping[str, str]) -> str:
    return Systemd(environ).text(gateway_program(home, environ))


def entry_text(home: Home, environ: Mapping[str, str]) -> str:
    """What `install` writes on this machine."""
    return autostart.text(gateway_program(home, environ), environ)


def is_installed(home: Home, environ: Mapping[str, str]) -> bool:
    """Whether the unit is there and of this home; another home may have a profile of the same name."""
    return Systemd(environ).is_written(gateway_program(home, environ))


def is_old(home: Home, environ: Mapping[str, str]) -> bool:
    return Systemd(environ).is_old(gateway_program(home, environ))


def is_reachable(environ: Mapping[str, str]) -> bool:
    return Systemd(environ).is_reachable()


def entry(home: Home, environ: Mapping[str, str]) -> Path | None:
    """The file that has it started with the machine; None where nothing does."""
    state = autostart.state(gateway_program(home, environ), environ)
    return state.file if state.is_enabled else None


def install(home: Home, environ: Mapping[str, str]) -> Enabled:
    """Has it started with the machine, and starts nothing. Raises what `autostart.enable` does."""
    return autostart.enable(gateway_program(home, environ), environ)


def uninstall(home: Home, environ: Mapping[str, str]) -> list[Path]:
    """What a unit runs is stopped; what was started otherwise runs on. The files that were removed."""
    program = gateway_program(home, environ)
    stopped = Systemd(environ).disable(program, stops=True)
    return [*([stopped] if stopped else []), *autostart.disable(program, environ)]


def start(home: Home, environ: Mapping[str, str]) -> None:
    """Returns when systemd has started the process. Raises HermesError with what systemctl said."""
    why = Systemd(environ).start(gateway_program(home, environ))
    if why is not None:
        unit = unit_name(home)
        raise HermesError(
            f"systemd did not start {unit}: {why}; see: journalctl --user -u {unit}", code="gateway_not_started"
        )


def stop(home: Home, environ: Mapping[str, str]) -> None:
    """Also one that systemd would start again in a moment. It does not matter whether it ran."""
    Systemd(environ).stop(gateway_program(home, environ))
