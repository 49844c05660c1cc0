"""For every test: which databases it runs on, and hypothesis without a deadline, since machines are slow at times.
In CI its examples are the same each time, so that red means the change; `make test` looks for new ones.

With `--database=both` a test that used a database is run once more, on PostgreSQL. Which tests those are shows itself:
they asked `tests.support.database` for a URL. Left out is what is marked `sqlite`, with its reason. A gateway that
serves a whole module takes `module_database`, which gives its tests a parameter instead.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from hypothesis import settings

from tests.support import database as databases
from tests.support.postgres import postgres_database

settings.register_profile("shared-machine", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "shared-machine"))

IN_PROCESS = "both-in-process"
DATABASES = ("sqlite", "postgresql", "both", IN_PROCESS)
"""`both-in-process`: tests/acceptance, whose gateways take the time of both, on SQLite only."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--database", choices=DATABASES, default="sqlite", help="where tests keep data")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sqlite(reason): says something of SQLite or its file, so of no other database")
    config.pluginmanager.register(_Databases(config.getoption("--database")), "hermes-databases")


class _Databases:
    def __init__(self, wanted: str) -> None:
        self._wanted = wanted
        self._state = databases.state()
        self._state.is_postgres = wanted == "postgresql"
        self._is_again = False

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "module_database" in metafunc.fixturenames:
            wanted = (
                ["sqlite", "postgresql"] if self._wanted == "both" else [self._wanted.replace(IN_PROCESS, "sqlite")]
            )
            metafunc.parametrize("module_database", wanted, indirect=True, scope="module")

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        if self._wanted == "postgresql":
            left_out = {item for item in items if item.get_closest_marker("sqlite")}
            config.hook.pytest_deselected(items=list(left_out))
            items[:] = [item for item in items if item not in left_out]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
        before, self._state.has_sqlite = self._state.count, False
        done = yield
        if not self._is_again and self._is_for_both(item) and (self._state.count > before or self._state.has_sqlite):
            self._run_again(item, nextitem)
        return done

    def _is_for_both(self, item: pytest.Item) -> bool:
        is_wanted = self._wanted == "both" or (self._wanted == IN_PROCESS and "acceptance" not in item.path.parts)
        return is_wanted and item.get_closest_marker("sqlite") is None

    def _run_again(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        self._is_again = self._state.is_postgres = True
        try:
            item._initrequest()  # type: ignore[attr-defined] # its fixtures anew, as pytest-rerunfailures does it
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)
        finally:
            self._is_again = self._state.is_postgres = False

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Any:
        before = self._state.count
        made = yield
        if fixturedef.scope != "function":
            self._state.count = before  # not of the test that happens to be the first
        return made

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self) -> Iterator[None]:
        yield
        if self._state.is_postgres and self._state.has_sqlite:
            pytest.fail("it opened an SQLite: take the URL from tests.support.database, or mark it sqlite and say why")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if self._state.is_postgres and report.failed:
            path, line, name = report.location
            report.location = (path, line, f"{name} on PostgreSQL")
        return report

    def pytest_unconfigure(self) -> None:
        databases.stop_servers()


@pytest.fixture(autouse=True)
def databases_of_the_test() -> Iterator[None]:
    """What a test took is given back behind it; what a longer fixture took before stays."""
    with databases.taken_back():
        yield


@pytest.fixture(scope="module")
def module_database(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """For `make_gateway(database_url=…)` in a fixture of a module: None, and then the URL of a PostgreSQL."""
    if request.param == "sqlite":
        yield None
        return
    pool = databases.postgres_pool()
    url = pool.take()
    yield url
    pool.give_back(url)


@pytest.fixture(scope="session")
def postgres() -> str:
    """The URL of a PostgreSQL server that this worker started."""
    return databases.postgres_pool().server_url


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    """The URL of an empty database on it."""
    with postgres_database(postgres) as url:
        yield url
