from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.core.errors import Busy
from hermes.runs.line import Line, Place


async def test_a_session_runs_one_at_a_time_in_the_order_of_joining():
    line = Line(max_running=8)
    places = [line.join("s", "owner") for _ in range(3)]
    assert [place.is_running for place in places] == [True, False, False]
    line.leave(places[0])
    assert [place.is_running for place in places] == [False, True, False]
    line.leave(places[1])
    await line.wait(places[2])
    assert places[2].is_running


async def test_free_slots_go_round_the_owners():
    line = Line(max_running=1)
    first = line.join("s0", "busy")
    waiting = [line.join(f"b{n}", "busy") for n in range(3)] + [line.join("q1", "quiet")]
    served: list[str] = []
    running = first
    for _ in range(4):
        line.leave(running)
        running = next(place for place in waiting if place.is_running)
        served.append(running.owner)
        waiting.remove(running)
    assert served == ["busy", "quiet", "busy", "busy"]


async def test_a_full_line_says_so_and_names_the_settings():
    line = Line(max_running=1, max_waiting=1)
    line.join("a", "o")
    line.join("b", "o")
    with pytest.raises(Busy, match="max_queued_runs") as refused:
        line.join("c", "o")
    assert refused.value.retry_after_seconds > 0


async def test_who_gives_up_in_the_line_does_not_hold_the_pen_or_a_slot():
    line = Line(max_running=1)
    first, second, third = (line.join("s", "o") for _ in range(3))
    line.leave(second)
    line.leave(first)
    assert third.is_running
    line.leave(third)
    assert (line.running, line.waiting) == (0, 0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.booleans(), st.integers(0, 20))))
def test_slots_and_pens_are_never_given_twice_and_never_lost(steps: list[tuple[str, str, bool, int]]):
    async def play() -> None:
        line = Line(max_running=2, max_waiting=5)
        places: list[Place] = []
        for session, owner, joins, pick in steps:
            if joins or not places:
                try:
                    places.append(line.join(session, owner))
                except Busy:
                    assert line.waiting == 5
            else:
                line.leave(places.pop(pick % len(places)))
            running = [place for place in places if place.is_running]
            assert line.running == len(running) <= 2
            assert line.waiting == len(places) - len(running)
            assert len({place.session_id for place in running}) == len(running)
            startable = {place.session_id for place in places} - {place.session_id for place in running}
            assert not startable or len(running) == 2
        for place in places:
            line.leave(place)
        assert (line.running, line.waiting) == (0, 0)

    asyncio.run(play())
