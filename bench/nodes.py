"""What durability and many nodes cost: `python -m bench nodes`. Each figure stands beside another of the same run."""

from __future__ import annotations

import http.client
import json
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from bench.load import Seen
from bench.postgres import Postgres, postgres
from bench.servers import Gateway, Home, Server, Upstream, load, load_all
from bench.table import Row

TURN = "bench:tokens=20"
STREAMS = 24
"""Over all nodes together."""
CAP = 64
"""Runs at once: more than STREAMS, so that nobody waits in line."""
DURABLE = {"X-Hermes-Detach": "true"}
TAKEOVER_BUDGET_SECONDS = 10.0
LIVE_BUDGET_MS = 100.0
STAMP = re.compile(r"@(\d+\.\d{6})")


@dataclass(frozen=True)
class Effort:
    """`times` each, `seconds` a load; so many runs are followed on another node, and so many nodes killed."""

    times: int
    seconds: float
    followed: int
    killed: int


FULL = Effort(times=5, seconds=4.0, followed=40, killed=5)
QUICK = Effort(times=1, seconds=1.0, followed=5, killed=1)


def everything(upstream: Upstream, effort: Effort, tell: Callable[[str], None]) -> list[Row]:
    with postgres() as server:
        tell("the price of durability")
        rows = durability(upstream, server, effort)
        tell("one, two and three nodes")
        rows += scaling(upstream, server, effort)
        tell("runs of another node")
        rows += following(upstream, server, effort)
        tell("nodes that are killed")
        return rows + takeover(upstream, server, effort)


def durability(upstream: Upstream, server: Postgres, effort: Effort) -> list[Row]:
    """The same chat, plain and with X-Hermes-Detach, which makes it outlive a kill and a power cut."""
    rows: list[Row] = []
    for name, is_sqlite in (("SQLite", True), ("PostgreSQL", False)):
        added = Row(f"{name}: a durable turn, one after another, added (p50)", "ms")
        cpu = Row(f"{name}: CPU of the node a durable turn", "ms")
        many = Row(f"{name}: durable turns/s at 8 streams", "/s")
        with ExitStack() as stack:
            url = None if is_sqlite else stack.enter_context(server.database())
            [node] = stack.enter_context(_nodes(upstream, 1, url))
            load(node, connections=8, turns=200, message=TURN)
            for _ in range(effort.times):
                direct = load(upstream, connections=1, seconds=effort.seconds / 2, message=TURN).whole.p50
                for headers, is_ours in ((DURABLE, True), ({}, False)):
                    before = node.cpu_seconds()
                    alone = load(node, connections=1, seconds=effort.seconds, message=TURN, headers=headers)
                    spent = (node.cpu_seconds() - before) / max(1, alone.turns)
                    busy = load(node, connections=8, seconds=effort.seconds, message=TURN, headers=headers)
                    for row, value in (
                        (added, (alone.whole.p50 - direct) * 1000),
                        (cpu, spent * 1000),
                        (many, busy.turns_a_second),
                    ):
                        (row.ours if is_ours else row.relay).append(value)
                    _note_errors(many, [alone, busy])
        for row in (added, cpu, many):
            row.note = "; ".join(part for part in (row.note, f"plain ×{_ratio(row)}") if part)
        rows += [added, cpu, many]
    return rows


def scaling(upstream: Upstream, server: Postgres, effort: Effort) -> list[Row]:
    embedded = Row(f"turns/s, {STREAMS} streams: 1 node on SQLite", "/s")
    counts = {count: Row(f"… {count} node{'s' * (count > 1)} on PostgreSQL", "/s") for count in (1, 2, 3)}
    cpu = {count: Row(f"… CPU a turn, {count} node{'s' * (count > 1)}", "ms") for count in (1, 2, 3)}
    for _ in range(effort.times):
        with _nodes(upstream, 1, None) as nodes:
            embedded.ours.append(_loaded(nodes, effort, embedded)[0])
        for count, row in counts.items():
            with server.database() as url, _nodes(upstream, count, url) as nodes:
                a_second, own, servers = _loaded(nodes, effort, row, server)
                row.ours.append(a_second)
                cpu[count].ours.append(own)
                cpu[count].relay.append(servers)
    counts[1].relay = embedded.ours
    counts[1].note = _joined(counts[1].note, f"SQLite ×{_ratio(counts[1])}")
    for count in (2, 3):
        counts[count].relay = counts[1].ours
        counts[count].note = _joined(counts[count].note, f"1 node ×{_ratio(counts[count])}")
    for row in cpu.values():
        row.note = "of the nodes; beside it PostgreSQL's own"
    return [embedded, *counts.values(), *cpu.values()]


