"""Files that only their owner can read, whatever the umask says, and that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hermes.core.errors import ConfigUnreadable

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700
LEFT_BEHIND_SECONDS = 3600.0
"""No write takes that long: a temporary file that is older belongs to nobody."""
PROFILES = "profiles"
"""The folder in a home that holds other homes."""


def make_private_directory(path: Path) -> None:
    """Makes `path` and what is missing above it; one that exists is left as it is.

    The folder of a profile is made where it is meant, and not for something in it: that profile was renamed or deleted
    a moment ago. Raises FileNotFoundError then.
    """
    for directory in [*reversed(path.parents), path]:
        if directory.is_dir():
            continue
        if directory != path and directory.parent.name == PROFILES:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(directory))
        try:
            directory.mkdir(mode=DIRECTORY_MODE)
        except FileExistsError:
            if not directory.is_dir():
                raise
            continue  # somebody else made it just now
        directory.chmod(DIRECTORY_MODE)


def settings_text(path: Path) -> str:
    """As it stands, line ends too; empty where there is none. Raises `ConfigUnreadable`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigUnreadable(f"{path} cannot be read: {exc}", path.name) from exc


def write_private(path: Path, text: str) -> None:
    """Replaces the file in one step, so that no reader ever sees half of it. A symbolic link stays a link.

    What a write of the same file left behind when its process was killed is removed: it may hold a key.
    """
    target = path.resolve()
    with naming(path):
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                if hasattr(os, "fchmod"):
                    os.fchmod(file.fileno(), FILE_MODE)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        sync_directory(target.parent)
        _sweep(target)


def _sweep(target: Path) -> None:
    """Fails silently: what was to be written is."""
    now = time.time()
    with suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            if entry.name.startswith(f".{target.name}.") and entry.name.endswith(".tmp"):
                with suppress(OSError):  # another process sweeps, too
                    if now - entry.stat(follow_symlinks=False).st_mtime > LEFT_BEHIND_SECONDS:
                        Path(entry.path).unlink()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError from inside says which file it was about: a full disk names none, a temporary name helps nobody."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def open_private(path: str | Path, flags: int) -> int:
    """An `opener` for `open()`: the file it makes is readable by its owner alone."""
    handle = os.open(path, flags | getattr(os, "O_CLOEXEC", 0), FILE_MODE)
    if hasattr(os, "fchmod") and stat.S_IMODE(os.fstat(handle).st_mode) & 0o077 and flags & os.O_CREAT:
        os.fchmod(handle, FILE_MODE)
    return handle


def give_name(part: Path, target: Path) -> None:
    """`part`, whole and on the disk, becomes `target`, and never takes the place of another file. Raises
    FileExistsError."""
    try:
        os.link(part, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(open_private(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        part.replace(target)
    else:
        part.unlink()
    sync_directory(target.parent)


def link_or_copy(file: Path, other: Path) -> None:
    """`file` under a second name, on the disk. Raises FileExistsError."""
    try:
        os.link(file, other)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with file.open("rb") as source, open(other, "xb", opener=open_private) as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())


_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
"""What a USB stick (FAT) or a network file system says to a second name for a file."""


def ends_within_a_line(file: Path) -> bool:
    """A full disk, a kill or a power cut took the rest of it."""
    with suppress(OSError), file.open("rb") as opened:
        opened.seek(-1, os.SEEK_END)
        return opened.read(1) != b"\n"
    return False


def too_open(paths: Iterable[Path]) -> list[str]:
    """One sentence for each that others on this machine can read or change. Nothing on Windows, which has ACLs."""
    if os.name == "nt":
        return []
    found = []
    for path in paths:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue
        if mode & 0o077:
            right = "700" if path.is_dir() else "600"
            found.append(f"{path} can be read by others (mode {mode:03o}); close it with: chmod {right} {path}")
    return found


def sync_directory(path: Path) -> None:
    """The rename itself survives a power cut only when the directory is on disk too."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
