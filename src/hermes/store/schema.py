"""The tables. A change here needs a revision in migrations/ and a new HEAD; a test compares both ways.

Times are unix seconds and JSON is text, so that SQLite and PostgreSQL hold the same values.
"""

from __future__ import annotations

from sqlalchemy import (
    DDL,
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
    event,
    text,
)

HEAD = "0005"
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


def _partial(name: str, columns: tuple[str, ...], where: str, *, unique: bool = False) -> Index:
    """An index over the rows of a condition. PostgreSQL's is made by the DDL at the end: `postgresql_where` would
    import that dialect here, 25 ms of every start.
    """
    return Index(name, *columns, unique=unique, sqlite_where=text(where)).ddl_if(dialect="sqlite")


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
    Column("model_choice", String),
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

BROKEN = "status IN ('failed', 'cancelled', 'interrupted')"
"""Runs that did not come to a good end: few, and asked for among many."""

# `node` conducts it, None: nobody does. `lease` counts how often another took it over. `steered_at`: when something was
# last said to it; its end looks for that only where there is a time. `parent_run_id`: the run that delegated it.
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
    Column("node", String),
    Column("steered_at", Float),
    Column("parent_run_id", String),
    Index("runs_of_session", "session_id", "created_at"),
    Index("runs_of_owner", "owner", "created_at", "id"),
    _partial("runs_open", ("created_at",), "finished_at IS NULL"),
    _partial("runs_broken", ("created_at", "id"), BROKEN),
    _partial("runs_of_parent", ("parent_run_id",), "parent_run_id IS NOT NULL"),
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

