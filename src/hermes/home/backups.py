"""What config.yaml, memory and skills said before: `backups/` of a home has the last few texts of each file, in its
place and under its name with the time behind it. Secrets are masked in them, and .env is never there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hermes.core.errors import ConfigError
from hermes.core.redact import Redactor
from hermes.home.files import make_private_directory, write_private
from hermes.home.masking import masked_config
from hermes.home.paths import Home
from hermes.home.settings import load_settings, secret_values

KEPT = 5
"""Texts of one file."""

_STAMP = "%Y%m%dT%H%M%S.%fZ"
_STAMPED = re.compile(r"\.\d{8}T\d{6}\.\d{6}Z")


def write_with_backup(home: Path, file: Path, text: str) -> None:
    """Another text for a file of the home; what it said until now is kept. Hold the `edit_lock`."""
    keep_backup(home, file)
    write_private(file, text)


def keep_backup(home: Path, file: Path) -> None:
    """Before `file` is changed: what it says, unless that is kept already. What is no text is not kept.

    Raises OSError where it cannot be kept: then nothing is to be changed, either.
    """
    text = _text(file)
    if not text:
        return
    text = _masked(home, file, text)
    if not text:
        return
    kept = backups_of(home, file)
    if kept and _text(kept[-1]) == text:
        return
    place = _place(home, file)
    make_private_directory(place.parent)
    stamp = datetime.now(UTC)
    while (backup := place.with_name(place.name + stamp.strftime(f".{_STAMP}"))).exists():
        stamp += timedelta(microseconds=1)
    write_private(backup, text)
    for old in kept[: 1 - KEPT]:
        old.unlink(missing_ok=True)


def backups_of(home: Path, file: Path) -> list[Path]:
    """Oldest first."""
    return sorted(_stamped(_place(home, file)))


def forget_backups(home: Path, file: Path) -> None:
    """For who wants it forgotten. Hold the `edit_lock`."""
    for backup in backups_of(home, file):
        backup.unlink(missing_ok=True)


def _stamped(place: Path) -> Iterator[Path]:
    if place.parent.is_dir():
        for path in place.parent.iterdir():
            if path.name.startswith(place.name) and _STAMPED.fullmatch(path.name[len(place.name) :]):
                yield path


def _place(home: Path, file: Path) -> Path:
    """`backups/` and the file's own path in the home; of one that a link leads to elsewhere, its last two names."""
    inside = file.relative_to(home) if file.is_relative_to(home) else Path(*file.parts[-2:])
    return Home(home).backups_dir / inside


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return ""


def _masked(home: Path, file: Path, text: str) -> str:
    here = Home(home)
    settings = load_settings(here, {}, is_lenient=True)
    hide = Redactor(secret_values(settings, settings.environ))
    if file == here.config_file:
        try:
            text = masked_config(file, text)
        except ConfigError:
            return ""  # not one of ours any more: nothing says where its secrets are
    return hide(text)
