"""For every test: which database it runs on, and hypothesis without a deadline, since machines are slow at times.

`pytest` runs everything on SQLite and notes which tests used a database; `pytest --database=postgresql` runs those,
and any it knows nothing of, once more on PostgreSQL. Left out is what is marked `sqlite`, with its reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.support import database as databases
from tests.support.postgres import postgres_database

settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

NOTED = "hermes/database"
"""In pytest's cache: a test's id, and whether it used a database."""
USED = "uses-database"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--database", choices=["sqlite", "postgresql"], default="sqlite", help="where tests keep data")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sqlite(reason): says something of SQLite or its file, so of no other database")
    notes = _Notes(config, is_postgres=config.getoption("--database") == "postgresql")
    config.pluginmanager.register(notes, "hermes-database")


class _Notes:
    def __init__(self, config: pytest.Config, *, is_postgres: bool) -> None:
        self._config = config
        self._is_postgres = is_postgres
        self._state = databases.state(is_postgres=is_postgres)
        self._lasting: set[tuple[Path, str]] = set()
        self._noted: dict[str, bool] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if not self._is_postgres:
            return
        noted = _read(self._config)
        left_out = {item for item in items if item.get_closest_marker("sqlite") or not noted.get(item.nodeid, True)}
        self._config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Any:
        """A gateway that serves a whole module uses a database for each of its tests."""
        before = self._state.count
        made = yield
        if fixturedef.scope != "function" and self._state.count > before:
            self._lasting.add((request.path, fixturedef.argname))
        return made

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Iterator[None]:
        self._state.has_sqlite = False
        item.stash[_BEFORE] = self._state.count
        yield

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        yield
        names = {(item.path, name) for name in getattr(item, "fixturenames", ())}
        if self._state.count > item.stash[_BEFORE] or self._state.has_sqlite or names & self._lasting:
            item.user_properties.append((USED, True))
        if self._is_postgres and self._state.has_sqlite:
            pytest.fail("it opened an SQLite: take the URL from tests.support.database, or mark it sqlite and say why")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            self._noted[report.nodeid] = (USED, True) in map(tuple, report.user_properties)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._is_postgres:
            if session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:  # all that was asked for needs no database
                session.exitstatus = pytest.ExitCode.OK
        elif not hasattr(self._config, "workerinput") and (cache := _cache(self._config)) is not None:
            cache.set(NOTED, _read(self._config) | self._noted)

    def pytest_unconfigure(self) -> None:
        databases.stop_servers()


_BEFORE = pytest.StashKey[int]()


def _cache(config: pytest.Config) -> pytest.Cache | None:
    return getattr(config, "cache", None)  # `-p no:cacheprovider` takes it away


def _read(config: pytest.Config) -> dict[str, bool]:
    cache = _cache(config)
    return {} if cache is None else cache.get(NOTED, {})


@pytest.fixture(autouse=True)
def databases_of_the_test() -> Iterator[None]:
    """What a test took is given back behind it; what a longer fixture took before stays."""
    with databases.taken_back():
        yield


@pytest.fixture(scope="session")
def postgres() -> str:
    """The URL of a PostgreSQL server that this worker started."""
    return databases.postgres_pool().server_url


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    """The URL of an empty database on it."""
    with postgres_database(postgres) as url:
        yield url
