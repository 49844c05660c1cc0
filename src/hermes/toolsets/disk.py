"""Files opened and replaced relative to a directory handle, never through a link that appeared in between."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from hermes.core.errors import ToolFailed
from hermes.toolsets.paths import Reach

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_DIRECTORY = getattr(os, "O_DIRECTORY", 0)
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # a FIFO must not hold us up
_HAS_HANDLES = os.open in os.supports_dir_fd


@contextlib.contextmanager
def opened(path: Path, reach: Reach) -> Iterator[int]:
    """A descriptor of a regular file, for reading. Raises ToolFailed with the reason for anything else."""
    reach.check(path)
    with _failures(path), _parent(path, reach) as (parent, name):
        descriptor = os.open(name, os.O_RDONLY | _NOFOLLOW | _CLOEXEC | _NONBLOCK, dir_fd=parent)
    try:
        _check_kind(os.fstat(descriptor), path)
        yield descriptor
    finally:
        os.close(descriptor)


def read_bytes(path: Path, reach: Reach, most: int) -> bytes:
    """A whole file. Raises ToolFailed when it is larger than `most` bytes."""
    with opened(path, reach) as descriptor:
        size = os.fstat(descriptor).st_size
        if size > most:
            raise ToolFailed(f"{path} has {size:,} bytes; at most {most:,} can be edited. Use the terminal for it.")
        chunks = []
        while chunk := os.read(descriptor, 1 << 20):
            chunks.append(chunk)
        return b"".join(chunks)


def write_bytes(path: Path, data: bytes, reach: Reach) -> bool:
    """Put `data` in the file's place at once, its mode kept; True when the file is new. Makes missing directories."""
    reach.check(path)
    with _failures(path), _parent(path, reach, makes=True) as (parent, name):
        mode = None
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            _check_kind(found, path)
            mode = stat.S_IMODE(found.st_mode)
        temporary = f".{name[:100]}.{secrets.token_hex(6)}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _CLOEXEC
        descriptor = os.open(temporary, flags, 0o666, dir_fd=parent)
        try:
            try:
                if mode is not None:
                    os.fchmod(descriptor, mode)
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=parent)
            raise
        return mode is None


def delete(path: Path, reach: Reach) -> None:
    reach.check(path)
    with _failures(path), _parent(path, reach) as (parent, name):
        _check_kind(os.stat(name, dir_fd=parent, follow_symlinks=False), path)
        os.unlink(name, dir_fd=parent)


def exists(path: Path) -> bool:
    return os.path.lexists(path)


@contextlib.contextmanager
def _parent(path: Path, reach: Reach, *, makes: bool = False) -> Iterator[tuple[int | None, str]]:
    """A handle on the directory of a resolved path, reached without following a link."""
    if not path.name:
        raise ToolFailed(f"{path} is a directory.")
    if not _HAS_HANDLES:  # Windows: no handles, so the resolved path itself
        if makes:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield None, str(path)
        return
    root = reach.root_of(path)
    handle = os.open(root, os.O_RDONLY | _DIRECTORY | _CLOEXEC)
    try:
        for part in path.relative_to(root).parts[:-1]:
            flags = os.O_RDONLY | _DIRECTORY | _NOFOLLOW | _CLOEXEC
            try:
                deeper = os.open(part, flags, dir_fd=handle)
            except FileNotFoundError:
                if not makes:
                    raise
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o777, dir_fd=handle)
                deeper = os.open(part, flags, dir_fd=handle)
            os.close(handle)
            handle = deeper
        yield handle, path.name
    finally:
        os.close(handle)


@contextlib.contextmanager
def _failures(path: Path) -> Iterator[None]:
    """What the system says, in words that help the model on."""
    try:
        yield
    except FileNotFoundError as error:
        raise ToolFailed(f"{path} does not exist.{_near(path)}") from error
    except IsADirectoryError as error:
        raise ToolFailed(f"{path} is a directory.") from error
    except NotADirectoryError as error:
        raise ToolFailed(f"{path}: a part of this path is a file, not a directory.") from error
    except PermissionError as error:
        raise ToolFailed(f"{path}: permission denied.") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ToolFailed(f"{path} became a symbolic link while it was opened; it was not followed.") from error
        raise ToolFailed(f"{path}: {error.strerror or error}.") from error


def _check_kind(found: os.stat_result, path: Path) -> None:
    kinds = {
        stat.S_IFDIR: "a directory; list it with search_files(target='files') or ls in the terminal",
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    kind = kinds.get(stat.S_IFMT(found.st_mode))
    if kind is not None:
        raise ToolFailed(f"{path} is {kind}.")


def _near(path: Path) -> str:
    """Files that may have been meant: of nearly this name beside it, else the deepest directory that exists."""
    parent = path.parent
    try:
        names = sorted(child.name for child in parent.iterdir())[:5000]
    except OSError:
        while not parent.is_dir() and parent != parent.parent:
            parent = parent.parent
        return f" The directory {path.parent} does not exist either; {parent} does."
    lower = {name.lower(): name for name in names}
    found = [lower[name] for name in get_close_matches(path.name.lower(), list(lower), n=3, cutoff=0.6)]
    return f" Did you mean {', '.join(str(parent / name) for name in found)}?" if found else ""
