from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli import Hermes, hermes_in


@pytest.fixture
def hermes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Hermes:
    """A machine where no home exists yet."""
    return hermes_in(tmp_path, capsys)
