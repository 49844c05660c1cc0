"""Files are written whole or not at all."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from hermes.home.files import LEFT_BEHIND_SECONDS, write_private


def test_a_write_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    write_private(path, "A=1\n")
    write_private(path, "A=2\n")
    assert path.read_text() == "A=2\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    write_private(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_private(path, "half \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_write_left_behind_goes_with_the_next_one(tmp_path: Path) -> None:
    env, hour_ago = tmp_path / ".env", time.time() - LEFT_BEHIND_SECONDS - 1
    kept = [tmp_path / name for name in ("..env.at-work.tmp", ".config.yaml.old.tmp", ".env.bak", "env.tmp")]
    for path in [*kept, tmp_path / "..env.killed.tmp"]:
        path.write_text("API_SERVER_KEY=x\n")
        if "at-work" not in path.name:
            os.utime(path, (hour_ago, hour_ago))
    write_private(env, "A=1\n")
    assert sorted(tmp_path.iterdir()) == sorted([env, *kept])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_a_file_that_was_open_to_others_is_closed_by_the_next_write(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=1\n")
    path.chmod(0o644)
    write_private(path, "A=2\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    real = tmp_path / "dotfiles" / "hermes.env"
    real.write_text("A=1\n")
    link = tmp_path / ".env"
    link.symlink_to(real)
    write_private(link, "A=2\n")
    assert link.is_symlink()
    assert real.read_text() == "A=2\n"
