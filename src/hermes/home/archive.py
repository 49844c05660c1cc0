"""A profile in one file, to keep or to take along: `hermes profile export` and `import`.

Importing only writes files, into a new home, and trusts nothing of the archive: not its names, its sizes or its kinds.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tarfile
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from hermes.core.errors import ConfigError, Conflict, InvalidInput, NotFound
from hermes.core.redact import Redactor
from hermes.home.about import renew_uid
from hermes.home.config_file import ConfigDraft
from hermes.home.env import read_env, set_env
from hermes.home.files import make_private_directory, open_private
from hermes.home.masking import secret_places
from hermes.home.paths import Home, create_home, profile_home
from hermes.home.settings import load_settings, secret_values

MANIFEST = "hermes-profile.json"
INSIDE = "profile/"
DATABASE = "state.db"
LEFT_OUT = frozenset({"run", "logs", "cache", "caches", ".cache", "profiles", "trash", "active_profile", "backups"})
"""At the top of a home: what lives as long as a process, and what is not the profile's."""
SECRET_FILES = frozenset({".env"})

MAX_FILES = 100_000
MAX_BYTES = 16 << 30
MAX_MANIFEST_BYTES = 64 << 10
MAX_HEADER_BYTES = 64 << 10
MAX_PATH = 400
MAX_DEPTH = 32

_PART = re.compile(r"[^\x00-\x1f\x7f/\\]{1,200}\Z")

Snapshot = Callable[[Path, Path], None]
"""Copies an open database: from, to."""


@dataclass(frozen=True, slots=True)
class Bounds:
    files: int = MAX_FILES
    total_bytes: int = MAX_BYTES


@dataclass(frozen=True, slots=True)
class Imported:
    home: Home
    files: int
    has_secrets: bool
    """The archive held them; whether they were taken is up to `with_secrets`."""


