"""The model file: found in the installed wheels, put together once, checked.

The parts' packages are other people's; only their data files are read, their code never runs (`find_spec` of a
top-level package imports nothing). Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from hermes.core.errors import NoModel
from hermes.models.embedded.builtin import Builtin

Progress = Callable[[str, int, int], None]
"""Told often: what is being done, how far (bytes or tokens), and of how many. What it raises ends the work."""

ENGINE = "xllamacpp"
CHUNK_BYTES = 1 << 20
SLACK_BYTES = 64 << 20
CONNECT = "or connect another one with `hermes model`"


class PartsMissing(NoModel):
    code = "embedded_model_missing"


class PartsWrong(NoModel):
    code = "embedded_model_wrong"


class NoRoom(NoModel):
    code = "embedded_model_no_room"


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where assembled models are kept, the same for every profile: `$XDG_CACHE_HOME/hermes/models`."""
    if named := environment.get("XDG_CACHE_HOME"):
        return Path(named) / "hermes" / "models"
    if sys.platform == "win32" and (local := environment.get("LOCALAPPDATA")):
        return Path(local) / "hermes" / "models"
    home = environment.get("HOME")
    return (Path(home) if home else Path.home()) / ".cache" / "hermes" / "models"


def is_available(builtin: Builtin, folder: Path | None = None) -> bool:
    """Whether it can be started, by looking at names and sizes alone: some milliseconds."""
    return missing(builtin, folder) is None


def missing(builtin: Builtin, folder: Path | None = None) -> NoModel | None:
    """What stands in the way of starting it, as an error that says the command which mends it; None if nothing."""
    if find_spec(ENGINE) is None:
        return PartsMissing(f"the built-in model needs {ENGINE}, which is not installed: {builtin.install}, {CONNECT}")
    if _is_trusted(builtin, (folder or cache_folder()) / builtin.file):
        return None
    try:
        find_parts(builtin)
    except NoModel as error:
        return error
    return None


def find_parts(builtin: Builtin) -> list[Path]:
    """The parts' files in order. Raises PartsMissing or PartsWrong."""
    found = {number: _part(builtin, number) for number in range(1, builtin.parts + 1)}
    absent = [number for number, path in found.items() if path is None]
    if absent:
        raise PartsMissing(
            f"the built-in model {builtin.title} is not installed ({len(absent)} of its {builtin.parts} parts are "
            f"missing): {builtin.install}, {CONNECT}"
        )
    paths = [path for path in found.values() if path is not None]
    for number, path in enumerate(paths, start=1):
        if path.stat().st_size != builtin.part_size(number):
            raise PartsWrong(
                f"{path} has {path.stat().st_size:,} bytes instead of {builtin.part_size(number):,}: "
                f"{builtin.install} --force-reinstall, {CONNECT}"
            )
    return paths


def assemble(builtin: Builtin, folder: Path | None = None, progress: Progress | None = None) -> Path:
    """The whole, checked file: put together on the first call, trusted by its stamp on later ones.

    Of two processes that call it at once, one works and the other waits. Raises PartsMissing, PartsWrong, NoRoom.
    """
    folder = folder or cache_folder()
    whole = folder / builtin.file
    if _is_trusted(builtin, whole):
        return whole
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _lock(folder / f"{builtin.file}.lock", progress):
            if _is_trusted(builtin, whole):  # the other process has just made it
                return whole
            if not _is_whole(builtin, whole, progress):
                _put_together(builtin, whole, progress)
            _trust(builtin, whole)
    except OSError as error:
        raise NoRoom(
            f"the built-in model cannot be put together in {folder}: {error.strerror or error}. "
            "Name another folder with XDG_CACHE_HOME, " + CONNECT
        ) from error
    return whole


def is_intact(builtin: Builtin, folder: Path | None = None, progress: Progress | None = None) -> bool:
    """Read the assembled file again and compare: for `hermes doctor`, and after a server that would not load it.

    A file that is not as it was loses its stamp, so that the next `assemble` mends it.
    """
    whole = (folder or cache_folder()) / builtin.file
    if _is_whole(builtin, whole, progress):
        return True
    _stamp(whole).unlink(missing_ok=True)
    return False


def _part(builtin: Builtin, number: int) -> Path | None:
    spec = find_spec(f"{builtin.package}{number}")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(next(iter(spec.submodule_search_locations))) / "data" / f"part{number:02}.bin"
    return path if path.is_file() else None


def _put_together(builtin: Builtin, whole: Path, progress: Progress | None) -> None:
    parts = find_parts(builtin)
    for left_over in whole.parent.glob(f"{whole.name}.part-*"):
        left_over.unlink(missing_ok=True)
    free = shutil.disk_usage(whole.parent).free
    if free < builtin.size_bytes + SLACK_BYTES:
        raise NoRoom(
            f"the built-in model needs {builtin.size_bytes / 1e9:.1f} GB in {whole.parent}, where {free / 1e9:.1f} GB "
            f"are free: make room, name another folder with XDG_CACHE_HOME, {CONNECT}"
        )
    partial = whole.with_name(f"{whole.name}.part-{os.getpid()}")
    try:
        digest = hashlib.sha256()
        done = 0
        with partial.open("wb") as file:
            for path in parts:
                for chunk in _chunks(path):
                    digest.update(chunk)
                    file.write(chunk)
                    done += len(chunk)
                    if progress:
                        progress("Putting the built-in model together", done, builtin.size_bytes)
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != builtin.sha256:
            raise PartsWrong(
                f"the parts of the built-in model {builtin.title} are not the published ones (SHA-256 "
                f"{digest.hexdigest()}): {builtin.install} --force-reinstall, {CONNECT}"
            )
        partial.replace(whole)
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(whole.parent)


def _is_whole(builtin: Builtin, whole: Path, progress: Progress | None) -> bool:
    if not whole.is_file() or whole.stat().st_size != builtin.size_bytes:
        return False
    digest = hashlib.sha256()
    done = 0
    for chunk in _chunks(whole):
        digest.update(chunk)
        done += len(chunk)
        if progress:
            progress("Checking the built-in model", done, builtin.size_bytes)
    return digest.hexdigest() == builtin.sha256


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _stamp(whole: Path) -> Path:
    return whole.with_name(f"{whole.name}.checked")


def _trust(builtin: Builtin, whole: Path) -> None:
    """Note that the file as it is now was read and had the right hash: reading 1.1 GB again costs seconds."""
    partial = whole.with_name(f"{whole.name}.checked-{os.getpid()}")
    partial.write_text(json.dumps({"sha256": builtin.sha256, **_identity(whole)}), "utf-8")
    partial.replace(_stamp(whole))


def _is_trusted(builtin: Builtin, whole: Path) -> bool:
    try:
        noted = json.loads(_stamp(whole).read_text("utf-8"))
        return bool(noted == {"sha256": builtin.sha256, **_identity(whole)})
    except (OSError, ValueError):
        return False


def _identity(whole: Path) -> dict[str, int]:
    status = whole.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _lock(path: Path, progress: Progress | None) -> Iterator[None]:
    """Hold the file's lock, which the system releases when its holder dies. Polled, so that `progress` can end it."""
    with path.open("a+b") as file:
        while not _try_lock(file.fileno()):
            if progress:
                progress("Waiting for another process that puts the built-in model together", 0, 0)
            time.sleep(0.2)
        yield


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
