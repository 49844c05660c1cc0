"""What SQLite writes and when it waits for the disk, noted beneath it, so that a power cut can be played at any moment.

`record(journal)` puts itself under every database that this process opens from then on: a VFS of SQLite's own
interface, with the functions of the one that was there, but for write, truncate, sync, open and delete, which are noted
after they are done. `Journal` reads that, and `Journal.cut` gives the files as a power cut may leave them:

- What was written before the last sync of its file that had come to its end is there.
- Of what was written since, each sector of 512 bytes is there as it was then, or as any later write left it, whatever
  became of its neighbours, earlier or later: a disk and a file system may write in any order, and tear any write.
- The file is as long as what is there of it, or longer, with zeros.
- `-shm` is not there: it is the memory of the processes that are gone.

Not modelled: a disk that says it has synced and has not, one that damages what it was not writing, and the loss of the
directory's entries.
"""

from __future__ import annotations

import bisect
import ctypes
import os
import random
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

SECTOR = 512

_INT, _POINTER = ctypes.c_int, ctypes.c_void_p
_OPEN = ctypes.CFUNCTYPE(_INT, _POINTER, ctypes.c_char_p, _POINTER, _INT, _POINTER)
_DELETE = ctypes.CFUNCTYPE(_INT, _POINTER, ctypes.c_char_p, _INT)
_WRITE = ctypes.CFUNCTYPE(_INT, _POINTER, _POINTER, _INT, ctypes.c_int64)
_TRUNCATE = ctypes.CFUNCTYPE(_INT, _POINTER, ctypes.c_int64)
_SYNC = ctypes.CFUNCTYPE(_INT, _POINTER, _INT)


class _Vfs(ctypes.Structure):
    """struct sqlite3_vfs, version 3."""

    _fields_ = (
        ("version", _INT),
        ("os_file_size", _INT),
        ("longest_path", _INT),
        ("next", _POINTER),
        ("name", ctypes.c_char_p),
        ("data", _POINTER),
        ("open", _POINTER),
        ("delete", _POINTER),
        ("others", _POINTER * 14),
    )


class _Methods(ctypes.Structure):
    """struct sqlite3_io_methods, version 3."""

    _fields_ = (
        ("version", _INT),
        ("close", _POINTER),
        ("read", _POINTER),
        ("write", _POINTER),
        ("truncate", _POINTER),
        ("sync", _POINTER),
        ("others", _POINTER * 13),
    )


class Kind(IntEnum):
    WRITE = 1
    TRUNCATE = 2
    SYNC_BEGAN = 3
    SYNC_ENDED = 4
    OPEN = 5
    DELETE = 6


_HEAD = struct.Struct("<BdHqI")
"""Kind, unix time, length of the file's name, place, length of the data."""


def can_record() -> bool:
    """Whether Python's SQLite is a library that others of the process can reach, too."""
    return _library() is not None


def record(journal: Path) -> None:
    """From now on. Raises RuntimeError where `can_record` is False."""
    library = _library()
    if library is None:
        raise RuntimeError("Python's SQLite is built into it, where nothing can be put beneath it")
    _recorders.append(_Recorder(library, journal))


_recorders: list[_Recorder] = []
"""What SQLite holds pointers to must not be collected."""


def _library() -> ctypes.CDLL | None:
    import sqlite3

    for name in ("libsqlite3.so.0", "libsqlite3.so"):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        library.sqlite3_libversion.restype = ctypes.c_char_p
        with open("/proc/self/maps") as maps:  # noqa: PTH123 it is no file
            loaded = {os.path.realpath(line.split()[-1]) for line in maps if "libsqlite3" in line}
        is_the_one = len(loaded) == 1 and library.sqlite3_libversion().decode() == sqlite3.sqlite_version
        return library if is_the_one and _is_used_by_python(loaded.pop()) else None
    return None


def _is_used_by_python(path: str) -> bool:
    """The module brings the library with it, or it was loaded by us just now."""
    import _sqlite3

    built_in = getattr(_sqlite3, "__file__", None)
    return built_in is not None and Path(path).name.encode().split(b".so")[0] in Path(built_in).read_bytes()