def export_profile(home: Home, target: Path, snapshot: Snapshot, *, with_secrets: bool = False) -> int:
    """How many files are in it. `target` is new, and readable by its owner alone.

    Raises NotFound where there is no such home, Conflict where the file exists, ConfigError where a secret in
    config.yaml cannot be taken out.
    """
    if not home.exists():
        raise NotFound(f"there is nothing in {home.path} to export")
    with tempfile.TemporaryDirectory(prefix=".hermes-export-", dir=target.parent) as made:
        files = list(_contents(home, Path(made), snapshot, with_secrets=with_secrets))
        try:
            handle = open_private(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError as error:
            raise Conflict(f"{target} is there already; choose another name") from error
        try:
            with os.fdopen(handle, "wb") as out:
                _pack(out, home, files, with_secrets=with_secrets)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    return len(files)


def import_profile(
    root: Path,
    source: Path,
    *,
    name: str | None = None,
    with_secrets: bool = False,
    adopt: Callable[[Path], object],
    bounds: Bounds | None = None,
) -> Imported:
    """A new profile with what the archive holds, whole or not at all. `adopt` makes its database fit for this machine.

    Raises InvalidInput for what is no archive of ours, or goes beyond `bounds`; Conflict where the name is taken.
    """
    bounds = bounds or Bounds()
    try:
        with source.open("rb") as file, tarfile.open(fileobj=file, mode="r|gz", tarinfo=_Member) as archive:
            manifest = _manifest(archive)
            home = profile_home(root, name or manifest["name"])
            if home.path.exists() or home.path.is_symlink():
                raise Conflict(f"there is a profile {home.name!r} already; choose another name with --name")
            return _unpack(archive, home, manifest, bounds, adopt, with_secrets=with_secrets)
    except (tarfile.TarError, EOFError, OSError, UnicodeError, ValueError, RecursionError) as error:
        if isinstance(error, OSError) and not isinstance(error, tarfile.TarError) and error.filename is not None:
            raise
        raise InvalidInput(f"{source} is no archive that `hermes profile export` wrote: {error}") from error


class _Member(tarfile.TarInfo):
    """A member whose header is small: tarfile reads long ones into memory before anybody can look."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        member = super().frombuf(buf, encoding, errors)
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE) and member.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError("a header is larger than any of ours")
        return member


def _contents(home: Home, made: Path, snapshot: Snapshot, *, with_secrets: bool) -> Iterator[tuple[str, Path]]:
    """Name within the profile and the file to read. Links and other things that are no files stay out."""
    for folder, folders, names in os.walk(home.path):
        here = Path(folder)
        inside = here.relative_to(home.path)
        is_top = here == home.path
        folders[:] = sorted(one for one in folders if not (is_top and one in LEFT_OUT) and one != "__pycache__")
        for name in sorted(names):
            path = here / name
            if path.is_symlink() or not path.is_file() or (name.startswith(".") and name.endswith(".tmp")):
                continue
            if is_top and (name in LEFT_OUT or name.startswith(DATABASE)):
                continue
            if is_top and name in SECRET_FILES and not with_secrets:
                continue
            if path == home.config_file and not with_secrets:
                path = _without_secrets(home, made)
            yield (inside / name).as_posix(), path
    if home.state_db.is_file():
        copy = made / DATABASE
        snapshot(home.state_db, copy)
        yield DATABASE, copy


def _without_secrets(home: Home, made: Path) -> Path:
    """A copy of config.yaml without the values that its names or their shape give away as secrets."""
    draft = ConfigDraft(home.config_file)
    for keys, cleaned in list(secret_places(draft.values)):
        if cleaned is None:
            draft.unset(keys)
        else:
            draft.set(keys, cleaned)
    settings = load_settings(home, {}, is_lenient=True)
    hide = Redactor(secret_values(settings, {**read_env(home.env_file)}))
    copy = made / "config.yaml"
    copy.write_text(hide(draft.text), encoding="utf-8")  # what stands in comments
    return copy


def _pack(out: IO[bytes], home: Home, files: list[tuple[str, Path]], *, with_secrets: bool) -> None:
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        manifest = json.dumps({"format": 1, "name": home.name, "has_secrets": with_secrets}).encode()
        info = tarfile.TarInfo(MANIFEST)
        info.size, info.mode = len(manifest), 0o600
        archive.addfile(info, io.BytesIO(manifest))
        for name, path in files:
            with path.open("rb") as file:
                info = tarfile.TarInfo(INSIDE + name)
                found = os.fstat(file.fileno())
                info.size, info.mode, info.mtime = found.st_size, 0o600, int(found.st_mtime)
                archive.addfile(info, _Exactly(file, found.st_size))  # type: ignore[arg-type]


class _Exactly:
    """A file that may grow or shrink while it is read, as long as it was at first."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int) -> bytes:
        size = min(size, self._left)
        self._left -= size
        return self._file.read(size).ljust(size, b"\0")


def _manifest(archive: tarfile.TarFile) -> dict[str, Any]:
    first = archive.next()
    if first is None or first.name != MANIFEST or not first.isreg() or first.size > MAX_MANIFEST_BYTES:
        raise ValueError(f"it does not begin with {MANIFEST}")
    file = archive.extractfile(first)
    manifest = json.loads(file.read()) if file is not None else None
    if not isinstance(manifest, dict) or manifest.get("format") != 1 or not isinstance(manifest.get("name"), str):
        raise ValueError(f"its {MANIFEST} is of another version")
    return manifest


def _unpack(
    archive: tarfile.TarFile,
    home: Home,
    manifest: dict[str, Any],
    bounds: Bounds,
    adopt: Callable[[Path], object],
    *,
    with_secrets: bool,
) -> Imported:
    make_private_directory(home.path.parent)
    draft = Home(Path(tempfile.mkdtemp(prefix=".new-", dir=home.path.parent)), home.name)
    try:
        create_home(draft, enable_api=False)
        key = read_env(draft.env_file)["API_SERVER_KEY"]
        seen: set[str] = set()
        left = min(bounds.total_bytes, int(shutil.disk_usage(draft.path).free * 0.9))
        for count, member in enumerate(_members(archive), 1):
            name = _checked_name(member)
            left -= member.size
            if count > bounds.files or left < 0 or member.size < 0:
                raise ValueError(f"it has more than {bounds.files} files, or more bytes than there is room for")
            if name is None:
                continue
            if name.casefold() in seen:
                raise ValueError(f"it has {name[:80]!r} twice")
            seen.add(name.casefold())
            top = name.partition("/")[0]
            plain = unicodedata.normalize("NFKC", name).casefold()  # a disk that knows no case takes .ENV for .env
            if (
                top in LEFT_OUT
                or (plain in SECRET_FILES and not with_secrets)
                or plain in (f"{DATABASE}-wal", f"{DATABASE}-shm")
            ):
                continue
            _write(archive, member, draft.path / name)
        if draft.state_db.exists():
            adopt(draft.state_db)
        if not read_env(draft.env_file).get("API_SERVER_KEY"):
            set_env(draft.env_file, "API_SERVER_KEY", key)
        renew_uid(draft)  # it may be here already, under another name
        shutil.rmtree(draft.run_dir, ignore_errors=True)
        if home.path.exists():
            raise Conflict(f"there is a profile {home.name!r} already; choose another name with --name")
        draft.path.rename(home.path)
    finally:
        shutil.rmtree(draft.path, ignore_errors=True)
    return Imported(home, len(seen), bool(manifest.get("has_secrets")))


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """What follows the manifest, one at a time: tarfile would remember them all."""
    while (member := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined]
        yield member


def _checked_name(member: tarfile.TarInfo) -> str | None:
    """The path within the profile; None for a directory, which is made with what lies in it."""
    if member.isdir():
        return None
    if not member.isreg() or member.issparse():
        raise ValueError(f"it has a link or a device: {member.name[:80]!r}")
    name = member.name.removeprefix(INSIDE)
    parts = PurePosixPath(name).parts
    if (
        name == member.name
        or not parts
        or len(name) > MAX_PATH
        or len(parts) > MAX_DEPTH
        or "/".join(parts) != name
        or any(part in (".", "..") or _PART.match(part) is None for part in parts)
    ):
        raise ValueError(f"it has a name that leads elsewhere: {member.name[:80]!r}")
    return name


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """Into a draft that holds nothing but what was made and written here: there is no link to follow."""
    make_private_directory(target.parent)
    file = archive.extractfile(member)
    if file is None:
        raise ValueError(f"{member.name[:80]!r} cannot be read")
    with os.fdopen(open_private(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as out:
        shutil.copyfileobj(file, out, 1 << 20)


def check_archive_target(target: Path) -> Path:
    """An absolute path whose folder exists. Raises ConfigError."""
    target = target.expanduser().absolute()
    if not target.parent.is_dir():
        raise ConfigError(f"there is no folder {target.parent}")
    return target
