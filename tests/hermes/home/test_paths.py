"""Where a home is, and how it is made."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hermes.core.errors import ConfigError
from hermes.home.env import read_env
from hermes.home.paths import Home, create_home, resolve_home


@pytest.fixture
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_without_hermes_home_the_home_is_in_the_users_directory(tmp_path: Path) -> None:
    assert resolve_home(None, {"HOME": str(tmp_path)}) == Home(tmp_path / ".hermes")


def test_an_empty_hermes_home_is_none(tmp_path: Path) -> None:
    assert resolve_home(None, {"HOME": str(tmp_path), "HERMES_HOME": " "}) == Home(tmp_path / ".hermes")


def test_a_tilde_in_hermes_home_is_the_users_directory(tmp_path: Path) -> None:
    assert resolve_home(None, {"HOME": str(tmp_path), "HERMES_HOME": "~/h"}) == Home(tmp_path / "h")


def test_a_relative_hermes_home_does_not_move_with_the_working_directory() -> None:
    assert resolve_home(None, {"HERMES_HOME": "h"}).path == Path.cwd() / "h"


def test_a_profile_is_a_home_under_the_root_home(tmp_path: Path) -> None:
    (tmp_path / "profiles" / "alice").mkdir(parents=True)
    home = resolve_home("alice", {"HERMES_HOME": str(tmp_path)})
    assert (home.path, home.name, home.root) == (tmp_path / "profiles" / "alice", "alice", tmp_path)
    assert home.command == "hermes -p alice"


def test_hermes_home_may_point_to_a_profile_and_then_means_it(tmp_path: Path) -> None:
    alice = tmp_path / "profiles" / "alice"
    home = resolve_home(None, {"HERMES_HOME": str(alice)})
    assert (home.name, home.root) == ("alice", tmp_path)


def test_from_inside_a_profile_the_others_and_the_root_are_reached_by_name(tmp_path: Path) -> None:
    environ = {"HERMES_HOME": str(tmp_path / "profiles" / "alice")}
    (tmp_path / "profiles" / "bob").mkdir(parents=True)
    assert resolve_home("bob", environ).path == tmp_path / "profiles" / "bob"
    assert resolve_home("default", environ) == Home(tmp_path)


def test_an_unknown_profile_is_refused_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="hermes profile create bob"):
        resolve_home("bob", {"HERMES_HOME": str(tmp_path)})


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../alice", "a/b", "a\\b", "/etc", "~", "Alice", "a b", "-a", "_a", ".a", "a\n", "a\0", "é"),
        *("a" * 65, "profiles/alice", "alice/..", "a.b", "con:", "%2e%2e", "*", "$HOME", "\u202ea"),
    ],
)
def test_what_could_lead_elsewhere_is_no_profile_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "profiles").mkdir()
    with pytest.raises(ConfigError, match="cannot be a profile's name"):
        resolve_home(name, {"HERMES_HOME": str(tmp_path)})


def test_a_new_home_has_what_a_gateway_needs(tmp_path: Path) -> None:
    home = Home(tmp_path / "deep" / "home")
    assert create_home(home)
    values = read_env(home.env_file)
    assert set(values) == {"API_SERVER_ENABLED", "API_SERVER_KEY"}
    assert values["API_SERVER_ENABLED"] == "true"
    assert len(values["API_SERVER_KEY"]) == 64
    assert home.soul_file.read_text()
    assert home.config_file.read_text()
    assert home.exists()


def test_two_homes_have_two_keys(tmp_path: Path) -> None:
    homes = [Home(tmp_path / name) for name in ("a", "b")]
    for home in homes:
        create_home(home)
    assert len({read_env(home.env_file)["API_SERVER_KEY"] for home in homes}) == 2


def test_a_home_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.env_file.write_text("API_SERVER_KEY=mine\n")
    assert not create_home(home)
    assert home.env_file.read_text() == "API_SERVER_KEY=mine\n"
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


def test_a_directory_that_only_holds_profiles_is_not_a_home_yet(tmp_path: Path) -> None:
    (tmp_path / "profiles" / "alice").mkdir(parents=True)
    assert create_home(Home(tmp_path))


def test_a_soul_that_was_written_before_the_first_start_stays(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.soul_file.write_text("I am the first.")
    create_home(home)
    assert home.soul_file.read_text() == "I am the first."


def test_many_at_once_make_one_home(tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: create_home(home), range(8)))
    assert made.count(True) == 1
    assert len(read_env(home.env_file)["API_SERVER_KEY"]) == 64


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
@pytest.mark.usefixtures("open_umask")
def test_only_the_owner_can_read_a_home_whatever_the_umask(tmp_path: Path) -> None:
    home = Home(tmp_path / "outer" / "home")
    create_home(home)
    for path in [home.path.parent, home.path, *home.path.rglob("*")]:
        assert mode(path) == (0o700 if path.is_dir() else 0o600), path
    assert home.too_open() == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_a_home_made_in_an_empty_directory_closes_it(tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    home.path.mkdir(mode=0o755)
    create_home(home)
    assert mode(home.path) == 0o700


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_a_directory_with_something_in_it_keeps_its_mode_and_is_reported(tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    home.path.mkdir()
    home.path.chmod(0o755)
    (home.path / "other").touch()
    create_home(home)
    assert mode(home.path) == 0o755
    assert home.too_open() == [f"{home.path} can be read by others (mode 755); close it with: chmod 700 {home.path}"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_files_that_others_can_read_are_named_with_the_command_that_closes_them(tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    create_home(home)
    home.env_file.chmod(0o644)
    (problem,) = home.too_open()
    assert problem.endswith(f"chmod 600 {home.env_file}")
