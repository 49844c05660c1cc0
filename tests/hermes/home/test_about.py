"""What people see of a profile."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hermes.home.about import About, change_about, is_avatar_url, read_about, renew_uid, with_uid
from hermes.home.paths import Home
from hermes.home.profiles import create_profile, rename_profile


@pytest.fixture
def alice(tmp_path: Path) -> Home:
    return create_profile(tmp_path / "home", "alice")


def test_the_uid_is_there_from_the_start_and_stays_with_the_profile(alice: Home) -> None:
    uid = read_about(alice).uid
    assert uid is not None
    assert with_uid(alice).uid == uid
    change_about(alice, display_name="Alice", description="For the garden")
    bob = rename_profile(alice, "bob", now=1.0)
    assert read_about(bob) == About(uid, "Alice", "For the garden")


def test_who_has_none_gets_one_and_keeps_it(tmp_path: Path) -> None:
    home = Home(tmp_path / "old")
    assert with_uid(home) == About()
    assert not home.path.exists()
    home.path.mkdir()
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: with_uid(home).uid, range(8)))
    assert len(found) == 1
    assert renew_uid(home).uid not in found


def test_what_is_taken_away_is_gone_and_what_others_wrote_stays(alice: Home) -> None:
    file = alice.path / "profile.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "theirs": 1}))
    change_about(alice, display_name="Alice", avatar_type="image", avatar_url="https://a.example/b.png")
    change_about(alice, display_name=None, avatar_type=None, avatar_url=None)
    assert read_about(alice) == About(read_about(alice).uid)
    assert json.loads(file.read_text())["theirs"] == 1
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "[]", "{", '{"uid": "../x", "display_name": 5}', "\x00" * 300_000, "[" * 90_000])
def test_a_damaged_file_says_nothing_and_is_mended(alice: Home, text: str) -> None:
    (alice.path / "profile.json").write_text(text)
    assert read_about(alice) == About()
    assert with_uid(alice).uid is not None


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        ("https://pictures.example/a.png?size=2", True),
        ("https://[::1]:8443/a.png", True),
        ("data:image/png;base64,iVBORw0KGgo=", True),
        ("http://pictures.example/a.png", False),
        ("https://user:word@pictures.example/a.png", False),
        ("https://pictures.example/a b.png", False),
        ("javascript:alert(1)", False),
        ("data:image/svg+xml;base64,PHN2Zz4=", False),
        ("data:text/html;base64,AAAA", False),
        ("file:///etc/passwd", False),
        ("//pictures.example/a.png", False),
        ("data:image/png;base64," + "A" * 100_000, False),
        ("https://a.example/" + "a" * 3000, False),
    ],
)
def test_an_avatar_is_fetched_safely_or_is_small(alice: Home, url: str, is_one: bool) -> None:
    assert is_avatar_url(url) is is_one
    change_about(alice, avatar_type="image", avatar_url=url)
    assert read_about(alice).avatar_url == (url if is_one else None)