class _Recorder:
    def __init__(self, library: ctypes.CDLL, journal: Path) -> None:
        self._file = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._names: dict[int, str] = {}
        self._methods: dict[int, tuple[_Methods, list[Any]]] = {}
        library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
        library.sqlite3_vfs_find.argtypes = (ctypes.c_char_p,)
        self._below = library.sqlite3_vfs_find(None).contents
        self._vfs = _Vfs.from_buffer_copy(self._below)
        self._vfs.name = b"recorded"
        self._callbacks = (_OPEN(self._open), _DELETE(self._delete))
        self._vfs.open, self._vfs.delete = (ctypes.cast(one, _POINTER).value for one in self._callbacks)
        self._open_below, self._delete_below = _OPEN(self._below.open), _DELETE(self._below.delete)
        library.sqlite3_vfs_register.argtypes = (_POINTER, _INT)
        if library.sqlite3_vfs_register(ctypes.addressof(self._vfs), 1):
            raise RuntimeError("SQLite takes no further VFS")

    def _open(self, vfs: int, name: bytes | None, file: int, flags: int, out: int) -> int:
        code: int = self._open_below(vfs, name, file, flags, out)
        if code == 0 and name is not None:
            place = ctypes.cast(file, ctypes.POINTER(_POINTER))
            methods = place.contents.value
            if methods:
                self._names[file] = Path(os.fsdecode(name)).name
                place.contents.value = ctypes.addressof(self._over(methods))
                self._note(Kind.OPEN, file)
        return code

    def _delete(self, vfs: int, name: bytes, sync: int) -> int:
        code: int = self._delete_below(vfs, name, sync)
        if code == 0:
            self._keep(Kind.DELETE, Path(os.fsdecode(name)).name, 0, b"")
        return code

    def _over(self, methods: int) -> _Methods:
        if methods in self._methods:
            return self._methods[methods][0]
        below = _Methods.from_address(methods)
        made = _Methods.from_buffer_copy(below)
        write, truncate, sync = _WRITE(below.write), _TRUNCATE(below.truncate), _SYNC(below.sync)

        def written(file: int, data: int, length: int, place: int) -> int:
            code: int = write(file, data, length, place)
            if code == 0:
                self._note(Kind.WRITE, file, place, ctypes.string_at(data, length))
            return code

        def truncated(file: int, size: int) -> int:
            code: int = truncate(file, size)
            if code == 0:
                self._note(Kind.TRUNCATE, file, size)
            return code

        def synced(file: int, flags: int) -> int:
            self._note(Kind.SYNC_BEGAN, file)
            code: int = sync(file, flags)
            if code == 0:
                self._note(Kind.SYNC_ENDED, file)
            return code

        callbacks = [_WRITE(written), _TRUNCATE(truncated), _SYNC(synced)]
        made.write, made.truncate, made.sync = (ctypes.cast(one, _POINTER).value for one in callbacks)
        self._methods[methods] = (made, callbacks)
        return made

    def _note(self, kind: Kind, file: int, place: int = 0, data: bytes = b"") -> None:
        self._keep(kind, self._names.get(file, ""), place, data)

    def _keep(self, kind: Kind, name: str, place: int, data: bytes) -> None:
        """One write a note: what is noted outlives the process."""
        raw = name.encode()
        os.write(self._file, _HEAD.pack(kind, time.time(), len(raw), place, len(data)) + raw + data)


@dataclass(frozen=True, slots=True)
class Note:
    kind: Kind
    at: float
    name: str
    place: int
    data: bytes


@dataclass
class _File:
    """`certain` survives. `since` is what was done since, in order; a sync that has begun and not ended makes none of
    it certain."""

    certain: bytearray = field(default_factory=bytearray)
    since: list[Note] = field(default_factory=list)
    syncing: int = 0

    def note(self, note: Note) -> None:
        match note.kind:
            case Kind.WRITE | Kind.TRUNCATE:
                self.since.append(note)
            case Kind.SYNC_BEGAN:
                self.syncing = len(self.since)
            case Kind.SYNC_ENDED:
                for one in self.since[: self.syncing]:
                    _apply(self.certain, one)
                del self.since[: self.syncing]
                self.syncing = 0

    def left(self, dice: random.Random | None) -> bytes:
        """One of all that a power cut may leave; None: the least."""
        content = bytearray(self.certain)
        if dice is None:
            return bytes(content)
        luck = dice.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        for note in self.since:
            if note.kind is Kind.TRUNCATE:
                if dice.random() < 0.5:
                    _apply(content, note)
                continue
            for part in _sectors(note):
                if dice.random() < luck:
                    _apply(content, part)
        if dice.random() < 0.3:  # the length came to the disk, and what is in it did not
            longest = max([len(content), *(note.place + len(note.data) for note in self.since)])
            content.extend(bytes(dice.randint(0, longest - len(content))))
        return bytes(content)


def _apply(content: bytearray, note: Note) -> None:
    if note.kind is Kind.TRUNCATE:
        del content[note.place :]
        content.extend(bytes(note.place - len(content)))
        return
    content.extend(bytes(max(0, note.place - len(content))))
    content[note.place : note.place + len(note.data)] = note.data


def _sectors(note: Note) -> Iterator[Note]:
    start, end = note.place, note.place + len(note.data)
    while start < end:
        stop = min(end, (start // SECTOR + 1) * SECTOR)
        yield Note(note.kind, note.at, note.name, start, note.data[start - note.place : stop - note.place])
        start = stop


class Journal:
    """What was noted, oldest first."""

    def __init__(self, path: Path) -> None:
        self.notes: Sequence[Note] = list(_read(path))

    def before(self, at: float) -> int:
        """The place in `notes` behind what was done by then."""
        return bisect.bisect_right(self.notes, at, key=lambda note: note.at)

    def cuts(self, moments: Sequence[int], dice: random.Random | None) -> Iterator[tuple[float, dict[str, bytes]]]:
        """For each of these places in `notes`, in order: when that was, and the files as the power cut left them.
        Without dice nothing is left of what was not synced."""
        files: dict[str, _File] = {}
        position = 0
        for moment in sorted(moments):
            for note in self.notes[position:moment]:
                if note.kind is Kind.DELETE:
                    files.pop(note.name, None)
                else:
                    files.setdefault(note.name, _File()).note(note)
            position = moment
            yield self.notes[moment - 1].at, {name: file.left(dice) for name, file in files.items()}


def _read(path: Path) -> Iterator[Note]:
    raw = path.read_bytes()
    place = 0
    while place + _HEAD.size <= len(raw):
        kind, at, name_length, where, length = _HEAD.unpack_from(raw, place)
        begin = place + _HEAD.size
        end = begin + name_length + length
        if end > len(raw):  # the process was killed in the middle of it
            return
        name = raw[begin : begin + name_length].decode()
        yield Note(Kind(kind), at, name, where, raw[begin + name_length : end])
        place = end
