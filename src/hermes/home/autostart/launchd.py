"""As a launch agent of macOS: it starts when its user logs in, and again when it crashed (launchd.plist(5))."""

from __future__ import annotations

import plistlib
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from hermes.home.autostart.entry import Method, Program

THROTTLE_SECONDS = 10
OPEN_FILES = 8192
"""A launch agent may open 256 files unless it says otherwise; every open stream is one."""


class Launchd(Method):
    kind = "launchd"

    def file(self, program: Program) -> Path:
        return self.user_home() / "Library" / "LaunchAgents" / f"{program.label}.plist"

    def text(self, program: Program) -> str:
        agent = {
            "Label": program.label,
            "ProgramArguments": list(program.foreground),
            "EnvironmentVariables": {**program.homes, **({"PATH": program.path} if program.path else {})},
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},  # after a crash; not after `stop`
            "ThrottleInterval": THROTTLE_SECONDS,
            "ExitTimeOut": program.stop_seconds,
            "SoftResourceLimits": {"NumberOfFiles": OPEN_FILES},
            "StandardOutPath": str(program.log),
            "StandardErrorPath": str(program.log),
            "WorkingDirectory": str(self.user_home()),
        }
        return plistlib.dumps(agent, sort_keys=False).decode()

    def belongs(self, text: str, program: Program) -> bool:
        agent = _parsed(text)
        told = agent.get("EnvironmentVariables")
        return isinstance(told, dict) and program.homes.items() <= told.items()


def _parsed(text: str) -> dict[str, Any]:
    try:
        agent = plistlib.loads(text.encode())
    except (plistlib.InvalidFileException, ExpatError, ValueError):
        return {}
    return agent if isinstance(agent, dict) else {}
