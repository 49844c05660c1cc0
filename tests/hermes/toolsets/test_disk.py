from __future__ import annotations

from pathlib import Path

import pytest

from hermes.core.errors import ToolFailed
from hermes.toolsets import disk
from hermes.toolsets.paths import Reach


def test_a_directory_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    """The path was resolved while `inner` was a directory; then somebody put a link there."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.txt").write_text("secret")
    root = tmp_path / "root"
    root.mkdir()
    (root / "inner").symlink_to(outside)
    reach = Reach(roots=(root,))

    with pytest.raises(ToolFailed), disk.opened(root / "inner" / "a.txt", reach):
        pass
    with pytest.raises(ToolFailed):
        disk.write_bytes(root / "inner" / "b.txt", b"x", reach)
    with pytest.raises(ToolFailed):
        disk.delete(root / "inner" / "a.txt", reach)
    assert [path.name for path in outside.iterdir()] == ["a.txt"]


def test_a_file_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("secret")
    (tmp_path / "link").symlink_to("real")
    reach = Reach()

    with pytest.raises(ToolFailed, match="became a symbolic link"), disk.opened(tmp_path / "link", reach):
        pass
    with pytest.raises(ToolFailed, match="is a symbolic link"):
        disk.write_bytes(tmp_path / "link", b"x", reach)
    assert (tmp_path / "real").read_text() == "secret"


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    with pytest.raises(TypeError):
        disk.write_bytes(path, "not bytes", Reach())  # type: ignore[arg-type]

    assert path.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_too_large_a_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x" * 100)

    with pytest.raises(ToolFailed, match="has 100 bytes; at most 99 can be edited"):
        disk.read_bytes(tmp_path / "a.txt", Reach(), 99)


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))

    for n in range(20):
        disk.write_bytes(tmp_path / "x" / f"{n}.txt", b"x", Reach())
        disk.read_bytes(tmp_path / "x" / f"{n}.txt", Reach(), 10)
        with pytest.raises(ToolFailed):
            disk.read_bytes(tmp_path / "none.txt", Reach(), 10)

    assert len(list(Path("/proc/self/fd").iterdir())) == before
