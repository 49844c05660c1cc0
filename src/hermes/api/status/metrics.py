"""GET /metrics: what was counted (`hermes.core.tally`), in the format of Prometheus.

Counting is plain additions where things happen; prometheus_client is imported when somebody asks for the first time,
and only writes the text. Names and labels come from this program, never from a request.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from hermes.api.documented import documented
from hermes.api.services import Services
from hermes.api.status.health import nodes_of, rss_bytes
from hermes.core.tally import Histogram
from hermes.runs.node_object import STATES

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
TOKENS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write": "cache_write_tokens",
    "reasoning": "reasoning_tokens",
}


@documented(media_type="text/plain")
async def show(request: Request, services: Services) -> Response:
    """Numbers of this process for Prometheus: runs, tokens, waiting times, the store, requests, memory.

    Counters begin at zero with each start of the gateway.
    """
    process = await asyncio.to_thread(_process)  # the import takes tens of milliseconds, once
    return Response(_text(services, process, await nodes_of(services)), media_type=CONTENT_TYPE)


@cache
def _process() -> CollectorRegistry:
    """CPU, memory, open files and start of the process, where the system tells them."""
    from prometheus_client import CollectorRegistry, ProcessCollector

    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    return registry


def _text(services: Services, process: CollectorRegistry, nodes: Sequence[Mapping[str, Any]] | None) -> bytes:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.registry import Collector

    class Everything(Collector):
        def collect(self) -> Iterator[Metric]:
            yield from _runs(services)
            yield from _server(services)
            if nodes is not None:
                yield _nodes(nodes)
            seen = list(process.collect())
            yield from seen
            if not any(metric.name == "process_resident_memory_bytes" for metric in seen):
                yield _gauge("process_resident_memory_bytes", "Resident memory size in bytes.", rss_bytes())

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Everything())
    return generate_latest(registry)


def _runs(services: Services) -> Iterator[Metric]:
    from prometheus_client.metrics_core import CounterMetricFamily

    tally, runner = services.runs, services.runner
    ended = CounterMetricFamily("hermes_runs", "Runs that have ended.", labels=("source", "end"))
    for labels, count in sorted(tally.ended.items()):
        ended.add_metric(labels, count)
    yield ended
    yield _gauge("hermes_runs_running", "Runs that go on now.", runner.active - runner.queued)
    yield _gauge("hermes_runs_queued", "Runs that wait for their session or a free place.", runner.queued)
    tokens = CounterMetricFamily("hermes_tokens", "Tokens of runs that have ended.", labels=("kind",))
    for kind, name in TOKENS.items():
        tokens.add_metric((kind,), getattr(tally.usage, name))
    yield tokens
    yield CounterMetricFamily(
        "hermes_model_calls", "Calls of the model by runs that have ended.", tally.usage.api_calls
    )
    yield CounterMetricFamily(
        "hermes_cost_usd", "What runs that have ended cost, where prices are known.", tally.usage.cost_usd or 0.0
    )
    yield _histogram("hermes_first_token_seconds", "From a request to the model's first text.", tally.first_token)
    yield _histogram(
        "hermes_overhead_seconds", "From a request to the first call of the model, without waiting.", tally.overhead
    )
    yield _histogram("hermes_queue_wait_seconds", "How long runs waited in line.", tally.queue_wait)


def _server(services: Services) -> Iterator[Metric]:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

    build = GaugeMetricFamily("hermes_build_info", "Versions.", labels=("version", "python"))
    build.add_metric((services.version, platform.python_version()), 1)
    yield build
    requests = CounterMetricFamily("hermes_http_requests", "Requests.", labels=("route", "method", "status"))
    for (route, method, status), count in sorted(services.http.requests.items()):
        requests.add_metric((route, method, str(status)), count)
    yield requests
    yield _gauge("hermes_sse_clients", "Streams of server-sent events that are open.", services.http.streams)
    if services.database is not None:
        yield _histogram(
            "hermes_store_write_seconds", "From asking for a write to its commit.", services.database.tally.write
        )
        yield _gauge("hermes_store_queue", "Writes that wait.", services.database.queue_depth)


def _nodes(nodes: Sequence[Mapping[str, Any]]) -> Metric:
    from prometheus_client.metrics_core import GaugeMetricFamily

    family = GaugeMetricFamily("hermes_nodes", "Nodes that share the database.", labels=("state",))
    for state in STATES:
        family.add_metric((state,), sum(1 for node in nodes if node["state"] == state))
    return family


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
