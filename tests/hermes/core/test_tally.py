"""Counting."""

from __future__ import annotations

from hermes.core.run import RunStatus, Usage
from hermes.core.tally import MOST_NAMES, Histogram, RunTally


def test_a_value_on_a_bound_counts_below_it_and_one_above_all_bounds_counts_last() -> None:
    histogram = Histogram((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(seconds)
    assert histogram.counts == [2, 1, 1]
    assert histogram.total == 7.65


def test_runs_are_counted_by_source_and_end_and_their_usage_adds_up() -> None:
    tally = RunTally()
    usage = Usage(input_tokens=10, output_tokens=5, api_calls=1)
    tally.end("api", RunStatus.COMPLETED, usage, waited=0.0, overhead=0.003, first_token=0.2)
    tally.end("api", RunStatus.COMPLETED, usage, waited=2.0, overhead=0.003, first_token=2.2)
    tally.end("cron", RunStatus.FAILED, Usage(), waited=40.0)
    assert dict(tally.ended) == {("api", "completed"): 2, ("cron", "failed"): 1}
    assert (tally.usage.input_tokens, tally.usage.output_tokens, tally.usage.api_calls) == (20, 10, 2)
    assert [sum(each.counts) for each in (tally.queue_wait, tally.overhead, tally.first_token)] == [3, 2, 2]


def test_there_are_only_so_many_names_of_sources() -> None:
    tally = RunTally()
    for number in range(MOST_NAMES + 50):
        tally.end(f"source {number}", RunStatus.COMPLETED, Usage(), waited=0.0)
    assert len(tally.ended) == MOST_NAMES + 1
    assert tally.ended["other", "completed"] == 50
