"""Which secret a node signs with: its home's own, or the one that all nodes of a database have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hermes.core.errors import StoreUnavailable
from hermes.home.callback_secret import NAME
from hermes.home.env import read_env, set_env
from hermes.home.paths import Home, create_home
from hermes.runs.signing import signing_secret
from hermes.store import facts
from hermes.store.database import Database


@pytest.fixture
def shared(postgres_url: str) -> Iterator[Database]:
    database = Database.open_now(postgres_url)
    yield database
    database.close_now()


@pytest.fixture
def homes(tmp_path: Path) -> list[Home]:
    made = [Home(tmp_path / name) for name in ("one", "two", "three")]
    for home in made:
        create_home(home)
    return made


def test_nodes_that_have_none_get_one_for_all_and_each_home_can_show_it(shared: Database, homes: list[Home]) -> None:
    secrets = {signing_secret(shared, home, None) for home in homes}
    assert len(secrets) == 1
    assert {read_env(home.env_file)[NAME] for home in homes} == secrets
    assert signing_secret(shared, homes[0], None) in secrets


def test_a_home_that_cannot_be_written_signs_all_the_same(shared: Database, homes: list[Home]) -> None:
    made = signing_secret(shared, homes[0], None)
    missing = Home(homes[0].path / "not" / "there")
    assert signing_secret(shared, missing, None) == made
    assert signing_secret(shared, None, None) == made


def test_nodes_with_different_secrets_are_told(
    shared: Database, homes: list[Home], caplog: pytest.LogCaptureFixture
) -> None:
    set_env(homes[0].env_file, NAME, "first")
    assert signing_secret(shared, homes[0], None) == "first"
    assert signing_secret(shared, homes[1], "first") == "first"
    assert caplog.records == []
    assert signing_secret(shared, homes[1], "second") == "second"
    assert "give every node the same one" in caplog.text
    assert "first" not in caplog.text
    assert "second" not in caplog.text
    with pytest.raises(StoreUnavailable, match="this one has none"):
        signing_secret(shared, homes[2], None)
    assert NAME not in read_env(homes[2].env_file)


@pytest.mark.sqlite("a database of one home leaves it in the home")
def test_a_database_of_one_home_knows_nothing_of_it(tmp_path: Path, homes: list[Home]) -> None:
    database = Database.open_now(f"sqlite:///{tmp_path / 'state.db'}")
    assert signing_secret(database, homes[0], None) == read_env(homes[0].env_file)[NAME]
    assert database.read_now(facts.get, facts.SECRET) is None
    database.close_now()
