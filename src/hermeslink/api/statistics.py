"""How much there is, and what was used."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, WithJsonSchema

from hermeslink.api.bodies import Answer
from hermeslink.api.dependencies import TheLink
from hermeslink.core.times import iso
from hermeslink.store.usage import Sum, Usage
from hermeslink.usage.days import MOST, USUAL, Days
from hermeslink.usage.statistics import Statistics

router = APIRouter(prefix="/api/v1", tags=["statistics"])

DayCount = Annotated[
    str | None,
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL}),
    Query(description="How many days, today the last of them."),
]
Day = Annotated[str, WithJsonSchema({"type": "string", "format": "date"})]
Profile = Annotated[str | None, Query(description="Only of this profile.")]


class Total(BaseModel):
    total: int


class Offered(BaseModel):
    """Null: the API server, which knows, does not answer."""

    total: int | None


class ConversationCounts(Total):
    active: int = Field(description="Those that are not archived.")


class BlobCounts(Total):
    bytes: int = Field(description="On the disk, where equal contents lie once.")


class Counts(BaseModel):
    """Messages and runs are all that ended so far; the others are those that are there."""

    conversations: ConversationCounts
    messages: Total
    runs: Total
    models: Offered
    skills: Offered
    tools: Offered
    profiles: Total
    devices: Total
    blobs: BlobCounts


class StatisticsAnswer(Answer):
    statistics: Counts


class Range(BaseModel):
    """Both days count. They are UTC's."""

    first: str = Field(serialization_alias="from")
    last: str = Field(serialization_alias="to")
    days: int


class Sums(BaseModel):
    """`cost_usd` null: no run's cost is known."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    message_count: int
    run_count: int
    conversation_count: int
    cost_usd: float | None


class Totals(Sums):
    model_count: int


class DaySums(Sums):
    date: str


class ModelSums(Sums):
    model: str


class ProfileSums(Sums):
    profile: str


class UsageView(BaseModel):
    range: Range
    totals: Totals
    daily: list[DaySums] = Field(description="Every day of the range.")
    models: list[ModelSums] = Field(description="The 12 with the most tokens.")
    profiles: list[ProfileSums] = Field(description="The 12 with the most tokens.")
    updated_at: str | None


class UsageAnswer(Answer):
    usage: UsageView


@router.get("/statistics")
async def show(link: TheLink, profile: Profile = None) -> StatisticsAnswer:
    """How much there is."""
    return StatisticsAnswer(statistics=counts_view(await link.statistics.read(profile)))


@router.get("/statistics/usage")
async def show_usage(
    link: TheLink,
    days: DayCount = None,
    first: Annotated[Day | None, Query(alias="from", description="The first day.")] = None,
    last: Annotated[Day | None, Query(alias="to", description="The last day, today where it is left out.")] = None,
    model: Annotated[str | None, Query(description="Only of this model.")] = None,
    profile: Profile = None,
) -> UsageAnswer:
    """What runs used, day by day, those of conversations and direct ones."""
    asked = link.usage.days(days, first, last)
    return UsageAnswer(usage=usage_view(asked, await link.usage.read(asked, model=model, profile=profile)))


def counts_view(found: Statistics) -> Counts:
    stored, offered = found.stored, found.offered
    return Counts(
        conversations=ConversationCounts(total=stored.conversations, active=stored.active_conversations),
        messages=Total(total=stored.messages),
        runs=Total(total=stored.runs),
        models=_offered(offered.models),
        skills=_offered(offered.skills),
        tools=_offered(offered.tools),
        profiles=Total(total=found.profiles),
        devices=Total(total=stored.devices),
        blobs=BlobCounts(total=stored.blobs, bytes=stored.blob_bytes),
    )


def usage_view(asked: Days, found: Usage) -> UsageView:
    nothing = Sum()
    dates = [day.isoformat() for day in asked]
    return UsageView(
        range=Range(first=dates[0], last=dates[-1], days=asked.count),
        totals=Totals(**_sums(found.totals), model_count=found.model_count),
        daily=[DaySums(date=date, **_sums(found.days.get(date, nothing))) for date in dates],
        models=[ModelSums(model=name, **_sums(sums)) for name, sums in found.models.items()],
        profiles=[ProfileSums(profile=name, **_sums(sums)) for name, sums in found.profiles.items()],
        updated_at=iso(found.updated_at),
    )


def _offered(names: frozenset[str] | None) -> Offered:
    return Offered(total=None if names is None else len(names))


def _sums(sums: Sum) -> dict[str, int | float | None]:
    return {
        "input_tokens": sums.input_tokens,
        "output_tokens": sums.output_tokens,
        "total_tokens": sums.input_tokens + sums.output_tokens,
        "message_count": sums.message_count,
        "run_count": sums.run_count,
        "conversation_count": sums.conversation_count,
        "cost_usd": sums.cost_usd,
    }
