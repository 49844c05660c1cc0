"""A small disk for a home: a file system of its own in a mount namespace that nobody else sees. Needs root on Linux."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

FILLER = "filler"


@dataclass(frozen=True)
class Disk:
    """`place` is a directory that processes started behind `prefix` find on it; others find the empty one below."""

    place: Path
    holder: int

    @property
    def prefix(self) -> tuple[str, ...]:
        """Before a command: it runs where the disk is mounted, under its own pid."""
        return ("nsenter", "-t", str(self.holder), "-m", "env", "-C", str(self.place.parent))

    @property
    def inside(self) -> Path:
        """The same directory, as the test can read and write it."""
        return Path(f"/proc/{self.holder}/root{self.place}")

    def fill(self) -> None:
        """Not one byte more can be written."""
        with (self.inside / FILLER).open("ab", buffering=0) as file:
            for size in (1 << 16, 1):
                try:
                    while file.write(b"\0" * size):
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        (self.inside / FILLER).unlink()

    def run(self, *command: str) -> None:
        subprocess.run([*self.prefix, *command], check=True, capture_output=True)


@dataclass(frozen=True)
class FailingDisk(Disk):
    device: str

    def fail(self) -> None:
        """The kernel finds the file system broken, and from now on lets nobody write to it."""
        (Path("/sys/fs/ext4") / self.device / "trigger_fs_error").write_text("1")


@contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[Disk]:
    """Memory as a disk, mounted over `place`, with a copy of what lies there. Skips where that is not permitted."""
    if not _is_permitted():
        pytest.skip("a mount namespace is not permitted here: root on Linux runs this test")
    copy = f'mount -t tmpfs -o size={megabytes}m,mode=700 tmpfs "$2" && cp -a "$1/." "$2" && mount --bind "$2" "$1"'
    other = place.with_name(f"{place.name}-disk")
    other.mkdir()
    with _namespace(f"{copy} && echo mounted", place, other) as (holder, _):
        yield Disk(place, holder)


@contextmanager
def failing_disk(place: Path) -> Iterator[FailingDisk]:
    """An ext4 of its own over `place`, with a copy of what lies there. Skips where that is not permitted."""
    if not _is_permitted() or not Path("/dev/loop-control").exists() or shutil.which("mkfs.ext4") is None:
        pytest.skip("a file system in a file is not permitted here: root on Linux with ext4 runs this test")
    image, other = place.with_name(f"{place.name}-image"), place.with_name(f"{place.name}-disk")
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, capture_output=True)
    other.mkdir()
    mount = 'mount -o loop,errors=remount-ro "$3" "$2" && chmod 700 "$2" && cp -a "$1/." "$2" && mount --bind "$2" "$1"'
    with _namespace(f'{mount} && echo "$(findmnt -no SOURCE "$2")"', place, other, image) as (holder, device):
        yield FailingDisk(place, holder, Path(device).name)


@contextmanager
def _namespace(script: str, *arguments: Path) -> Iterator[tuple[int, str]]:
    """The process that keeps it, and what the script printed."""
    command = ["unshare", "-m", "sh", "-c", f"{script} && exec cat", "sh", *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        said = holder.stdout.readline().strip()
        if not said:
            pytest.skip("a disk of its own could not be mounted here")
        yield holder.pid, said
        holder.stdin.close()


@cache
def _is_permitted() -> bool:
    if os.name != "posix" or not hasattr(os, "geteuid"):
        return False
    try:
        tried = ["unshare", "-m", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
        return subprocess.run(tried, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
