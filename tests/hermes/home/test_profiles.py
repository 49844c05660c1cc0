"""Profiles: homes that share nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hermes.core.errors import ConfigError, Conflict, NotFound
from hermes.home.config_file import read_config
from hermes.home.env import read_env, set_env
from hermes.home.paths import Home, create_home
from hermes.home.profiles import create_profile, get_profile, list_profiles
from hermes.home.settings import load_settings


@pytest.fixture
def root(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    create_home(home)
    return home


def test_a_profile_is_a_whole_home_with_a_key_of_its_own_and_its_api_off(root: Home) -> None:
    alice = create_profile(root.path, "alice")
    assert alice == Home(root.path / "profiles" / "alice", "alice")
    settings = load_settings(alice, {})
    assert settings.problems == []
    assert settings.api_server.enabled is None
    assert settings.api_server.port == 8642
    assert settings.api_server.key not in (None, load_settings(root, {}).api_server.key)
    assert alice.soul_file.exists()


def test_a_profile_can_be_the_first_thing_that_is_made(tmp_path: Path) -> None:
    root = Home(tmp_path / "home")
    assert create_profile(root.path, "alice").exists()
    assert not root.exists()


def test_a_name_is_taken_once(root: Home) -> None:
    alice = create_profile(root.path, "alice")
    before = alice.env_file.read_text()
    with pytest.raises(Conflict, match="there is a profile 'alice' already"):
        create_profile(root.path, "alice")
    assert alice.env_file.read_text() == before


def test_of_many_that_make_the_same_one_wins_and_nothing_is_left_over(root: Home) -> None:
    def make(_: int) -> bool:
        try:
            create_profile(root.path, "alice")
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(make, range(6))).count(True) == 1
    assert [path.name for path in root.profiles_dir.iterdir()] == ["alice"]


@pytest.mark.parametrize("name", ["..", "a/b", "Alice", "", "default"])
def test_a_bad_name_makes_nothing(root: Home, name: str) -> None:
    with pytest.raises(ConfigError):
        create_profile(root.path, name)
    assert not root.profiles_dir.exists()


def test_a_clone_takes_the_model_and_the_character_and_nothing_that_makes_it_reachable(root: Home) -> None:
    set_env(root.env_file, "OPENAI_API_KEY", "sk-shared")
    set_env(root.env_file, "API_SERVER_PORT", "9000")
    root.soul_file.write_text("I am the first.")
    root.config_file.write_text(
        "# mine\nmodel: {default: gpt-5}\ngateway:\n  api_server: {port: 9001, max_concurrent_runs: 3}\n"
    )
    copy = create_profile(root.path, "copy", clone=root)
    assert copy.soul_file.read_text() == "I am the first."
    assert "# mine" in copy.config_file.read_text()
    assert read_config(copy.config_file) == {
        "model": {"default": "gpt-5"},
        "gateway": {"api_server": {"max_concurrent_runs": 3}},
    }
    values = read_env(copy.env_file)
    assert values.pop("API_SERVER_KEY") != read_env(root.env_file)["API_SERVER_KEY"]
    assert values == {"OPENAI_API_KEY": "sk-shared"}


def test_a_clone_that_fails_leaves_nothing(root: Home) -> None:
    root.config_file.write_text("a: [\n")
    with pytest.raises(ConfigError):
        create_profile(root.path, "copy", clone=root)
    assert list(root.profiles_dir.iterdir()) == []


def test_the_list_begins_with_the_default_and_holds_directories_only(root: Home) -> None:
    create_profile(root.path, "bob")
    create_profile(root.path, "alice")
    (root.profiles_dir / "a-file").touch()
    (root.profiles_dir / "Not A Name").mkdir()
    assert [home.name for home in list_profiles(root.path)] == ["default", "alice", "bob"]


def test_a_profile_is_found_by_name(root: Home) -> None:
    alice = create_profile(root.path, "alice")
    assert get_profile(root.path, "alice") == alice
    assert get_profile(root.path, "default") == root
    with pytest.raises(NotFound, match="hermes profile list"):
        get_profile(root.path, "bob")
