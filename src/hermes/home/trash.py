"""What was deleted and can be brought back: `trash/NAME-YYYYMMDD-HHMMSS` in the root home, removed after some days."""

from __future__ import annotations

import calendar
import logging
import re
import shutil
import time
from pathlib import Path

from hermes.home.files import make_private_directory

log = logging.getLogger(__name__)

DAY_SECONDS = 86_400.0
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}-(?P<at>\d{8}-\d{6})(-\d+)?")


def trash_of(root: Path) -> Path:
    return root / "trash"


def place_in_trash(root: Path, name: str, now: float) -> Path:
    """A place that is free: two deleted within one second have different ones. Makes the folder above it."""
    trash = trash_of(root)
    make_private_directory(trash)
    stem = f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}"
    number = 1
    while (place := trash / (stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    return place


def empty_trash(root: Path, *, now: float, days: float) -> list[str]:
    """Removes what has lain there for longer; the names of it. What was not put there by us stays. Blocks."""
    removed: list[str] = []
    trash = trash_of(root)
    if trash.is_symlink() or not trash.is_dir():
        return removed
    for place in sorted(trash.iterdir()):
        at = _deleted_at(place)
        if at is None or now - at < days * DAY_SECONDS:
            continue
        try:
            shutil.rmtree(place)
        except OSError as error:
            log.warning("%s cannot be removed from the trash: %s", place.name, error.strerror or error)
            continue
        removed.append(place.name)
    return removed


def _deleted_at(place: Path) -> float | None:
    match = _NAME.fullmatch(place.name)
    if match is None or place.is_symlink() or not place.is_dir():
        return None
    try:
        return float(calendar.timegm(time.strptime(match["at"], "%Y%m%d-%H%M%S")))
    except ValueError:
        return None
