"""The short forms of `make torture`: clients talk, nodes are killed, and every promise is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.torture import Conditions, Result, torture

pytestmark = pytest.mark.sqlite("each test says which database it tortures")


def check(result: Result) -> None:
    """What is wrong was printed with all that is known of it. A test in which nothing happened proves nothing."""
    assert [violation.what for violation in result.ledger.violations] == []
    assert sum(count for what, count in result.done.items() if what.startswith("kill -9")) >= 3
    assert result.figures.resumed >= 1
    assert result.figures.acknowledged >= 20


@pytest.mark.timeout(600)
def test_a_gateway_that_is_killed_again_and_again_loses_nothing(tmp_path: Path):
    check(torture(Conditions(seconds=15, strikes=7, seed=5, pause_seconds=(0.5, 2.5)), tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_three_nodes_of_which_some_are_killed_lose_nothing(tmp_path: Path):
    check(torture(Conditions("postgresql", nodes=3, seconds=40, strikes=8, seed=1), tmp_path))
