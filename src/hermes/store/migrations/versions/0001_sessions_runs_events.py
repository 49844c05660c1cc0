"""Sessions, messages, runs, events, approvals, idempotency"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("last_active", sa.Float(), nullable=False),
        sa.Column("title", sa.Text()),
        sa.Column("model", sa.String()),
        sa.Column("user_id", sa.String()),
        sa.Column("session_key", sa.String()),
        sa.Column("system_prompt", sa.Text()),
        sa.Column("parent_session_id", sa.String()),
        sa.Column("ended_at", sa.Float()),
        sa.Column("end_reason", sa.String()),
        sa.Column("is_stateless", sa.Boolean(), nullable=False),
        sa.Column("message_count", sa.Integer(), nullable=False),
        sa.Column("tool_call_count", sa.Integer(), nullable=False),
        *_usage(),
        sa.Column("preview", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("sessions_by_activity", "sessions", ["is_stateless", "last_active", "id"])
    op.create_table(
        "messages",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String()),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("parts", sa.Text()),
        sa.Column("tool_calls", sa.Text()),
        sa.Column("tool_call_id", sa.String()),
        sa.Column("name", sa.String()),
        sa.Column("reasoning", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], ondelete="CASCADE"),
        sqlite_autoincrement=True,
    )
    op.create_index("messages_of_session", "messages", ["session_id", "id"])
    op.create_table(
        "runs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("started_at", sa.Float()),
        sa.Column("finished_at", sa.Float()),
        sa.Column("last_event", sa.String()),
        sa.Column("last_seq", sa.Integer(), nullable=False),
        sa.Column("output", sa.Text()),
        sa.Column("finish_reason", sa.String()),
        *_usage(),
        sa.Column("error", sa.Text()),
        sa.Column("is_durable", sa.Boolean(), nullable=False),
        sa.Column("resumed", sa.Integer(), nullable=False),
        sa.Column("lease", sa.Integer(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], ondelete="CASCADE"),
    )
    op.create_index("runs_of_session", "runs", ["session_id", "created_at"])
    op.create_index("runs_of_owner", "runs", ["owner", "created_at", "id"])
    op.create_index("runs_open", "runs", ["created_at"], sqlite_where=sa.text("finished_at IS NULL"))
    op.create_table(
        "events",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("timestamp", sa.Float(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "seq"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], ondelete="CASCADE"),
    )
    op.create_table(
        "approvals",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("tool", sa.String(), nullable=False),
        sa.Column("tool_call_id", sa.String(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("pattern", sa.Text(), nullable=False),
        sa.Column("choices", sa.Text(), nullable=False),
        sa.Column("allow_permanent", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("resolved_at", sa.Float()),
        sa.Column("choice", sa.String()),
        sa.Column("outcome", sa.String()),
        sa.Column("answered_by", sa.String()),
        sa.Column("reason", sa.Text()),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], ondelete="CASCADE"),
    )
    op.create_index("approvals_of_run", "approvals", ["run_id"])
    op.create_table(
        "idempotency",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("body", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("owner", "key"),
    )
    op.create_index("idempotency_by_expiry", "idempotency", ["expires_at"])
    op.create_table(
        "client_calls",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("call_id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "call_id"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], ondelete="CASCADE"),
    )
    op.create_index("client_calls_of_run", "client_calls", ["run_id"])


def downgrade() -> None:
    for table in ("client_calls", "idempotency", "approvals", "events", "runs", "messages", "sessions"):
        op.drop_table(table)


def _usage() -> list[sa.Column[int] | sa.Column[float]]:
    names = (
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
        "api_calls",
    )
    return [*(sa.Column(name, sa.Integer(), nullable=False) for name in names), sa.Column("cost_usd", sa.Float())]
