"""An outage begins with the first try that fails, and is over with one that came to something."""

from __future__ import annotations

from hermeslink.conversations.outage import Outage
from tests.support.clock import FakeClock


def test_it_lasts_from_the_first_failure() -> None:
    clock = FakeClock()
    outage = Outage(clock)
    lost = []
    for _ in range(3):
        outage.try_again()
        clock.advance(60)  # as long as a silent server is waited for
        lost.append(outage.failed(has_moved=False))
    assert lost == [0.0, 60.0, 120.0]


def test_it_is_over_with_an_event_and_with_a_stream_that_lasted() -> None:
    clock = FakeClock()
    outage = Outage(clock)
    outage.failed(has_moved=False)
    clock.advance(1000)
    outage.try_again()
    assert outage.failed(has_moved=True) == 0.0
    clock.advance(1000)
    outage.try_again()
    clock.advance(1000)
    assert outage.failed(has_moved=False) == 0.0


def test_the_tries_come_less_and_less_often() -> None:
    outage = Outage(FakeClock())
    assert [outage.pause_seconds() for _ in range(7)] == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
