"""Rows of the table: what was measured, beside its budget and the bare relay."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Row:
    """One figure over some repetitions. `budget` is None where there is none; `is_floor`: more is better. `relay`: the
    same of what it is held against in the same run.
    """

    name: str
    unit: str
    budget: float | None = None
    is_floor: bool = False
    ours: list[float] = field(default_factory=list)
    relay: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def figure(self) -> float:
        return statistics.median(self.ours)

    @property
    def verdict(self) -> str:
        if not self.ours:
            return "not measured"
        if self.budget is None:
            return ""
        factor = self.budget / self.figure if self.is_floor else self.figure / self.budget
        return "hit" if factor <= 1 else f"**missed, ×{factor:.3g}**"


def markdown(rows: Sequence[Row], against: str = "bare relay") -> str:
    lines = [f"| what | budget | ours | {against} | |", "|---|---|---|---|---|"]
    for row in rows:
        sign = "≥" if row.is_floor else "≤"
        budget = f"{sign} {number(row.budget)} {row.unit}" if row.budget is not None else ""
        verdict = "; ".join(part for part in (row.verdict, row.note) if part)
        ours, relay = spread(row.ours, row.unit), spread(row.relay, row.unit)
        lines.append(f"| {row.name} | {budget} | {ours} | {relay} | {verdict} |")
    return "\n".join(lines)


def spread(values: Sequence[float], unit: str) -> str:
    """The median, and from where to where the repetitions went."""
    if not values:
        return ""
    median = f"{number(statistics.median(values))} {unit}"
    if len(values) == 1:
        return median
    return f"{median} ({number(min(values))}–{number(max(values))})"


def number(value: float | None) -> str:
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
