"""What a disk refuses, in a sentence that names the place and the way out."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

LEAST_FREE_BYTES = 64 << 10
"""Below this SQLite cannot grow its log, and calls that an I/O error."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_NOT_OURS = (errno.EACCES, errno.EPERM)


def refusal(error: OSError, place: Path | None = None) -> str:
    """`place` is what was to be written where `error` names no file."""
    named = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else place
    if named is None:
        return f"{error}: free some disk space" if error.errno in _NO_ROOM else str(error)
    if error.errno in _NO_ROOM:
        return no_room(named)
    if error.errno == errno.EROFS:
        return read_only(named)
    if error.errno in _NOT_OURS:
        home = "HERMES_HOME (Link's: HERMESLINK_HOME)"
        return f"this user may not write {named}: give it to the user who runs hermes, or set {home} elsewhere"
    if error.errno == errno.EIO:
        return f"the disk failed under {named}: look at what the system's log says of it (dmesg)"
    return str(error) if error.filename is not None else f"{named}: {error.strerror or error}"


def no_room(place: Path, what: str | None = None) -> str:
    """`what` lies at `place`."""
    return f"no room left for {what or place}: free some disk space (its disk is mounted at {mount_point(place)})"


def read_only(place: Path, what: str | None = None) -> str:
    mounted = mount_point(place)
    return (
        f"{what or place} cannot be written, since its file system is read-only: if the disk is sound, make it "
        f"writable with: {remount(mounted)}; or set HERMES_HOME (Link's: HERMESLINK_HOME) to another place"
    )


def is_full(place: Path) -> bool:
    with suppress(OSError):
        return shutil.disk_usage(_existing(place)).free < LEAST_FREE_BYTES
    return False


def is_read_only(place: Path) -> bool:
    """Whether the file system is, whoever asks: root, too, is refused there. One that the kernel has just closed after
    an error does not say so itself, so a file without a name is tried."""
    directory = _existing(place)
    directory = directory if directory.is_dir() else directory.parent
    try:
        if hasattr(os, "statvfs") and os.statvfs(directory).f_flag & os.ST_RDONLY:
            return True
        with tempfile.TemporaryFile(dir=directory):
            return False
    except OSError as error:
        return error.errno == errno.EROFS


def mount_point(place: Path) -> Path:
    """The directory on which the disk of `place` is mounted."""
    found = _existing(place)
    while not found.is_mount() and found != found.parent:
        found = found.parent
    return found


def remount(mounted: Path) -> str:
    """The command, to be typed by root."""
    return f"mount -o remount,rw {shlex.quote(str(mounted))}"


def _existing(place: Path) -> Path:
    place = place.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return place
