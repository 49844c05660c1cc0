from __future__ import annotations

from pathlib import Path

from hermes.home.callback_secret import NAME, callback_secret
from hermes.home.env import read_env, set_env
from hermes.home.paths import Home, create_home
from hermes.home.settings import load_settings


def a_home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    create_home(home)
    return home


def test_the_owners_secret_is_taken_as_it_is_and_nothing_is_written(tmp_path: Path) -> None:
    home = a_home(tmp_path)
    assert callback_secret(home, "mine") == "mine"
    assert NAME not in read_env(home.env_file)


def test_one_is_made_once_and_stays_where_the_settings_find_it(tmp_path: Path) -> None:
    home = a_home(tmp_path)
    made = callback_secret(home, None)
    assert (len(made), callback_secret(home, None)) == (64, made)
    assert load_settings(home, {}).api_server.callback_secret == made
    assert home.env_file.stat().st_mode & 0o777 == 0o600


def test_one_that_was_set_since_the_start_is_taken(tmp_path: Path) -> None:
    home = a_home(tmp_path)
    set_env(home.env_file, NAME, "set-by-hand")
    assert callback_secret(home, None) == "set-by-hand"


def test_without_a_home_each_process_has_its_own() -> None:
    assert callback_secret(None, None) != callback_secret(None, None)
