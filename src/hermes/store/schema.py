"""The tables. A change here needs a revision in migrations/ and a new HEAD; a test compares both ways.

Times are unix seconds and JSON is text, so that SQLite and PostgreSQL hold the same values.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    text,
)

HEAD = "0001"
"""The newest revision in migrations/versions."""

metadata = MetaData()

# The one row that Alembic keeps: declared here so that a database is made and checked without importing it.
alembic_version = Table(
    "alembic_version",
    metadata,
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def _usage() -> list[Column[int] | Column[float]]:
    """The columns of `core.run.Usage`, in its order. No cost means that the model's price is unknown."""
    counters: list[Column[int] | Column[float]] = [
        Column(name, Integer, nullable=False)
        for name in (
            "input_tokens",
            "output_tokens",
            "cache_read_tokens",
            "cache_write_tokens",
            "reasoning_tokens",
            "api_calls",
        )
    ]
    return [*counters, Column("cost_usd", Float)]


sessions = Table(
    "sessions",
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("source", String, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("last_active", Float, nullable=False),
    Column("title", Text),
    Column("model", String),
    Column("user_id", String),
    Column("session_key", String),
    Column("system_prompt", Text),
    Column("parent_session_id", String),
    Column("ended_at", Float),
    Column("end_reason", String),
    Column("is_stateless", Boolean, nullable=False),
    Column("message_count", Integer, nullable=False),
    Column("tool_call_count", Integer, nullable=False),
    *_usage(),
    Column("preview", Text, nullable=False),
    # lists show the stateful ones by activity, retention looks for the stateless ones by age
    Index("sessions_by_activity", "is_stateless", "last_active", "id"),
)

# `content` is the text alone (for search); `parts` the whole content as JSON where it is more than text.
messages = Table(
    "messages",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("session_id", String, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("run_id", String),
    Column("created_at", Float, nullable=False),
    Column("role", String, nullable=False),
    Column("content", Text, nullable=False),
    Column("parts", Text),
    Column("tool_calls", Text),
    Column("tool_call_id", String),
    Column("name", String),
    Column("reasoning", Text, nullable=False),
    Index("messages_of_session", "session_id", "id"),
    sqlite_autoincrement=True,  # an id that was seen is never given again: it is a cursor
)

# `lease` fences: whoever runs it writes only while the number is still the one it took.
runs = Table(
    "runs",
    metadata,
    Column("id", String, primary_key=True),
    Column("session_id", String, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("owner", String, nullable=False),
    Column("source", String, nullable=False),
    Column("status", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("model", String, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("last_event", String),
    Column("last_seq", Integer, nullable=False),
    Column("output", Text),
    Column("finish_reason", String),
    *_usage(),
    Column("error", Text),
    Column("is_durable", Boolean, nullable=False),
    Column("resumed", Integer, nullable=False),
    Column("lease", Integer, nullable=False),
    Column("request", Text, nullable=False),
    Index("runs_of_session", "session_id", "created_at"),
    Index("runs_of_owner", "owner", "created_at", "id"),
    # (postgresql_where would import that dialect here, 25 ms of every start)
    Index("runs_open", "created_at", sqlite_where=text("finished_at IS NULL")),
)

events = Table(
    "events",
    metadata,
    Column("run_id", String, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("timestamp", Float, nullable=False),
    Column("name", String, nullable=False),
    Column("data", Text, nullable=False),
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", String, primary_key=True),
    Column("run_id", String, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("session_id", String, nullable=False),
    Column("tool", String, nullable=False),
    Column("tool_call_id", String, nullable=False),
    Column("command", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("pattern", Text, nullable=False),
    Column("choices", Text, nullable=False),
    Column("allow_permanent", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("resolved_at", Float),
    Column("choice", String),
    Column("outcome", String),
    Column("answered_by", String),
    Column("reason", Text),
    Index("approvals_of_run", "run_id"),
)

# `status` and `body` are the answer that a replay gets byte for byte, once there is one.
idempotency = Table(
    "idempotency",
    metadata,
    Column("owner", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("fingerprint", String, nullable=False),
    Column("run_id", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("status", Integer),
    Column("body", LargeBinary),
    Index("idempotency_by_expiry", "expires_at"),
)

# A client's own tool calls by the id it answers with: the way back from a re-sent history to the turn that made them.
client_calls = Table(
    "client_calls",
    metadata,
    Column("owner", String, primary_key=True),
    Column("call_id", String, primary_key=True),
    Column("run_id", String, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Index("client_calls_of_run", "run_id"),
)
