"""/metrics: what was counted, in a format that Prometheus reads, with names that no client chooses."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hermes.core.run import RunStatus, Usage
from hermes.store.database import Database
from tests.support.api import AUTH, FakeRunner, Server, hello, make_services, serving
from tests.support.database import new_url

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def scrape(server: Server) -> Samples:
    answer = await server.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def of(samples: Samples, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    return {labels: value for (own, labels), value in samples.items() if own == name}


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    opened = await Database.open(new_url())
    yield opened
    await opened.close()


async def test_runs_tokens_and_times_are_told_as_they_were_counted() -> None:
    services = make_services(FakeRunner(active=5, queued=2))
    usage = Usage(100, 50, cache_read_tokens=40, reasoning_tokens=7, api_calls=3, cost_usd=0.25)
    services.runs.end("cron", RunStatus.COMPLETED, usage, waited=0.0, overhead=0.002, first_token=0.3)
    services.runs.end("api", RunStatus.INTERRUPTED, Usage(), waited=20.0)
    async with serving(services) as server:
        samples = await scrape(server)
    assert of(samples, "hermes_runs_total") == {
        (("end", "completed"), ("source", "cron")): 1,
        (("end", "interrupted"), ("source", "api")): 1,
    }
    assert of(samples, "hermes_runs_running") == {(): 3}
    assert of(samples, "hermes_runs_queued") == {(): 2}
    assert {labels[0][1]: value for labels, value in of(samples, "hermes_tokens_total").items()} == {
        "input": 100,
        "output": 50,
        "cache_read": 40,
        "cache_write": 0,
        "reasoning": 7,
    }
    assert (of(samples, "hermes_model_calls_total"), of(samples, "hermes_cost_usd_total")) == ({(): 3}, {(): 0.25})
    assert of(samples, "hermes_first_token_seconds_sum") == {(): 0.3}
    assert of(samples, "hermes_overhead_seconds_bucket")[("le", "0.001"),] == 0
    assert of(samples, "hermes_overhead_seconds_bucket")[("le", "0.0025"),] == 1
    assert of(samples, "hermes_overhead_seconds_bucket")[("le", "+Inf"),] == 1
    assert of(samples, "hermes_queue_wait_seconds_count") == {(): 2}


async def test_the_store_and_the_process_are_told(database: Database) -> None:
    async with serving(make_services(database=database)) as server:
        for _ in range(3):
            await database.write(lambda conn: None)
        samples = await scrape(server)
    assert of(samples, "hermes_store_write_seconds_count") == {(): 3}
    assert of(samples, "hermes_store_queue") == {(): 0}
    assert 10e6 < of(samples, "process_resident_memory_bytes")[()] < 2e9
    assert of(samples, "process_cpu_seconds_total")[()] > 0
    [labels] = of(samples, "hermes_build_info")
    assert dict(labels) == {"version": "1.2.3", "python": sys.version.split()[0]}


async def test_requests_are_counted_by_route_and_never_by_what_was_asked_for() -> None:
    async with serving(make_services()) as server:
        secret = "sk-verysecret0123456789"
        for number in range(40):
            await server.client.get(f"/v1/models/{secret}-{number}")
            await server.client.get(f"/{secret}/{number}")
        await server.client.request("PROPFIND", "/v1/models")
        await server.client.get("/v1/models", headers={"Authorization": f"Bearer {secret}"})
        await server.client.options("/v1/models")
        samples = await scrape(server)
        text = (await server.client.get("/metrics")).text
    assert secret not in text
    counted = of(samples, "hermes_http_requests_total")
    assert {tuple(value for _, value in labels): count for labels, count in counted.items()} == {
        ("GET", "/v1/models/{model_id}", "404"): 40,
        ("GET", "other", "404"): 40,
        ("GET", "other", "401"): 1,
        ("other", "/v1/models", "405"): 1,
        ("OPTIONS", "/v1/models", "204"): 1,
    }


async def test_open_streams_are_counted_until_they_end() -> None:
    hold = asyncio.Event()
    runner = FakeRunner(script=[*hello("Hi")[:2], hold, *hello("Hi")[2:]])
    async with serving(make_services(runner)) as server:
        body = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
        async with server.client.stream("POST", "/v1/chat/completions", json=body) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            assert of(await scrape(server), "hermes_sse_clients") == {(): 1}
            hold.set()
            async for _ in lines:
                pass
        await server.chat()  # a plain answer is no stream
        assert of(await scrape(server), "hermes_sse_clients") == {(): 0}


async def test_it_needs_a_key_that_may_read(server: Server) -> None:
    assert (await server.client.get("/metrics", headers={"Authorization": ""})).status_code == 401
    assert (await server.client.head("/metrics", headers=AUTH)).status_code == 200


def test_a_start_does_not_import_what_only_a_scrape_needs() -> None:
    code = (
        "import sys, hermes.gateway.serve, hermes.app, hermes.api.app, hermes.api.routes, hermes.api.status.checks\n"
        "print([name for name in sys.modules if name.startswith('prometheus')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
