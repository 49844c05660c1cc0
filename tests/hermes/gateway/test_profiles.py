"""The doors of real homes: which are open, what changes them, and what of the environment reaches them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from hermes.api.auth import digest_of
from hermes.api.profiles import Door
from hermes.core.key import Key, Scope
from hermes.gateway.profiles import ProfileHomes, shared_environment
from hermes.home.config_file import set_config
from hermes.home.env import read_env, set_env, unset_env
from hermes.home.paths import Home
from hermes.home.profiles import create_profile
from hermes.store import keys as key_store
from hermes.store.database import Database
from tests.support.api import make_services
from tests.support.database import new_url


@pytest.fixture
def root(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def alice(root: Home) -> Home:
    return create_profile(root.path, "alice")


@pytest.fixture
def homes(root: Home) -> ProfileHomes:
    environ = {"API_SERVER_KEY": "k" * 40, "PATH": "/bin"}
    return ProfileHomes(root, environ, make_services(), "http://127.0.0.1:8642", lambda engine: [])


@pytest.fixture
def url(tmp_path: Path) -> str:
    return new_url(tmp_path / "elsewhere.db")


async def opens(door: Door | None, key: str) -> bool:
    return door is not None and await door.services.keys.find(digest_of(key.encode())) is not None


async def test_a_door_opens_for_the_key_in_the_profiles_own_env(homes: ProfileHomes, alice: Home) -> None:
    door = homes.door("alice")
    assert await opens(door, read_env(alice.env_file)["API_SERVER_KEY"])
    assert not await opens(door, "k" * 40)
    assert homes.door("alice") is door


async def test_a_door_opens_for_a_key_in_config_yaml(homes: ProfileHomes, alice: Home) -> None:
    unset_env(alice.env_file, "API_SERVER_KEY")
    assert homes.door("alice") is None
    set_config(alice.config_file, ["api_server", "key"], "c" * 40)
    assert await opens(homes.door("alice"), "c" * 40)


async def test_a_named_key_opens_a_profile_whose_data_is_elsewhere(homes: ProfileHomes, alice: Home, url: str) -> None:
    set_config(alice.config_file, ["database", "url"], url)
    database = await Database.open(url)
    key = Key(id="key_1", name="bot", scopes=frozenset({Scope.READ}), created_at=1.0)
    await database.write(key_store.add, key, hashlib.sha256(b"hk_bot").hexdigest(), "cli")
    await database.close()
    assert await opens(homes.door("alice"), "hk_bot")
    assert not await opens(homes.door("alice"), "hk_other")


@pytest.mark.parametrize("name", ["nobody", "", "..", "../alice", "ALICE", "default", "alice\n", "a" * 65])
def test_what_is_no_profile_has_no_door(homes: ProfileHomes, alice: Home, name: str) -> None:
    assert homes.door(name) is None


def test_a_link_a_file_and_a_half_made_profile_have_none(homes: ProfileHomes, root: Home, alice: Home) -> None:
    (root.profiles_dir / "linked").symlink_to(alice.path)
    (root.profiles_dir / "file").write_text("")
    (root.profiles_dir / "empty").mkdir()
    assert [homes.door(name) for name in ("linked", "file", "empty", ".new-x")] == [None] * 4


def test_a_profile_that_is_switched_off_or_wrong_is_closed_until_it_is_not(homes: ProfileHomes, alice: Home) -> None:
    set_env(alice.env_file, "API_SERVER_ENABLED", "false")
    assert homes.door("alice") is None
    unset_env(alice.env_file, "API_SERVER_ENABLED")
    assert homes.door("alice") is not None
    set_config(alice.config_file, ["approvals", "timeout"], "never")
    assert homes.door("alice") is None
    set_config(alice.config_file, ["approvals", "timeout"], 5)
    assert homes.door("alice") is not None


def test_a_profile_that_is_gone_has_no_door_any_more(homes: ProfileHomes, alice: Home) -> None:
    assert homes.door("alice") is not None
    alice.path.rename(alice.path.with_name("bob"))
    assert homes.door("alice") is None
    assert homes.door("bob") is not None


def test_of_the_environment_only_what_opens_and_pays_for_nothing_is_shared() -> None:
    kept = {"PATH": "/bin", "LANG": "C", "HOME": "/home/a", "TZ": "UTC"}
    own = dict.fromkeys(
        (
            "API_SERVER_KEY",
            "API_SERVER_PORT",
            "HERMES_HOME",
            "HERMES_DATABASE_URL",
            "OPENAI_API_KEY",
            "OPENAI_BASE_URL",
            "AWS_REGION",
            "GITHUB_TOKEN",
            "DB_PASSWORD",
        ),
        "x",
    )
    assert shared_environment({**kept, **own}) == kept
