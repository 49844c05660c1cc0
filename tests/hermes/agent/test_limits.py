from __future__ import annotations

import pytest

from hermes.agent.limits import Meter
from hermes.core.errors import LimitReached
from hermes.core.run import Limits, Usage
from tests.support.clock import FakeClock


@pytest.mark.parametrize(
    ("limits", "used", "limit"),
    [
        (Limits(max_steps=2), Usage(api_calls=2), "max_steps"),
        (Limits(max_tokens=100), Usage(input_tokens=60, output_tokens=40), "max_tokens"),
        (Limits(max_usd=0.5), Usage(cost_usd=0.5), "max_usd"),
    ],
)
def test_a_step_beyond_a_limit_is_refused_by_name(limits: Limits, used: Usage, limit: str):
    meter = Meter(limits, FakeClock())
    meter.before_step()
    meter.add(used)
    with pytest.raises(LimitReached, match=f"{limit}=") as reached:
        meter.before_step()
    assert reached.value.limit == limit


def test_time_runs_from_the_first_moment():
    clock = FakeClock()
    meter = Meter(Limits(max_seconds=10), clock)
    clock.advance(9)
    meter.before_step()
    assert meter.seconds_left == 1
    clock.advance(1)
    with pytest.raises(LimitReached, match="max_seconds=10"):
        meter.before_step()
