"""What Link and the agent's gateway logged, as an admin reads it: the last lines, without what is secret."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hermes.core.errors import ConfigError
from hermes.core.redact import Redactor, is_secret_name
from hermes.home.env import read_env
from hermes.home.log_files import LogFile
from hermes.home.paths import Home
from hermes.home.profiles import list_profiles
from hermes.home.settings import load_settings, secret_values

MAX_LINE_BYTES = 16 << 10
"""A longer line is shown cut."""


def secrets_of(root: Path, environ: Mapping[str, str]) -> set[str]:
    """The values that no log may show: those of the agent's profiles, whose keys Link sends, and of the environment."""
    found = {value for name, value in environ.items() if is_secret_name(name)}
    for home in list_profiles(root):
        found |= secrets_in(home)
    return found


def secrets_in(home: Home) -> set[str]:
    """Of one profile: what its .env says, and what somebody wrote into its config.yaml. Blocks on the disk."""
    told: dict[str, str] = {}
    with suppress(ConfigError, OSError):
        told = read_env(home.env_file)
    found = {value for name, value in told.items() if is_secret_name(name)}
    with suppress(ConfigError, OSError):
        found.update(secret_values(load_settings(home, {}, is_lenient=True), told))
    return found


def gateway_log(home: Home) -> Path:
    """Of a profile's own gateway. One that is served under /p/NAME is told of in the log of the default profile."""
    return home.logs_dir / "gateway.log"


def last_lines(file: Path, count: int, redactor: Redactor) -> list[dict[str, Any]]:
    """At most `count`, oldest first: `time`, `level`, `message` and what else was told; no stack. [] without a file.
    Blocks on the disk."""
    found: list[dict[str, Any]] = []
    with suppress(OSError):
        for raw in LogFile(file).newest_first():
            found.append(_record(raw, redactor))
            if len(found) == count:
                break
    return found[::-1]


def _record(raw: bytes, redactor: Redactor) -> dict[str, Any]:
    """A line that is no JSON, cut by a full disk or written by another program, is a message."""
    told: object = None
    if len(raw) <= MAX_LINE_BYTES:
        with suppress(ValueError):
            told = json.loads(raw)
    if not isinstance(told, dict):
        told = {"message": raw[:MAX_LINE_BYTES].decode("utf-8", "replace")}
    named = {name: None if told.get(name) is None else str(told[name]) for name in ("time", "level")}
    more = {key: value for key, value in told.items() if key not in _OWN}
    record: dict[str, Any] = redactor.value({**named, "message": str(told.get("message", "")), **more})
    return record


_OWN = ("time", "level", "message", "exception", "color_message")
