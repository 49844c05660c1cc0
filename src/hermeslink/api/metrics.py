"""GET /metrics: what was counted (`hermes.core.tally`), in the format of Prometheus. For this machine, or an admin.

Names and labels come from this program, never from a request.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from hermes.core.tally import Histogram, HttpTally
from hermes.store.database import Database
from hermeslink import __version__
from hermeslink.api.dependencies import TheLink

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

router = APIRouter(tags=["metrics"])


@router.get("/metrics", response_class=PlainTextResponse)
async def show_metrics(request: Request, link: TheLink) -> Response:
    """Numbers of this process for Prometheus: requests, streams, the store, memory. Counters begin at zero with each
    start of Link."""
    process = await asyncio.to_thread(_process)  # the import takes tens of milliseconds, once
    return Response(_text(request.app.state.http, link.database, process), media_type=CONTENT_TYPE)


@cache
def _process() -> CollectorRegistry:
    """CPU, memory, open files and start of the process, where the system tells them."""
    from prometheus_client import CollectorRegistry, ProcessCollector

    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    return registry


def _text(http: HttpTally, database: Database, process: CollectorRegistry) -> bytes:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.registry import Collector

    class Everything(Collector):
        def collect(self) -> Iterator[Metric]:
            yield from _http(http)
            yield _gauge("hermeslink_store_queue", "Writes that wait.", database.queue_depth)
            yield _histogram(
                "hermeslink_store_write_seconds", "From asking for a write to its commit.", database.tally.write
            )
            yield from list(process.collect())

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Everything())
    return generate_latest(registry)


def _http(http: HttpTally) -> Iterator[Metric]:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

    build = GaugeMetricFamily("hermeslink_build_info", "Versions.", labels=("version", "python"))
    build.add_metric((__version__, platform.python_version()), 1)
    yield build
    requests = CounterMetricFamily("hermeslink_http_requests", "Requests.", labels=("route", "method", "status"))
    for (route, method, status), count in sorted(http.requests.items()):
        requests.add_metric((route, method, str(status)), count)
    yield requests
    yield _gauge("hermeslink_sse_clients", "Streams of server-sent events that are open.", http.streams)


def _gauge(name: str, text: str, value: float) -> Metric:
    from prometheus_client.metrics_core import GaugeMetricFamily

    return GaugeMetricFamily(name, text, value)


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    from prometheus_client.metrics_core import HistogramMetricFamily

    count = 0
    buckets = []
    for bound, here in zip((*histogram.bounds, "+Inf"), tuple(histogram.counts), strict=True):
        count += here
        buckets.append((str(bound), float(count)))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=histogram.total)
