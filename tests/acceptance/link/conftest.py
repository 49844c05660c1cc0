"""Fixtures: Link as its own process, in front of a gateway with a scripted model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Gateway, StartGateway
from tests.acceptance.link.phone import Phone
from tests.acceptance.link.process import LinkProcess, make_link, tell_link

StartLink = Callable[..., LinkProcess]


@pytest.fixture
def start_link(tmp_path: Path) -> Iterator[StartLink]:
    """`start_link(gateway.home, config={…})`: one that answers already."""
    made: list[LinkProcess] = []

    def start(hermes_home: Path, **options: Any) -> LinkProcess:
        link = make_link(tmp_path, hermes_home, number=len(made) + 1, **options)
        made.append(link)
        return link.start()

    yield start
    for link in made:
        link.close()


@pytest.fixture
def known_gateway(start_gateway: StartGateway) -> Gateway:
    """One that Link finds."""
    gateway = start_gateway()
    tell_link(gateway)
    return gateway


@pytest.fixture
def link(known_gateway: Gateway, start_link: StartLink) -> LinkProcess:
    return start_link(known_gateway.home)


@pytest.fixture
def phone(link: LinkProcess) -> Phone:
    return link.phone()
