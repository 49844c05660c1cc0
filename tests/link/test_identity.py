"""Who a Link is outlives reinstalling, and is nobody else's to read (spec: link-api, section 4)."""

from __future__ import annotations

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hermes.core.errors import Conflict
from hermeslink.core.ids import is_id
from hermeslink.identity import IdentityFile
from tests.support.clock import FakeClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "identity.json"


def identity_file(path: Path) -> IdentityFile:
    return IdentityFile(path, FakeClock())


def test_it_is_made_when_it_is_first_needed_and_stays(path: Path) -> None:
    file = identity_file(path)
    before = (file.link_id, path.exists())

    made = file.get()

    assert before == (None, False)
    assert is_id(made.link_id, "link") and file.link_id == made.link_id
    assert identity_file(path).get() == made
    assert identity_file(path).link_id == made.link_id


@pytest.mark.skipif(os.name == "nt", reason="Windows has ACLs")
def test_only_its_owner_can_read_it_even_where_it_was_open(path: Path) -> None:
    identity_file(path).get()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)

    identity_file(path).get()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_it_signs_can_be_checked_with_its_public_key(path: Path) -> None:
    identity = identity_file(path).get()

    Ed25519PublicKey.from_public_bytes(identity.public_key).verify(identity.sign(b"hello"), b"hello")


def test_the_private_key_is_not_shown(path: Path) -> None:
    identity = identity_file(path).get()

    assert "private_key" not in repr(identity)


def test_an_existing_file_keeps_its_link_id_and_what_else_it_says(path: Path) -> None:
    theirs = {"link_id": "link-of-before", "private_key": "-----BEGIN", "created_at": "2025-01-01T00:00:00Z"}
    path.write_text(json.dumps(theirs))

    made = identity_file(path).get()

    assert made.link_id == "link-of-before"
    assert identity_file(path).get() == made
    kept = json.loads(path.read_text())
    assert theirs.items() <= kept.items()


def test_of_many_that_make_it_at_once_all_take_the_same(path: Path) -> None:
    files = [identity_file(path) for _ in range(16)]

    with ThreadPoolExecutor(16) as pool:
        made = set(pool.map(lambda file: file.get(), files))

    assert len(made) == 1
    assert [child.name for child in path.parent.iterdir()] == ["identity.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"link_id": 7}', '{"link_id": ""}', "\x00"])
def test_a_damaged_file_is_left_alone_and_told(path: Path, text: str) -> None:
    path.write_text(text)

    with pytest.raises(Conflict) as raised:
        identity_file(path).get()

    assert raised.value.code == "link_not_paired" and str(path.parent) not in raised.value.message
    assert identity_file(path).link_id is None
    assert path.read_text() == text


def test_where_it_cannot_be_written_nobody_pairs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(Conflict) as raised:
        identity_file(tmp_path / "file" / "identity.json").get()

    assert raised.value.code == "link_not_paired"
