"""What was deleted goes after some days, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes.home.profiles import create_profile, delete_profile
from hermes.home.trash import DAY_SECONDS, empty_trash, place_in_trash

AT = 1_700_000_000.0


def test_what_lay_there_long_enough_is_removed(tmp_path: Path) -> None:
    for name, age in (("alice", 31), ("bob", 29)):
        delete_profile(create_profile(tmp_path, name), now=AT - age * DAY_SECONDS)
    assert [name[:5] for name in empty_trash(tmp_path, now=AT, days=30)] == ["alice"]
    assert [place.name[:3] for place in (tmp_path / "trash").iterdir()] == ["bob"]
    assert empty_trash(tmp_path, now=AT, days=30) == []


def test_what_others_put_there_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    trash = tmp_path / "trash"
    for name in ("mine", "alice-20010101", "alice-20019901-000000", "..-20010101-000000"):
        (trash / name).mkdir(parents=True)
    (trash / "file-20010101-000000").touch()
    (trash / "link-20010101-000000").symlink_to(outside)
    assert empty_trash(tmp_path, now=AT, days=30) == []
    assert outside.is_dir()
    assert not caplog.messages


def test_a_link_inside_leads_nowhere(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    place = place_in_trash(tmp_path, "alice", AT)
    place.mkdir()
    (place / "link").symlink_to(outside)
    assert empty_trash(tmp_path, now=AT + 31 * DAY_SECONDS, days=30) == [place.name]
    assert (outside / "file").exists()


def test_a_trash_that_is_a_link_or_not_there_is_left_alone(tmp_path: Path) -> None:
    assert empty_trash(tmp_path, now=AT, days=30) == []
    (tmp_path / "elsewhere" / "alice-20010101-000000").mkdir(parents=True)
    (tmp_path / "trash").symlink_to(tmp_path / "elsewhere")
    assert empty_trash(tmp_path, now=AT, days=30) == []
