"""What runs used: added up by day, profile and model when a run ends, so that reading costs as much as there are days.

`record` stands in the transaction that ends the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, distinct, func, literal, select
from sqlalchemy.dialects.sqlite import insert

from hermes.store.database import Connection
from hermeslink.core.usage import Used as Used
from hermeslink.store.schema import usage_conversations, usage_days, usage_runs

By = Literal["day", "model", "profile"]


@dataclass(frozen=True, slots=True)
class Sum:
    """`cost_usd` None: not known of any run. `conversation_count` has those whose runs were in the time asked for."""

    input_tokens: int = 0
    output_tokens: int = 0
    message_count: int = 0
    run_count: int = 0
    conversation_count: int = 0
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    totals: Sum
    model_count: int
    updated_at: float | None
    days: Mapping[str, Sum] = field(default_factory=dict)
    models: Mapping[str, Sum] = field(default_factory=dict)
    """The ones with the most tokens, in that order."""
    profiles: Mapping[str, Sum] = field(default_factory=dict)


def record(conn: Connection, used: Used) -> bool:
    """Whether it counts: a run does so once, whoever tells of it again."""
    once = insert(usage_runs).values(run_id=used.run_id, at=used.at).on_conflict_do_nothing()
    if not conn.execute(once).rowcount:
        return False
    key = {"day": day_of(used.at), "profile": used.profile, "model": used.model}
    row = insert(usage_days).values(
        **key,
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        message_count=used.messages,
        run_count=1,
        cost_usd=used.cost_usd,
        updated_at=used.at,
    )
    old, new = usage_days.c, row.excluded
    added: dict[str, ColumnElement[Any]] = {
        name: old[name] + new[name] for name in ("input_tokens", "output_tokens", "message_count", "run_count")
    }
    cost = func.coalesce(old.cost_usd + new.cost_usd, old.cost_usd, new.cost_usd)
    latest = func.max(old.updated_at, new.updated_at)
    conn.execute(
        row.on_conflict_do_update(index_elements=list(key), set_=added | {"cost_usd": cost, "updated_at": latest})
    )
    if used.conversation_id is not None:
        held = insert(usage_conversations).values(**key, conversation_id=used.conversation_id)
        conn.execute(held.on_conflict_do_nothing())
    return True


def read(
    conn: Connection, first_day: str, last_day: str, *, model: str | None = None, profile: str | None = None, most: int
) -> Usage:
    """Of the days from first to last; `most` models and profiles. Days on which nothing was used are left out."""
    wanted = _Wanted(first_day, last_day, model, profile)
    model_count, updated_at = conn.execute(
        select(func.count(distinct(usage_days.c.model)), func.max(usage_days.c.updated_at)).where(wanted.of(usage_days))
    ).one()
    return Usage(
        totals=_sums(conn, wanted, None).get("", Sum()),
        model_count=model_count,
        updated_at=updated_at,
        days=_sums(conn, wanted, "day"),
        models=_sums(conn, wanted, "model", most),
        profiles=_sums(conn, wanted, "profile", most),
    )


def day_of(at: float) -> str:
    """Such as 2026-11-22: days are UTC's."""
    return datetime.fromtimestamp(at, UTC).date().isoformat()


@dataclass(frozen=True, slots=True)
class _Wanted:
    first_day: str
    last_day: str
    model: str | None
    profile: str | None

    def of(self, table: Any) -> ColumnElement[bool]:
        asked = [table.c.day.between(self.first_day, self.last_day)]
        if self.model is not None:
            asked.append(table.c.model == self.model)
        if self.profile is not None:
            asked.append(table.c.profile == self.profile)
        return and_(*asked)


def _sums(conn: Connection, wanted: _Wanted, by: By | None, most: int | None = None) -> dict[str, Sum]:
    """By name, those with the most tokens first. `by` None: all together, under an empty name."""
    held = _conversation_counts(conn, wanted, by)
    days = usage_days.c
    name = literal("") if by is None else days[by]
    tokens = func.sum(days.input_tokens + days.output_tokens)
    sums = (
        select(
            name,
            func.sum(days.input_tokens),
            func.sum(days.output_tokens),
            func.sum(days.message_count),
            func.sum(days.run_count),
            func.sum(days.cost_usd),
        )
        .where(wanted.of(usage_days))
        .group_by(name)
        .order_by(tokens.desc(), name)
        .limit(most)
    )
    return {
        key: Sum(input_tokens, output_tokens, messages, runs, held.get(key, 0), cost)
        for key, input_tokens, output_tokens, messages, runs, cost in conn.execute(sums)
    }


def _conversation_counts(conn: Connection, wanted: _Wanted, by: By | None) -> dict[str, int]:
    table = usage_conversations
    name = literal("") if by is None else table.c[by]
    counts = select(name, func.count(distinct(table.c.conversation_id))).where(wanted.of(table)).group_by(name)
    return {row[0]: row[1] for row in conn.execute(counts)}
