"""A database in a file and one in memory: what a repository function claims holds in both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hermes.store.database import Database


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'state.db'}"


@pytest.fixture(params=["file", "memory"])
async def database(request: pytest.FixtureRequest, url: str) -> AsyncIterator[Database]:
    database = await Database.open(url if request.param == "file" else "sqlite://")
    yield database
    await database.close()