# A chain is the session its responses were said in: `previous_response_id` and `conversation` go on with it.
response_chains = Table(
    "response_chains",
    metadata,
    Column("session_id", String, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("owner", String, nullable=False),
    Column("conversation", String),
    Column("used_at", Float, nullable=False),
    Index("response_chains_by_use", "owner", "used_at"),
    Index("response_chains_by_name", "owner", "conversation", unique=True),
)

# `request` holds the fields that the answer repeats, `input` the request's own items; both JSON, neither the history.
responses = Table(
    "responses",
    metadata,
    Column("id", String, primary_key=True),
    Column("run_id", String, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("session_id", String, ForeignKey("response_chains.session_id", ondelete="CASCADE"), nullable=False),
    Column("owner", String, nullable=False),
    Column("previous_response_id", String),
    Column("created_at", Float, nullable=False),
    Column("request", Text, nullable=False),
    Column("input", Text, nullable=False),
    Index("responses_of_run", "run_id", unique=True),
    Index("responses_of_chain", "session_id", "created_at"),
)

# What is to be told at a run's end: kept with the run, and sent until it is taken or too old.
callbacks = Table(
    "callbacks",
    metadata,
    Column("id", String, primary_key=True),
    Column("run_id", String, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("url", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", Float),
    Column("delivered_at", Float),
    Column("last_error", Text),
    Index("callbacks_of_run", "run_id"),
    Index("callbacks_due", "next_attempt_at"),
)

# `next_due` is None for a job that will not fire by itself: paused, or done.
jobs = Table(
    "jobs",
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("name", String, nullable=False),
    Column("schedule", Text, nullable=False),
    Column("timezone", String, nullable=False),
    Column("anchor", Float, nullable=False),
    Column("prompt", Text, nullable=False),
    Column("deliver", Text, nullable=False),
    Column("skills", Text, nullable=False),
    Column("repeat", Integer),
    Column("model", String),
    Column("enabled_toolsets", Text),
    Column("workdir", Text),
    Column("catch_up", String, nullable=False),
    Column("state", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("paused_at", Float),
    Column("fired", Integer, nullable=False),
    Column("last_due", Float),
    Column("next_due", Float),
    Index("jobs_due", "next_due"),
    Index("jobs_of_owner", "owner", "created_at"),
)

# One row for each due time and each call by hand: what became of it, and whether its output was delivered.
job_runs = Table(
    "job_runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", String, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("due_at", Float, nullable=False),
    Column("is_manual", Boolean, nullable=False),
    Column("fired_at", Float, nullable=False),
    Column("run_id", String, ForeignKey("runs.id", ondelete="SET NULL")),
    Column("reason", String, nullable=False),
    Column("detail", Text),
    Column("deliver", Text, nullable=False),
    Column("delivery_attempts", Integer, nullable=False),
    Column("delivery_due", Float),
    Column("delivered_at", Float),
    Column("delivery_error", Text),
    Index("job_runs_of_job", "job_id", "id"),
    Index("job_runs_of_run", "run_id"),
    Index("job_runs_to_deliver", "delivery_due"),
    sqlite_autoincrement=True,
)

# `digest` is the SHA-256 of the key in hexadecimal digits: the key itself is shown once and kept nowhere.
keys = Table(
    "keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("scopes", String, nullable=False),
    Column("tool_items", String),
    Column("budget_usd", Float),
    Column("spent_usd", Float, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("last_used_at", Float),
    Column("revoked_at", Float),
    _partial("keys_by_name", ("name",), "revoked_at IS NULL", unique=True),
    Index("keys_by_digest", "digest", unique=True),
)

# Who changed what: keys, jobs, profiles, approvals. Never a secret.
audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("detail", Text),
    Index("audit_by_time", "at"),
    sqlite_autoincrement=True,
)

# The bytes lie in the home's files/ under the id, or in `file_chunks`.
files = Table(
    "files",
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("filename", Text, nullable=False),
    Column("purpose", String, nullable=False),
    Column("media_type", String, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("sha256", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Index("files_of_owner", "owner", "created_at", "id"),
)

# Calls of a durable run that take effect now, or did when its process ended. A result makes the row meaningless.
started_calls = Table(
    "started_calls",
    metadata,
    Column("run_id", String, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("tool_call_id", String, primary_key=True),
    Column("started_at", Float, nullable=False),
)

# What a person said to a run, in order, until its model has heard it.
steers = Table(
    "steers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", String, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("text", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Index("steers_of_run", "run_id", "id"),
    sqlite_autoincrement=True,
)

# The processes that conduct runs. Whose row is gone writes no more about any of them (docs/adr/0098).
# `home` tells processes of one home from others'; `beat` grows for as long as the process lives.
nodes = Table(
    "nodes",
    metadata,
    Column("id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("home", String, nullable=False),
    Column("host", String, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", String, nullable=False),
    Column("url", String),
    Column("started_at", Float, nullable=False),
    Column("beat", Integer, nullable=False),
    Column("beat_at", Float, nullable=False),
    Column("is_draining", Boolean, nullable=False),
)

# What is true of the database as a whole, such as whose it is.
facts = Table(
    "facts",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", Text, nullable=False),
)

# The bytes of uploaded files, in order, where many nodes share them; with one home they lie in its files/.
file_chunks = Table(
    "file_chunks",
    metadata,
    Column("file_id", String, ForeignKey("files.id", ondelete="CASCADE"), primary_key=True),
    Column("n", Integer, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

# The list of things to do that the agent keeps for a session, as JSON.
session_todos = Table(
    "session_todos",
    metadata,
    Column("session_id", String, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("items", Text, nullable=False),
    Column("updated_at", Float, nullable=False),
)

# What was said in the first `covers` messages of a session, in few words; `digest` is of those messages.
session_summaries = Table(
    "session_summaries",
    metadata,
    Column("session_id", String, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("covers", Integer, nullable=False),
    Column("digest", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("created_at", Float, nullable=False),
)

for _name, _table, _columns, _where in (
    ("INDEX runs_open", "runs", "created_at", "finished_at IS NULL"),
    ("INDEX runs_broken", "runs", "created_at, id", BROKEN),
    ("INDEX runs_of_parent", "runs", "parent_run_id", "parent_run_id IS NOT NULL"),
    ("UNIQUE INDEX keys_by_name", "keys", "name", "revoked_at IS NULL"),
):
    event.listen(
        metadata,
        "after_create",
        DDL(  # type: ignore[no-untyped-call]
            f"CREATE {_name} ON {_table} ({_columns}) WHERE {_where}"
        ).execute_if(dialect="postgresql"),
    )
