"""What the database says once all is quiet, read by SQL beside the server, so that its own code proves nothing."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.torture.plan import STEER, TOKEN

Row = dict[str, Any]

_TABLES = {
    "runs": "SELECT id, session_id, owner, source, status, created_at, started_at, finished_at, output, input_tokens, "
    "output_tokens, api_calls, is_durable, resumed, error, request FROM runs",
    "events": "SELECT run_id, seq, name, data, timestamp FROM events ORDER BY run_id, seq",
    "messages": "SELECT id, session_id, run_id, role, content, tool_calls, tool_call_id, created_at FROM messages "
    "ORDER BY id",
    "sessions": "SELECT id, title, is_stateless, message_count, input_tokens, output_tokens, api_calls FROM sessions",
    "job_runs": "SELECT id, job_id, due_at, is_manual, run_id, reason, detail, deliver, delivered_at FROM job_runs",
    "idempotency": 'SELECT "key", run_id FROM idempotency',
    "steers": "SELECT run_id, text FROM steers",
    "started_calls": "SELECT run_id, tool_call_id FROM started_calls",
    "jobs": "SELECT id FROM jobs",
    "files": "SELECT id FROM files",
    "approvals": "SELECT id, run_id, resolved_at, choice, outcome FROM approvals",
}


@dataclass
class Facts:
    """Rows by table, and what is asked of them most."""

    tables: dict[str, list[Row]]
    ran: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    runs: dict[str, Row] = field(default_factory=dict)
    messages_of: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    events_of: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    said: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    """By token: the user's messages with it. Copies of a session's messages in another are not of a run, and not here.
    """
    steers: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    """By its text: the user's messages that are it."""

    def __post_init__(self) -> None:
        self.runs = {row["id"]: row for row in self.tables.get("runs", ())}
        for row in self.tables.get("events", ()):
            self.events_of[row["run_id"]].append(row)
        for row in self.tables.get("messages", ()):
            if row["run_id"] is None:
                continue
            self.messages_of[row["run_id"]].append(row)
            if row["role"] == "user" and (found := TOKEN.search(row["content"])):
                self.said[found[1]].append(row)
            elif row["role"] == "user" and STEER.search(row["content"]):
                self.steers[row["content"]].append(row)

    def token_of(self, run_id: str) -> str | None:
        for row in self.messages_of[run_id]:
            if row["role"] == "user" and (found := TOKEN.search(row["content"])):
                return found[1]
        return None

    def calls_of(self, run_id: str) -> list[str]:
        """The ids of the tool calls that its kept answers made."""
        made = [json.loads(row["tool_calls"]) for row in self.messages_of[run_id] if row["tool_calls"]]
        return [call[0] for calls in made for call in calls]


def read_facts(url: str, directory: Path, *, has_events: bool = True) -> Facts:
    with _open(url) as ask:
        tables = {name: ask(query) for name, query in _TABLES.items() if has_events or name != "events"}
    return Facts(tables, ran=_lines(directory / "ran"), ended=_lines(directory / "ended"))


def open_runs(url: str) -> list[str]:
    with _open(url) as ask:
        return [row["id"] for row in ask("SELECT id FROM runs WHERE finished_at IS NULL ORDER BY created_at")]


@contextlib.contextmanager
def _open(url: str) -> Iterator[Any]:
    """A function that gives the rows of a query."""
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as lite:
            lite.row_factory = sqlite3.Row
            lite.execute("BEGIN")
            yield lambda query: [dict(row) for row in lite.execute(query)]
    else:
        with psycopg.connect(url) as conn:
            conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            yield lambda query: _rows(conn, query)


def _rows(conn: psycopg.Connection, query: str) -> list[Row]:
    cursor = conn.execute(query)
    names: Sequence[str] = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _lines(path: Path) -> Counter[str]:
    return Counter(path.read_text().split()) if path.exists() else Counter()
