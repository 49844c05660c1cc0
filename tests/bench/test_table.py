"""A figure that is missed is written down as missed."""

from __future__ import annotations

import pytest

from bench.load import Times
from bench.table import Row, markdown


@pytest.mark.parametrize(
    ("budget", "is_floor", "ours", "verdict"),
    [
        (3.0, False, [2.0, 2.9, 9.0], "hit"),
        (3.0, False, [4.5], "**missed, ×1.5**"),
        (600.0, True, [600.0], "hit"),
        (600.0, True, [300.0], "**missed, ×2**"),
        (600.0, True, [], "not measured"),
        (None, False, [1.0], ""),
    ],
)
def test_the_median_decides(budget: float | None, is_floor: bool, ours: list[float], verdict: str):
    assert Row("x", "ms", budget, is_floor, ours).verdict == verdict


def test_the_table_shows_budget_figure_spread_relay_and_note():
    row = Row("turns/s", "/s", 600.0, True, ours=[500.0, 1200.0, 700.0], relay=[2000.0], note="3 errors")
    assert markdown([row]).splitlines()[2] == ("| turns/s | ≥ 600 /s | 700 /s (500–1,200) | 2,000 /s | hit; 3 errors |")


def test_percentiles():
    assert Times.of([float(n) for n in range(100)]) == Times(50.0, 95.0, 99.0)
    assert Times.of([]) == Times()
