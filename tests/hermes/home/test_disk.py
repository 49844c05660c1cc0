"""What a disk refuses names the place and the way out."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from hermes.home.disk import is_full, is_read_only, mount_point, refusal


def refused(number: int, file: Path | None = None) -> OSError:
    return OSError(number, "what the system says", None if file is None else str(file))


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "no room left for {file}: free some disk space (its disk is mounted at {mount})"),
        (errno.EDQUOT, "no room left for {file}: free some disk space (its disk is mounted at {mount})"),
        (
            errno.EROFS,
            "make it writable with: mount -o remount,rw {mount}; or set HERMES_HOME (Link's: HERMESLINK_HOME) to "
            "another place",
        ),
        (
            errno.EACCES,
            "this user may not write {file}: give it to the user who runs hermes, or set HERMES_HOME (Link's: "
            "HERMESLINK_HOME) elsewhere",
        ),
        (errno.EIO, "the disk failed under {file}: look at what the system's log says of it (dmesg)"),
    ],
)
def test_a_refusal_names_the_file_and_the_way_out(tmp_path: Path, number: int, told: str) -> None:
    file = tmp_path / "made" / "later" / "config.yaml"
    words = told.format(file=file, mount=mount_point(tmp_path))
    assert words in refusal(refused(number, file))
    assert words in refusal(refused(number), file)


def test_another_trouble_is_told_as_the_system_tells_it(tmp_path: Path) -> None:
    error = refused(errno.ENOENT, tmp_path / "x")
    assert refusal(error) == str(error)
    assert refusal(refused(errno.ENOSPC)).endswith("free some disk space")


def test_a_disk_with_room_is_neither_full_nor_read_only(tmp_path: Path) -> None:
    assert not is_full(tmp_path / "not" / "there")
    assert not is_read_only(tmp_path / "not" / "there")
    assert list(tmp_path.iterdir()) == []


def test_the_mount_point_of_a_place_is_above_it(tmp_path: Path) -> None:
    found = mount_point(tmp_path / "not" / "there")
    assert found.is_mount() and (found in tmp_path.parents or found == tmp_path)
