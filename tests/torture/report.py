"""What is printed: the figures, and of each violation all that helps to find its cause."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.torture.cluster import Cluster
from tests.torture.facts import Facts, read_facts
from tests.torture.ledger import Ledger, Violation

MOST_LINES = 40


@dataclass
class Figures:
    seconds: float = 0.0
    runs: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    events: int = 0
    messages: int = 0
    tools: int = 0
    lost_tools: int = 0
    asked: int = 0
    acknowledged: int = 0
    reconnects: int = 0

    @classmethod
    def of(cls, facts: Facts, ledger: Ledger, cluster: Cluster) -> Figures:
        runs = facts.runs.values()
        results = [row["content"] for row in facts.tables["messages"] if row["role"] == "tool" and row["run_id"]]
        return cls(
            runs=len(runs),
            by_status=Counter(run["status"] for run in runs),
            resumed=sum(run["resumed"] for run in runs),
            events=len(facts.tables["events"]),
            messages=sum(row["run_id"] is not None for row in facts.tables["messages"]),
            tools=len(results),
            lost_tools=sum(text.startswith("[no result") for text in results),
            asked=len(cluster.mind.asked),
            acknowledged=ledger.acknowledged,
            reconnects=sum(max(0, reader.connections - 1) for reader in ledger.readers),
        )

    def lines(self, done: Counter[str]) -> list[str]:
        statuses = ", ".join(f"{count} {status}" for status, count in self.by_status.most_common())
        return [
            f"minutes        {self.seconds / 60:.1f}",
            f"done to nodes  {sum(done.values())}: "
            + ", ".join(f"{count} {what}" for what, count in done.most_common()),
            f"acknowledged   {self.acknowledged}",
            f"runs           {self.runs}: {statuses}; resumed {self.resumed} times",
            f"events         {self.events}; readers came again {self.reconnects} times",
            f"messages       {self.messages}",
            f"tool calls     {self.tools}, of {self.lost_tools} the outcome is unknown",
            f"model calls    {self.asked}",
        ]


def print_violation(violation: Violation, cluster: Cluster, ledger: Ledger) -> None:
    print(f"\nVIOLATION {_time(violation.at)} {violation.what}")
    if violation.run_id is None:
        return
    facts = read_facts(cluster.url, cluster.directory)
    run = facts.runs.get(violation.run_id)
    print(f"  run {violation.run_id}: {run}")
    for turn in ledger.turns:
        if violation.run_id in turn.run_ids or turn.token == facts.token_of(violation.run_id):
            print(f"  turn {turn}")
    for row in facts.events_of[violation.run_id]:
        print(f"  {row['seq']:4} {row['name']:20} {row['data'][:160]}")
    for row in facts.messages_of[violation.run_id]:
        said = f"{row['role']:9} {row['content'][:90]!r} {row['tool_calls'] or ''}"
        print(f"  {row['id']:6} {_time(row['created_at'])} {said}")
    token = facts.token_of(violation.run_id)
    for asked in cluster.mind.asked:
        if asked.token == token:
            print(f"  model {_time(asked.at)} {asked.node} step {asked.step} attempt {asked.attempt}")
    if run is not None:
        _print_lines(_between(cluster, run["created_at"] - 1, (run["finished_at"] or violation.at) + 2, run["id"]))


def print_story(story: Sequence[tuple[float, str]]) -> None:
    print("\nwhat was done:")
    for at, what in story:
        print(f"  {_time(at)} {what}")


def _between(cluster: Cluster, first: float, last: float, run_id: str) -> list[str]:
    """Of all logs: what is about the run, and what is no news only, in that time."""
    found = []
    for node in cluster.nodes:
        for text in node.log():
            _, _, record = text.partition(" ")
            if not record.startswith("{"):
                continue
            told = json.loads(record)
            at = datetime.fromisoformat(told["time"]).timestamp()
            if first <= at <= last and (run_id in record or told["level"] != "info" or "gateway" in told["logger"]):
                found.append((at, f"{node.name} {record[:400]}"))
    return [text for _, text in sorted(found)]


def _print_lines(lines: Sequence[str]) -> None:
    for text in lines[:MOST_LINES]:
        print(f"  log {text}")
    if len(lines) > MOST_LINES:
        print(f"  log … {len(lines) - MOST_LINES} more lines")


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]
