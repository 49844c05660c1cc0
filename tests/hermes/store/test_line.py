"""Whose turn it is, from the rows of open runs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hermes.store.line import Standing, may_begin


def line(*runs: str) -> list[Standing]:
    """`a/s1` waits, `A/s1` runs: an owner and a session, in the order in which they came."""
    parts = [run.split("/") for run in runs]
    return [
        Standing(f"{number}", session, owner.lower(), owner.islower(), float(number))
        for number, (owner, session) in enumerate(parts)
    ]


def test_a_session_that_is_busy_lets_nobody_begin_and_an_idle_one_its_first():
    assert may_begin(line("A/s1", "a/s1", "a/s2", "a/s2", "a/s3"), max_running=9) == ["2", "4"]


def test_a_place_goes_to_the_owner_with_the_fewest_runs_and_then_to_the_oldest():
    waiting = line("A/s1", "a/s2", "a/s3", "b/s4", "b/s5", "c/s6")
    assert may_begin(waiting, max_running=4) == ["3", "5", "1"]


def test_one_place_goes_round_the_owners_and_to_the_oldest_run_of_each():
    waiting = line("a/s1", "a/s2", "a/s3", "b/s4", "b/s5", "c/s6")
    owners = {one.run_id: one.owner for one in waiting}
    begun, last_owner = [], ""
    while waiting:
        [run_id] = may_begin(waiting, 1, last_owner)
        begun.append(run_id)
        waiting, last_owner = [one for one in waiting if one.run_id != run_id], owners[run_id]
    assert begun == ["0", "3", "5", "1", "4", "2"]


def test_nobody_begins_where_no_place_is_free():
    assert may_begin(line("A/s1", "B/s2", "c/s3"), max_running=2) == []
    assert may_begin([], max_running=2) == []


@given(st.lists(st.sampled_from(["a/1", "a/2", "b/3", "b/1", "c/4", "A/5", "B/6"]), max_size=12), st.integers(1, 6))
def test_never_two_of_a_session_never_too_many_and_no_place_left_free_in_vain(runs: list[str], max_running: int):
    standing = line(*dict.fromkeys(run for run in runs if run[0].isupper()), *[run for run in runs if run[0].islower()])
    running = [one for one in standing if not one.is_queued]
    by_id = {one.run_id: one for one in standing}
    chosen = [by_id[run_id] for run_id in may_begin(standing, max_running)]
    sessions = [one.session_id for one in (*running, *chosen)]
    assert len(sessions) == len(set(sessions))
    assert len(running) + len(chosen) <= max(max_running, len(running))
    could = {one.session_id for one in standing if one.is_queued} - {one.session_id for one in running}
    assert len(chosen) == min(len(could), max(0, max_running - len(running)))
