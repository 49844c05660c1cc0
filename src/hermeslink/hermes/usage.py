"""What a run of an API server used, out of what it says of the run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RemoteUsage:
    """With what the run delegated to others. `model` is empty where the server does not name it."""

    model: str
    input_tokens: int
    output_tokens: int
    cost_usd: float | None


def usage_of(run: Mapping[str, Any], usage: object = None) -> RemoteUsage:
    """`run` is the run's object; `usage` that of its last event, which counts where the object has none."""
    own = _mapping(run.get("usage")) or _mapping(usage)
    parts = [own, _mapping(run.get("delegated_usage"))]
    costs = [cost for part in parts if (cost := _cost(part.get("cost_usd"))) is not None]
    model = run.get("model")
    return RemoteUsage(
        model if isinstance(model, str) else "",
        sum(_tokens(part, "input_tokens", "prompt_tokens") for part in parts),
        sum(_tokens(part, "output_tokens", "completion_tokens") for part in parts),
        sum(costs) if costs else None,
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _tokens(usage: Mapping[str, Any], *names: str) -> int:
    for name in names:
        value = usage.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53:
            return value
    return 0


def _cost(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        return None
    return float(value)
