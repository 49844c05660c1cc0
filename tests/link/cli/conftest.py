import os

import pytest

from hermeslink.service import background
from tests.support.link_cli import HermesLink


@pytest.fixture
def hermeslink(tmp_path, capsys):
    made = HermesLink(
        tmp_path, capsys, {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    )
    yield made
    background.stop(made.home)
