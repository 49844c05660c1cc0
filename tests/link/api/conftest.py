"""The app of Link, served."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.link import LinkServer, serving_link


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[LinkServer]:
    async with serving_link(tmp_path) as serving:
        yield serving
