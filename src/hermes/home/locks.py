"""Locks between processes. The kernel lets go of them when their holder dies, however it dies."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from hermes.core.errors import Conflict
from hermes.home.files import make_private_directory, naming, open_private


@dataclass(frozen=True, slots=True)
class GatewayProcess:
    """`url` is where it listens, None while it does not. `started_at` in unix seconds. `is_ready`: its start is over;
    a gateway that is ready and has no URL runs jobs only. `is_busy`: somebody wants the home (`home.wanted`), and
    something goes on in it."""

    pid: int
    started_at: float
    url: str | None = None
    is_ready: bool = False
    is_busy: bool = False

    @property
    def is_guest(self) -> bool:
        """The home is open in the gateway of the default profile, under /p/NAME, and has no process of its own."""
        return self.url is not None and "/p/" in self.url


class GatewayLock:
    """Held by the one gateway of a home; what it says of itself is for `running_gateway`."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def announce(self, process: GatewayProcess) -> None:
        text = (json.dumps(asdict(process)) + "\n").encode()
        os.lseek(self._handle, 0, os.SEEK_SET)
        os.write(self._handle, text)  # over what is there: a full disk has no room for what is cut first
        os.ftruncate(self._handle, len(text))

    def release(self) -> None:
        """May be called twice."""
        if self._handle < 0:
            return
        with suppress(OSError):  # the disk may have become read-only
            os.ftruncate(self._handle, 0)
        os.close(self._handle)
        self._handle = -1


def lock_gateway(pid_file: Path, *, now: float, name: str = "") -> GatewayLock:
    """Raises `Conflict` (`gateway_running`) when this home's gateway runs already. `name` is the profile's."""
    command = f"hermes -p {name}" if name else "hermes"
    make_private_directory(pid_file.parent)
    handle = open_private(pid_file, os.O_RDWR | os.O_CREAT)
    if not try_lock(handle, is_patient=True):
        os.close(handle)
        other = running_gateway(pid_file)
        who = f"the gateway of profile {name}" if name else "the gateway of this home"
        if other is None:
            raise Conflict(f"{who} already runs; it is just starting", code="gateway_running")
        where = f" at {other.url}" if other.url else ""
        raise Conflict(
            f"{who} already runs{where} (pid {other.pid}); use that one, stop it with: {command} gateway stop, or give "
            "this one a home of its own (HERMES_HOME, or hermes -p NAME)",
            code="gateway_running",
        )
    lock = GatewayLock(handle)
    try:
        with naming(pid_file):
            lock.announce(GatewayProcess(os.getpid(), now))
    except OSError:
        os.close(handle)
        raise
    return lock


class NodeLock:
    """Held by a process for as long as it conducts runs: whoever finds it free knows that the process is gone."""

    def __init__(self, path: Path) -> None:
        """Raises Conflict when another holds it, OSError where no file can be made."""
        make_private_directory(path.parent)
        self._path = path
        self._handle = open_private(path, os.O_RDWR | os.O_CREAT)
        if not try_lock(self._handle, is_patient=True):
            os.close(self._handle)
            raise Conflict(f"another process holds {path}")

    def release(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._handle)


def take_lock(path: Path) -> int | None:
    """A handle that holds the lock until it is closed, and everywhere it is inherited; None where another holds it. The
    file stays."""
    handle = open_private(path, os.O_RDWR | os.O_CREAT)
    if try_lock(handle, is_patient=True):
        return handle
    os.close(handle)
    return None


def is_locked(path: Path) -> bool:
    """Whether somebody holds it now. Leaves the file as it is."""
    try:
        handle = _open_there(path)
    except OSError:
        return False
    try:
        return not _try_lock(handle)
    finally:
        os.close(handle)


def sweep_locks(directory: Path, pattern: str, *, older_than_seconds: float) -> None:
    """Removes the files of processes that were killed. A young one may be somebody's who is about to lock it."""
    for path in directory.glob(pattern):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > older_than_seconds:
                is_held(path)


