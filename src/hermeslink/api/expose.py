"""Link reachable from elsewhere (spec: link-api, section 6)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from hermes.expose.exposure import Exposure
from hermes.expose.probe import Probe
from hermes.expose.state import State
from hermes.expose.tailscale import Mount
from hermeslink.api.bodies import Body, CamelAnswer, CamelView
from hermeslink.api.dependencies import TheCaller, TheLink
from hermeslink.core.times import iso

router = APIRouter(prefix="/api/v1/expose", tags=["expose"])

USUAL_SECONDS = 7200


class ExposureView(CamelView):
    """`public`: for everybody, else for the tailnet alone. `until` is null where it has no end."""

    url: str
    via: str
    public: bool
    started_at: str
    until: str | None

    @classmethod
    def of(cls, found: Exposure) -> ExposureView:
        return cls(
            url=found.url,
            via=found.via.value,
            public=found.via.is_public,
            started_at=iso(found.started_at),
            until=None if found.until is None else iso(found.until),
        )


class ByHandView(CamelView):
    """What somebody set up at Tailscale that leads here. `raw`: bytes that are passed on unread, which nobody should
    do: whoever sends them looks like this machine."""

    url: str
    public: bool
    raw: bool

    @classmethod
    def of(cls, mount: Mount) -> ByHandView:
        return cls(url=mount.url, public=mount.is_public, raw=mount.is_raw)


class ExposeAnswer(CamelAnswer):
    """`url`: the best there is, null where nothing is published. `answers`: whether it did when it was asked by that
    address; null when it was not asked. `problem`: why not."""

    exposed: bool
    url: str | None
    exposure: ExposureView | None
    by_hand: list[ByHandView]
    answers: bool | None = None
    problem: str | None = None


class ClosedAnswer(CamelAnswer):
    """`closed`: the address that is closed now; null where nothing was published."""

    exposed: bool
    closed: str | None
    by_hand: list[ByHandView]


class Exposing(Body):
    via: str = Field("tailscale", description="tailscale, tailscale-serve or cloudflared.")
    seconds: int | None = Field(USUAL_SECONDS, description="For how long; null until it is taken back.")


@router.get("")
async def show_exposure(
    link: TheLink,
    probe: Annotated[bool, Query(description="Ask by the public address whether it answers.")] = False,
) -> ExposeAnswer:
    """What is published."""
    state = await link.exposing.state()
    return answer_of(state, await link.exposing.probe(state.url) if probe and state.url else None)


@router.post("")
async def expose(link: TheLink, caller: TheCaller, wanted: Exposing | None = None) -> ExposeAnswer:
    """Publishes this Link, for two hours unless told otherwise."""
    wanted = wanted or Exposing.model_validate({})
    found = await link.exposing.open(caller, wanted.via, wanted.seconds)
    return answer_of(await link.exposing.state(), await link.exposing.probe(found.url))


@router.delete("")
async def take_back(link: TheLink, caller: TheCaller) -> ClosedAnswer:
    """Closes what was published this way. What was set up by hand is left as it is."""
    closed = await link.exposing.close(caller)
    state = await link.exposing.state()
    by_hand = [ByHandView.of(mount) for mount in state.by_hand]
    return ClosedAnswer(exposed=state.url is not None, closed=closed and closed.url, by_hand=by_hand)


def answer_of(state: State, probe: Probe | None) -> ExposeAnswer:
    return ExposeAnswer(
        exposed=state.url is not None,
        url=state.url,
        exposure=None if state.exposure is None else ExposureView.of(state.exposure),
        by_hand=[ByHandView.of(mount) for mount in state.by_hand],
        answers=None if probe is None else probe.has_answered,
        problem=None if probe is None else probe.problem or None,
    )
