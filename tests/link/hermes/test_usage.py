"""What a run used, out of what API servers say of it."""

from __future__ import annotations

from typing import Any

import pytest

from hermeslink.hermes.usage import RemoteUsage, usage_of

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")


@pytest.mark.parametrize(
    ("run", "event", "used"),
    [
        (
            {"model": "m", "usage": {"input_tokens": 7, "output_tokens": 3, "cost_usd": 0.5}},
            None,
            RemoteUsage("m", 7, 3, 0.5),
        ),
        (
            {
                "model": "m",
                "usage": {"input_tokens": 7, "output_tokens": 3, "cost_usd": None},
                "delegated_usage": {"input_tokens": 10, "output_tokens": 1, "cost_usd": 0.25},
            },
            None,
            RemoteUsage("m", 17, 4, 0.25),
        ),
        ({"usage": None}, {"prompt_tokens": 2, "completion_tokens": 1}, RemoteUsage("", 2, 1, None)),
        (
            {"model": 1, "usage": {"input_tokens": -1, "output_tokens": True, "cost_usd": "much"}},
            "none",
            RemoteUsage("", 0, 0, None),
        ),
    ],
)
def test_usage_is_summed_up_with_what_was_delegated(run: dict[str, Any], event: object, used: RemoteUsage) -> None:
    assert usage_of(run, event) == used
