"""For every test: hypothesis has no deadline, since the machines that run the tests are shared and slow at times."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.postgres import postgres_database, postgres_server

settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server that this worker started."""
    with postgres_server() as server_url:
        yield server_url


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    """The URL of an empty database on it."""
    with postgres_database(postgres) as url:
        yield url
