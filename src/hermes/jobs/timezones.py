"""Time zones by their IANA names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

from hermes.core.errors import InvalidInput

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,31}(?:/[A-Za-z0-9_+-]{1,32}){0,3}")
_ZONE_FILES = ("zoneinfo/", "zoneinfo.default/")


def zone(name: str) -> ZoneInfo:
    """Raises InvalidInput `invalid_timezone`."""
    if _NAME.fullmatch(name):
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):  # unknown, not a zone's file, a directory such as Europe
            pass
    raise InvalidInput(
        f"there is no time zone {name[:80]!r}; take a name of the IANA list, such as Europe/Berlin or UTC",
        code="invalid_timezone",
        param="timezone",
    )


def machine_timezone(environ: Mapping[str, str] | None = None, etc: Path = Path("/etc")) -> str:
    """This machine's zone, UTC where it does not say."""
    candidates = [(os.environ if environ is None else environ).get("TZ", "").removeprefix(":")]
    try:
        link = os.path.realpath(etc / "localtime")
        candidates += [link.partition(part)[2] for part in _ZONE_FILES]
        candidates.append((etc / "timezone").read_text("utf-8").strip())
    except (OSError, UnicodeDecodeError):
        pass
    for name in candidates:
        try:
            return zone(name).key
        except InvalidInput:
            continue
    return "UTC"
