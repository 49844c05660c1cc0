"""The gateway of a home as a program that starts with the machine."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from hermes.home.autostart.entry import Program
from hermes.home.paths import Home
from hermes.home.settings import load_settings

STOP_MARGIN_SECONDS = 10


def gateway_program(home: Home, environ: Mapping[str, str]) -> Program:
    """Blocks on the disk: its stop takes as long as the settings let open runs go on."""
    api = load_settings(home, environ, is_lenient=True).api_server
    profile = ("-p", home.name) if home.is_profile else ()
    command = (sys.executable, "-P", "-m", "hermes", *profile, "gateway")
    return Program(
        name=f"hermes-gateway-{home.name}",
        label=f"com.hermes.gateway.{home.name}" if home.is_profile else "com.hermes.gateway",
        description="Hermes gateway" + (f" of profile {home.name}" if home.is_profile else ""),
        by_hand=f"{home.command} gateway start",
        written_by=f"{home.command} gateway install",
        foreground=(*command, "run"),
        background=(*command, "start"),
        homes={"HERMES_HOME": str(home.root)},
        path=environ.get("PATH", ""),
        log=home.logs_dir / "gateway.out",
        stop_seconds=int(api.drain_delay + api.drain_timeout) + STOP_MARGIN_SECONDS,
    )
