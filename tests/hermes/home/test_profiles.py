"""Profiles: homes that share nothing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from hermes.core.errors import ConfigError, Conflict, InvalidInput, NotFound
from hermes.home.about import change_about
from hermes.home.config_file import read_config
from hermes.home.env import read_env, set_env
from hermes.home.files import make_private_directory
from hermes.home.locks import GatewayProcess, bounded_lock, edit_lock, lock_gateway
from hermes.home.paths import Home, active_profile, create_home, resolve_home
from hermes.home.profiles import (
    create_profile,
    delete_profile,
    get_profile,
    list_profiles,
    rename_profile,
    use_profile,
)
from hermes.home.settings import load_settings
from hermes.home.wanted import is_wanted, wanted


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
        "database: {url: 'postgresql://u@h/its-own'}\n"
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


def test_a_deleted_profile_lies_in_the_trash(root: Home) -> None:
    alice = create_profile(root.path, "alice")
    key = read_env(alice.env_file)
    place = delete_profile(alice, now=1_700_000_000.0)
    assert place == root.path / "trash" / "alice-20231114-221320"
    assert read_env(place / ".env") == key
    assert [home.name for home in list_profiles(root.path)] == ["default"]
    again = delete_profile(create_profile(root.path, "alice"), now=1_700_000_000.0)
    assert again == root.path / "trash" / "alice-20231114-221320-2"


def test_a_profile_deleted_now_is_gone(root: Home) -> None:
    assert delete_profile(create_profile(root.path, "alice"), now=1.0, keeps=False) is None
    assert list((root.path / "trash").iterdir()) == []
    assert not (root.path / "profiles" / "alice").exists()


def test_a_renamed_profile_is_the_same_home_elsewhere(root: Home) -> None:
    alice = create_profile(root.path, "alice")
    before = read_env(alice.env_file)
    bob = rename_profile(alice, "bob", now=1.0)
    assert bob == Home(root.path / "profiles" / "bob", "bob")
    assert read_env(bob.env_file) == before
    assert [home.name for home in list_profiles(root.path)] == ["default", "bob"]


@pytest.mark.parametrize(
    "change",
    [
        lambda home: delete_profile(home, now=1.0, patience_seconds=0),
        lambda home: rename_profile(home, "b", now=1.0, patience_seconds=0),
    ],
)
def test_a_profile_whose_gateway_runs_stays_where_it_is(root: Home, change: Callable[[Home], object]) -> None:
    alice = create_profile(root.path, "alice")
    lock = lock_gateway(alice.pid_file, now=1.0, name="alice")
    with pytest.raises(Conflict) as raised:
        change(alice)
    assert raised.value.code == "gateway_running"
    guest = GatewayProcess(7, 1.0, "http://127.0.0.1:8642/p/alice", is_ready=True)
    lock.announce(guest)
    with pytest.raises(Conflict, match="is open in the default profile's gateway"):
        change(alice)
    lock.announce(replace(guest, is_busy=True))
    with pytest.raises(Conflict, match="is at work") as raised:
        change(alice)
    assert raised.value.code == "profile_busy"
    assert alice.exists()
    lock.release()
    change(alice)
    assert not alice.exists()


def test_a_run_that_is_just_being_put_away_is_waited_for(root: Home) -> None:
    alice = create_profile(root.path, "alice")
    lock = lock_gateway(alice.pid_file, now=1.0, name="alice")
    lock.announce(GatewayProcess(7, 1.0, "http://127.0.0.1:8642/p/alice", is_ready=True, is_busy=True))
    with ThreadPoolExecutor(1) as pool:
        renaming = pool.submit(rename_profile, alice, "bob", now=1.0)
        assert not wait([renaming], 0.2).done
        lock.release()
        assert renaming.result(30).exists()


def test_whoever_renames_it_says_so_and_is_alone(root: Home) -> None:
    alice = create_profile(root.path, "alice")
    assert not is_wanted(alice)
    with wanted(alice):
        assert is_wanted(alice)
        with pytest.raises(Conflict, match="being renamed or deleted already") as raised:
            rename_profile(alice, "bob", now=1.0)
        assert raised.value.code == "profile_busy"
    assert not is_wanted(alice)


@pytest.mark.parametrize(
    "held", [lambda home: edit_lock(home.env_file), lambda home: bounded_lock(home.root / "run" / "profiles.lock", 1.0)]
)
def test_a_name_changes_only_when_nobody_is_at_the_files_or_makes_a_profile(
    root: Home, held: Callable[[Home], AbstractContextManager[None]]
) -> None:
    alice = create_profile(root.path, "alice")
    with ThreadPoolExecutor(1) as pool:
        with held(alice):
            renaming = pool.submit(rename_profile, alice, "bob", now=1.0)
            assert not wait([renaming], 0.5).done
            assert alice.exists()
        assert renaming.result(30).exists()


def test_whoever_writes_to_a_profile_that_is_deleted_comes_first(root: Home) -> None:
    alice = create_profile(root.path, "alice")
    with ThreadPoolExecutor(1) as pool:
        with edit_lock(alice.env_file):
            deleting = pool.submit(delete_profile, alice, now=1.0)
            assert not wait([deleting], 0.5).done
            assert alice.exists()
        place = deleting.result(30)
    assert place is not None and place.exists()


def test_whoever_comes_late_makes_no_profile_of_an_old_name(root: Home) -> None:
    alice = create_profile(root.path, "alice")
    rename_profile(alice, "bob", now=1.0)
    for late in (
        lambda: set_env(alice.env_file, "A", "b"),
        lambda: lock_gateway(alice.pid_file, now=1.0),
        lambda: make_private_directory(alice.logs_dir),
        lambda: change_about(alice, display_name="A"),
    ):
        with pytest.raises(FileNotFoundError):
            late()
    with pytest.raises(NotFound):
        delete_profile(alice, now=1.0)
    assert not alice.path.exists()
    make_private_directory(alice.path)  # meant itself


@pytest.mark.parametrize("name", ["../x", "default", "UPPER", ""])
def test_a_bad_new_name_changes_nothing(root: Home, name: str) -> None:
    alice = create_profile(root.path, "alice")
    with pytest.raises(ConfigError):
        rename_profile(alice, name, now=1.0)
    assert alice.exists()


def test_a_taken_name_changes_nothing(root: Home) -> None:
    alice, bob = create_profile(root.path, "alice"), create_profile(root.path, "bob")
    (root.path / "profiles" / "empty").mkdir()
    (root.path / "profiles" / "link").symlink_to("nowhere")
    for name in ("bob", "empty", "link", "alice"):
        with pytest.raises(Conflict, match="there is a profile"):
            rename_profile(alice, name, now=1.0)
        with pytest.raises(Conflict, match="there is a profile"):
            create_profile(root.path, name)
    assert alice.exists()
    assert bob.exists()


def test_the_default_profile_is_neither_deleted_nor_renamed(root: Home) -> None:
    with pytest.raises(InvalidInput):
        delete_profile(root, now=1.0)
    with pytest.raises(InvalidInput):
        rename_profile(root, "other", now=1.0)
    assert root.exists()


def test_a_link_is_no_profile(root: Home) -> None:
    alice = create_profile(root.path, "alice")
    (root.path / "profiles" / "linked").symlink_to(alice.path)
    assert [home.name for home in list_profiles(root.path)] == ["default", "alice"]
    with pytest.raises(ConfigError, match="is a link"):
        delete_profile(Home(root.path / "profiles" / "linked", "linked"), now=1.0)


def test_the_profile_in_use_is_what_commands_mean(root: Home) -> None:
    alice = create_profile(root.path, "alice")
    environ = {"HOME": str(root.path.parent)}
    root.path.rename(root.path.parent / ".hermes")
    root, alice = Home(root.path.parent / ".hermes"), Home(root.path.parent / ".hermes/profiles/alice", "alice")
    use_profile(root.path, "alice")
    assert resolve_home(None, environ) == alice
    assert resolve_home("default", environ) == root
    assert resolve_home(None, {**environ, "HERMES_HOME": str(root.path)}) == root
    use_profile(root.path, "default")
    assert resolve_home(None, environ) == root
    with pytest.raises(NotFound):
        use_profile(root.path, "nobody")


def test_use_follows_a_new_name_and_ends_with_the_profile(root: Home) -> None:
    alice = create_profile(root.path, "alice")
    use_profile(root.path, "alice")
    bob = rename_profile(alice, "bob", now=1.0)
    assert active_profile(root.path) == "bob"
    delete_profile(bob, now=1.0)
    assert active_profile(root.path) == "default"


@pytest.mark.parametrize("text", ["../evil", "", "a\nb", "\x00"])
def test_a_damaged_choice_means_the_default(root: Home, text: str) -> None:
    (root.path / "active_profile").write_text(text)
    assert active_profile(root.path) == "default"


def test_a_chosen_profile_that_is_gone_is_said_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / ".hermes").mkdir()
    (tmp_path / ".hermes" / "active_profile").write_text("alice\n")
    with pytest.raises(ConfigError, match="hermes -p default profile use default"):
        resolve_home(None, {"HOME": str(tmp_path)})
