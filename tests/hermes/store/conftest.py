"""A database in a file, one in memory and a PostgreSQL: what a repository function claims holds in each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hermes.store.database import Database
from tests.support.postgres import postgres_database


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'state.db'}"


OWN = pytest.mark.sqlite("PostgreSQL has a parameter of its own here")


@pytest.fixture(params=[pytest.param("file", marks=OWN), pytest.param("memory", marks=OWN), "postgres"])
async def database(request: pytest.FixtureRequest, url: str) -> AsyncIterator[Database]:
    if request.param == "postgres":
        with postgres_database(request.getfixturevalue("postgres")) as postgres_url:
            database = await Database.open(postgres_url)
            yield database
            await database.close()
        return
    database = await Database.open(url if request.param == "file" else "sqlite://")
    yield database
    await database.close()
