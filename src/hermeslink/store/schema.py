"""The tables of link.db. A change here needs a revision in migrations/ and a new HEAD; a test compares both ways.

Times are unix seconds and JSON is text. What belongs to a conversation goes with it, but for its events: that it was
deleted is told to whoever reads on later.
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
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    event,
)

from hermes.store.database import Schema

HEAD = "0001"
"""The newest revision in migrations/versions."""

metadata = MetaData()

alembic_version = Table(
    "alembic_version",
    metadata,
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)

# --- who may come in ---

devices = Table(
    "devices",
    metadata,
    Column("id", Text, primary_key=True),
    Column("label", Text, nullable=False),
    Column("platform", Text, nullable=False),
    Column("model", Text),
    Column("scope", Text, nullable=False),
    Column("status", Text, nullable=False),  # active, revoked
    Column("app_instance", Text, unique=True),  # the SHA-256 of what the app calls itself
    Column("paired_at", Float, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("access_expires_at", Float),
    Column("refresh_expires_at", Float),
    Column("last_seen_at", Float),
    Column("revoked_at", Float),
    Column("app_hidden_at", Float),
)

tokens = Table(
    "tokens",
    metadata,
    Column("hash", Text, primary_key=True),  # SHA-256, hexadecimal
    Column("device_id", Text, ForeignKey("devices.id", ondelete="CASCADE"), nullable=False),
    Column("kind", Text, nullable=False),  # access, refresh
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("rotated_at", Float),  # a refresh token that was used: good for a little longer
    Column("salt", Text),  # with the used token itself it makes the next one again
    Index("tokens_by_device", "device_id", "kind"),
)

pairing_sessions = Table(
    "pairing_sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("code_hash", Text, nullable=False, unique=True),  # of the connect token
    Column("scope", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("claimed_at", Float),  # one atomic change for both ways of pairing
    Column("device_id", Text, ForeignKey("devices.id", ondelete="SET NULL")),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("action", Text, nullable=False),
    Column("device_id", Text),  # who did it; None: somebody at the machine, or nobody known
    Column("subject", Text),  # the id of what it was done to
    Column("address", Text),
    Column("details", Text),  # JSON
)

# --- conversations ---

conversations = Table(
    "conversations",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),  # the row of the search index
    Column("id", Text, nullable=False, unique=True),
    Column("title", Text, nullable=False),
    Column("has_own_title", Boolean, nullable=False),  # a person gave it: none is made
    Column("status", Text, nullable=False),  # active, archived
    Column("profile", Text, nullable=False),
    Column("model_override", Text),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("last_event_seq", Integer, nullable=False),
    Column("input_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("message_count", Integer, nullable=False),
    Column("run_count", Integer, nullable=False),
    Column("last_model", Text),
    Column("last_provider", Text),
    Column("context_window", Integer),
    Column("stats_updated_at", Float),
    Index("conversations_by_update", "status", "updated_at", "id"),
    Index("conversations_by_profile", "profile", "status", "updated_at", "id"),
)

sessions = Table(  # of API servers: a conversation has one with each profile that it was held with
    "sessions",
    metadata,
    Column("conversation_id", Text, ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False),
    Column("profile", Text, nullable=False),
    Column("session_id", Text, nullable=False),
    Column("known_position", Integer, nullable=False),  # everything that was said up to that message is in it
    Column("title", Text),  # that both had when they were last compared
    PrimaryKeyConstraint("conversation_id", "profile"),
)

messages = Table(
    "messages",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),  # the row of the search index
    Column("id", Text, nullable=False, unique=True),
    Column("conversation_id", Text, ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("role", Text, nullable=False),  # user, assistant
    Column("status", Text, nullable=False),  # queued, streaming, completed, failed, cancelled
    Column("run_id", Text, nullable=False),
    Column("client_message_id", Text),
    Column("device_id", Text),
    Column("sender_name", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("text", Text, nullable=False),  # of one that streams: what its events do not hold yet is nowhere
    Column("reasoning", Text, nullable=False),
    Column("said_through", Integer, nullable=False, default=0),  # the number of the last event whose text is in the row
    Column("usage", Text),  # JSON
    Column("error", Text),  # JSON
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    UniqueConstraint("conversation_id", "position"),
    Index("messages_by_run", "run_id"),
)

agent_events = Table(  # what the agent did while it answered
    "agent_events",
    metadata,
    Column("id", Text, nullable=False),
    Column("message_id", Text, ForeignKey("messages.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("completed_at", Float),
    Column("payload", Text, nullable=False),  # JSON
    PrimaryKeyConstraint("message_id", "id"),
)

events = Table(
    "events",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),  # over all conversations, in order of commit
    Column("conversation_id", Text, nullable=False),
    Column("seq", Integer, nullable=False),  # 1, 2, 3 … in its conversation
    Column("type", Text, nullable=False),
    Column("message_id", Text),
    Column("run_id", Text),
    Column("payload", Text, nullable=False),  # JSON
    Column("created_at", Float, nullable=False),
    UniqueConstraint("conversation_id", "seq"),
    Index("events_by_message", "message_id", "number"),
    sqlite_autoincrement=True,  # a number is never given again, or a reader would take the new for the old
)

acks = Table(
    "acks",
    metadata,
    Column("conversation_id", Text, ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False),
    Column("device_id", Text, ForeignKey("devices.id", ondelete="CASCADE"), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("updated_at", Float, nullable=False),
    PrimaryKeyConstraint("conversation_id", "device_id"),
)

runs = Table(
    "runs",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),  # the order in which a conversation's go on
    Column("id", Text, nullable=False, unique=True),
    Column("conversation_id", Text, ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False),
    Column("user_message_id", Text, nullable=False),
    Column("assistant_message_id", Text, nullable=False),
    Column("status", Text, nullable=False),  # queued, running, completed, failed, cancelled
    Column("profile", Text, nullable=False),
    Column("model", Text),
    Column("remote_id", Text),  # the API server's name of it
    Column("remote_seq", Integer, nullable=False),  # its last event that is among ours
    Column("is_cancelled", Boolean, nullable=False),  # asked for; the end tells when it is done
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("error", Text),  # JSON
    Column("prepared_at", Float),  # from then on the API server may have been asked, always in the same words
    Column("session_id", Text),
    Column("sends_history", Boolean, nullable=False),
    Column("progress", Text, nullable=False),  # JSON: what the meaning of its next event hangs on
    Index("runs_by_conversation", "conversation_id", "status", "number"),
    Index("runs_by_status", "status", "number"),
)

owed_stops = Table(  # runs that nobody here follows any more, and that may go on at their API server
    "owed_stops",
    metadata,
    Column("profile", Text, nullable=False),
    Column("remote_id", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    PrimaryKeyConstraint("profile", "remote_id"),
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", Text, primary_key=True),
    Column("conversation_id", Text, ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False),
    Column("run_id", Text, nullable=False),
    Column("remote_id", Text, nullable=False),
    Column("payload", Text, nullable=False),  # JSON: what was asked
    Column("expires_at", Float),
    Column("decision", Text),  # approve, deny; None: open
    Column("scope", Text),
    Column("device_id", Text),
    Column("resolved_at", Float),
    UniqueConstraint("run_id", "remote_id"),
    Index("approvals_by_conversation", "conversation_id"),
)

sent = Table(  # messages by what their sender calls them, so that the same one again gives the first answer
    "sent",
    metadata,
    Column("key", Text, primary_key=True),  # its kind, who sent it and its name
    Column("conversation_id", Text, ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False),
    Column("fingerprint", Text, nullable=False),  # SHA-256 of what was sent
    Column("answer", Text, nullable=False),  # JSON
    Column("created_at", Float, nullable=False),
    Index("sent_by_age", "created_at"),
    Index("sent_by_conversation", "conversation_id"),
)

plans = Table(
    "plans",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),  # clear, archive
    Column("status", Text, nullable=False),  # pending, completed
    Column("conversation_ids", Text, nullable=False),  # JSON
    Column("total_count", Integer, nullable=False),  # of the conversations it was made from
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("completed_at", Float),
    Column("done_count", Integer, nullable=False),
    Index("plans_by_age", "expires_at"),
)

# --- attachments ---

blobs = Table(
    "blobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("conversation_id", Text, ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False),
    Column("sha256", Text, nullable=False),  # names the file: equal ones are kept once
    Column("size", Integer, nullable=False),
    Column("mime", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("device_id", Text),
    Column("created_at", Float, nullable=False),
    Index("blobs_by_conversation", "conversation_id"),
    Index("blobs_by_content", "sha256"),
)

attachments = Table(
    "attachments",
    metadata,
    Column("message_id", Text, ForeignKey("messages.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("blob_id", Text, ForeignKey("blobs.id", ondelete="CASCADE"), nullable=False),
    PrimaryKeyConstraint("message_id", "position"),
    Index("attachments_by_blob", "blob_id"),
)

# --- usage: written at the end of a run, read by the day ---

usage_runs = Table(  # so that a run counts once
    "usage_runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("at", Float, nullable=False),
)

usage_days = Table(
    "usage_days",
    metadata,
    Column("day", Text, nullable=False),  # 2026-11-22, UTC
    Column("profile", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("input_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("message_count", Integer, nullable=False),
    Column("run_count", Integer, nullable=False),
    Column("cost_usd", Float),  # None: not known of any
    Column("updated_at", Float, nullable=False),
    PrimaryKeyConstraint("day", "profile", "model"),
)

usage_conversations = Table(
    "usage_conversations",
    metadata,
    Column("day", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("conversation_id", Text, nullable=False),
    PrimaryKeyConstraint("day", "profile", "model", "conversation_id"),
)

direct_runs = Table(  # of POST /runs: which API server has it
    "direct_runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("profile", Text, nullable=False),
    Column("device_id", Text),
    Column("created_at", Float, nullable=False),
    Column("is_counted", Boolean, nullable=False),
)

# --- search: see store/search.py, which writes and asks them ---

for _table in ("title_search", "message_search"):
    event.listen(
        metadata,
        "after_create",
        DDL(  # type: ignore[no-untyped-call]
            f"CREATE VIRTUAL TABLE {_table} USING fts5(text, tokenize='unicode61 remove_diacritics 2')"
        ),
    )

LINK = Schema(metadata, alembic_version, HEAD, "hermeslink.store:migrations", "hermes-server")
"""Of link.db."""