def is_held(path: Path) -> bool:
    """Whether the process that made it lives. The file of one that does not is removed. Who cannot look (too many open
    files, another user's, a disk that became read-only) takes it for alive."""
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        if not _try_lock(handle):
            return True
        path.unlink(missing_ok=True)
        return False
    finally:
        os.close(handle)


def running_gateway(pid_file: Path) -> GatewayProcess | None:
    """The process that holds the lock now. A pid that a killed gateway left behind does not count."""
    try:
        handle = _open_there(pid_file)
    except OSError:
        return None
    try:
        if _try_lock(handle):
            return None
        return _said(handle)
    finally:
        os.close(handle)


def last_gateway(pid_file: Path) -> GatewayProcess | None:
    """What the last process that held the lock said of itself, whether it lives or was killed. Touches no lock."""
    try:
        handle = os.open(pid_file, os.O_RDONLY)
    except OSError:
        return None
    try:
        return _said(handle)
    finally:
        os.close(handle)


def _said(handle: int) -> GatewayProcess | None:
    """None when it holds the lock and has not written yet."""
    os.lseek(handle, 0, os.SEEK_SET)
    try:
        data = json.loads(os.read(handle, 4096))
        ready, busy = data.get("is_ready", False), data.get("is_busy", False)
        return GatewayProcess(data["pid"], data["started_at"], data["url"], is_ready=ready, is_busy=busy)
    except (ValueError, KeyError, TypeError):
        return None


def try_lock(handle: int, *, is_patient: bool = False) -> bool:
    """`is_patient`: others who hold it only for the moment in which they look are waited for."""
    return _try_lock(handle) or (is_patient and _try_again(handle))


def _try_again(handle: int) -> bool:
    """`running_gateway` holds the lock for a moment, too, when it looks: somebody who only asks stops no start."""
    for _ in range(10):
        time.sleep(0.01)
        if _try_lock(handle):
            return True
    return False


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Waits its turn. The file stays: removing it would let two in."""
    try:
        make_private_directory(path.parent)
        handle = open_private(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        if not path.exists():  # nor can anybody else make it: a gateway whose disk became read-only can be stopped
            yield
            return
        handle = _open_there(path)
    try:
        _lock(handle)
        yield
    finally:
        os.close(handle)


@contextmanager
def bounded_lock(path: Path, seconds: float) -> Iterator[None]:
    """As `file_lock`, but gives up. Raises Conflict `busy`."""
    make_private_directory(path.parent)
    handle = open_private(path, os.O_RDWR | os.O_CREAT)
    try:
        deadline = time.monotonic() + seconds
        while not _try_lock(handle):
            if time.monotonic() >= deadline:
                raise Conflict(f"another command holds {path.name}; try again", code="busy")
            time.sleep(0.02)
        yield
    finally:
        os.close(handle)


def _open_there(path: Path) -> int:
    """For a lock alone, where it cannot be written to, too."""
    try:
        return os.open(path, os.O_RDWR)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES):
            raise
        return os.open(path, os.O_RDONLY)


def edit_lock(file: Path) -> AbstractContextManager[None]:
    """Held while .env or config.yaml of a home is read, changed and written."""
    return file_lock(file.parent / "run" / "files.lock")


if sys.platform == "win32":
    import msvcrt

    # Windows locks bytes, and a locked byte cannot be read: lock one far behind the text.
    _FAR = 1 << 30

    def _lock(handle: int) -> None:
        while True:
            os.lseek(handle, _FAR, os.SEEK_SET)
            with suppress(OSError):  # raised after ten tries, a second apart
                msvcrt.locking(handle, msvcrt.LK_LOCK, 1)
                return

    def _try_lock(handle: int) -> bool:
        os.lseek(handle, _FAR, os.SEEK_SET)
        with suppress(OSError):
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            return True
        return False

else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX)

    def _try_lock(handle: int) -> bool:
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False
