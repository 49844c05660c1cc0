from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.api import Server, make_services, serving


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving(make_services()) as running:
        yield running
