from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hermes.store.database import Database
from hermeslink.blobs.blobs import Blobs
from hermeslink.blobs.folder import Folder
from hermeslink.blobs.inboxes import Inboxes
from tests.support.clock import FakeClock
from tests.support.link_conversations import add_conversation, link_database


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    async with link_database() as opened:
        yield opened


@pytest.fixture
def hermes_root(tmp_path: Path) -> Path:
    root = tmp_path / "hermes"
    (root / "profiles" / "work").mkdir(parents=True)
    return root


@pytest.fixture
def blobs(database: Database, tmp_path: Path, hermes_root: Path) -> Blobs:
    inboxes = Inboxes(hermes_root, lambda: f"link_{'1' * 32}")
    return Blobs(database, Folder(tmp_path / "link" / "blobs"), inboxes, FakeClock())


@pytest.fixture
async def conversation(database: Database) -> str:
    return await add_conversation(database)