def following(upstream: Upstream, server: Postgres, effort: Effort) -> list[Row]:
    """A run that one node conducts is read on another. Tokens carry the time at which the model sent them."""
    first = Row("first text of another node's run, after the model sent it (p95)", "ms", LIVE_BUDGET_MS)
    later = Row("each further text of it (p95)", "ms", LIVE_BUDGET_MS)
    with server.database() as url, _nodes(upstream, 2, url) as (own, other):
        load_all([own, other], connections=4, turns=100, message=TURN)
        seen: dict[bool, tuple[list[float], list[float]]] = {True: ([], []), False: ([], [])}
        for _ in range(effort.followed):
            for reader, is_ours in ((other, True), (own, False)):
                late = _lateness(reader, _start(own, "bench:tokens=20,wait=0.3,rate=40,stamp=1"))
                seen[is_ours][0].append(late[0] * 1000)
                seen[is_ours][1].extend(one * 1000 for one in late[1:])
    for row, number in ((first, 0), (later, 1)):
        row.ours, row.relay = [_p95(seen[True][number])], [_p95(seen[False][number])]
        row.note = f"worst {max(seen[True][number]):.3g} ms; beside it the same read on its own node"
    return [first, later]


def takeover(upstream: Upstream, server: Postgres, effort: Effort) -> list[Row]:
    row = Row("kill -9 of a node → its run goes on at another", "s", TAKEOVER_BUDGET_SECONDS)
    parked = Row("SIGTERM of a node → its run goes on at another", "s", note="without drain_timeout")
    for is_kill, figure in ((True, row), (False, parked)):
        for _ in range(effort.killed):
            with server.database() as url, _nodes(upstream, 2, url, drain_timeout=0.0) as (first, second):
                run_id = _start(first, "bench:tokens=20,wait=1")
                events = _events(second, run_id)
                next(events)  # run.started: it is under way
                began = time.monotonic()
                (first.process.kill if is_kill else first.process.terminate)()
                for told in events:
                    if told.get("event") == "run.resumed":
                        figure.ours.append(time.monotonic() - began)
                        break
                for _ in events:
                    pass
    return [row, parked]


@contextmanager
def _nodes(
    upstream: Upstream, count: int, database_url: str | None, *, drain_timeout: float = 10.0
) -> Iterator[list[Gateway]]:
    with ExitStack() as stack:
        found: list[Gateway] = []
        for _ in range(count):
            key = found[0].key if found else None
            home = Home(
                upstream,
                max_concurrent_runs=CAP,
                drain_timeout=drain_timeout,
                database_url=database_url,
                key=key,
            )
            stack.callback(home.remove)
            found.append(stack.enter_context(Gateway(home)))
        yield found


def _loaded(
    nodes: Sequence[Server], effort: Effort, row: Row, server: Postgres | None = None
) -> tuple[float, float, float]:
    """Turns a second of all together, each with its share of the streams; the nodes' CPU a turn, and PostgreSQL's, in
    milliseconds.
    """
    share = STREAMS // len(nodes)
    load_all(nodes, connections=share, turns=100, message=TURN)

    def spent() -> tuple[float, float]:
        return sum(node.cpu_seconds() for node in nodes), server.cpu_seconds() if server is not None else 0.0

    before = spent()
    seen = load_all(nodes, connections=share, seconds=effort.seconds, message=TURN)
    after = spent()
    _note_errors(row, seen)
    turns = max(1, sum(one.turns for one in seen))
    own, servers = (1000 * (now - then) / turns for now, then in zip(after, before, strict=True))
    return sum(one.turns_a_second for one in seen), own, servers


def _start(node: Server, message: str) -> str:
    status, body = _call(node, "POST", "/v1/runs", {"input": message})
    if status >= 300:
        raise RuntimeError(f"the run was not taken: {status} {body!r}")
    return str(json.loads(body)["run_id"])


def _call(node: Server, method: str, path: str, body: Any) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=30)
    try:
        headers = {"Authorization": f"Bearer {node.key}", "Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _events(node: Server, run_id: str) -> Iterator[dict[str, Any]]:
    """To the end of the run."""
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=60)
    try:
        connection.request("GET", f"/v1/runs/{run_id}/events", headers={"Authorization": f"Bearer {node.key}"})
        for line in connection.getresponse():
            if line.startswith(b"data: {"):
                yield json.loads(line[6:])
    finally:
        connection.close()


def _lateness(node: Server, run_id: str) -> list[float]:
    """Seconds from when the model sent a token to when the reader had it."""
    found: list[float] = []
    for told in _events(node, run_id):
        now = time.monotonic()
        if told.get("event") == "message.delta":
            found += [now - float(stamp) for stamp in STAMP.findall(told["delta"])]
    if not found:
        raise RuntimeError(f"{run_id} said nothing")
    return found


def _ratio(row: Row) -> str:
    """Of the medians: ours to what it is held against."""
    return f"{statistics.median(row.ours) / statistics.median(row.relay):.2f}"


def _p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]


def _note_errors(row: Row, seen: Sequence[Seen]) -> None:
    errors = sum(one.errors for one in seen)
    if errors:
        first = next(one.first_error for one in seen if one.errors)
        row.note = f"{errors} errors: {first[:80]}"


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
