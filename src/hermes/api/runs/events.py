"""GET /v1/runs/{run_id}/events: the run's own stream (spec: api-server section 5)."""

from __future__ import annotations

import re

import orjson
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from hermes.api import sse
from hermes.api.documented import documented
from hermes.api.errors import error_envelope
from hermes.api.runs.documentation import RunEventsQuery
from hermes.api.runs.path import run_of
from hermes.api.services import Services
from hermes.core import event as events_of_run
from hermes.core.errors import Draining, HermesError, InvalidInput
from hermes.core.event import KeptEvent, event_data, is_final
from hermes.core.run import Run

_SEQ = re.compile(r"[0-9]{1,15}\Z")

CLOSED = b": stream closed\n\n"


@documented(query=RunEventsQuery, media_type="text/event-stream", errors=("run_not_found",))
async def events(request: Request, services: Services) -> ASGIApp:
    """Read a run's events, from the first or behind one that was seen.

    Server-sent events with `id: <seq>` and `data: {"event", "run_id", "seq", "timestamp", …}`. Any number of readers,
    during and after the run: each gets every event once, in order, then `: stream closed`. A reader that was cut off
    goes on with `Last-Event-ID`. docs/reference/events.md lists the events.
    """
    after = _after(request)
    run = await run_of(request, services)
    return RunEvents(services, run, after)


class RunEvents:
    """The run's own stream: every event behind `after`, once, in order, for any number of readers."""

    def __init__(self, services: Services, run: Run, after: int) -> None:
        self.services = services
        self.run = run
        self.after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services = self.services
        has_run_ended = self.run.status.is_final
        async with sse.Feed(services.runner.follow(self.run.id, self.after), receive, services.stop) as feed:
            await sse.begin(send, sse.HEADERS)
            await sse.write(send, b": run events\n\n")
            while not feed.is_disconnected:
                try:
                    batch = await feed.next(services.settings.keepalive_seconds)
                except Exception as error:  # noqa: BLE001 it is too late for a status
                    await sse.write(send, _error(sse.told(error, self.run.id)))
                    break
                if batch:
                    has_run_ended = is_final(batch[-1].event)
                    await sse.write(send, b"".join([event_bytes(self.run.id, kept) for kept in batch]))
                elif feed.has_ended and (has_run_ended or services.state() != "draining"):
                    await sse.write(send, CLOSED)
                    break
                elif feed.has_ended or feed.is_stopping:  # it is parked, and goes on when the gateway is back
                    await sse.write(send, _error(Draining("the gateway is stopping; read on from Last-Event-ID")))
                    break
                elif not feed.is_disconnected:
                    await sse.write(send, sse.KEEP_ALIVE)
            if not feed.is_disconnected:
                await sse.write(send, b"", is_last=True)


def event_bytes(run_id: str, kept: KeptEvent) -> bytes:
    data = event_data(kept.event)
    if isinstance(kept.event, events_of_run.ApprovalRequested):
        data["request_id"] = kept.event.approval_id
    body = {"event": kept.event.name, "run_id": run_id, "seq": kept.seq, "timestamp": kept.timestamp, **data}
    return b"id: %d\ndata: %b\n\n" % (kept.seq, orjson.dumps(body))


def _error(error: HermesError) -> bytes:
    return b"event: error\ndata: " + orjson.dumps(error_envelope(error)) + b"\n\n"


def _after(request: Request) -> int:
    """The greater of the two: a client that is cut off comes again to the same URL, `after` and all, and says in the
    header how far it has got since.
    """
    in_query, in_header = request.query_params.get("after"), request.headers.get("Last-Event-ID")
    return max(_number(in_query, "after"), _number(in_header, "Last-Event-ID"))


def _number(sent: str | None, name: str) -> int:
    if not sent:
        return 0
    if _SEQ.match(sent) is None:
        raise InvalidInput(f"{name} must be the number of an event", param=name)
    return int(sent)
