"""Responses, callbacks, jobs, keys, files"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # made anew on SQLite, so that a migrated database reads like a fresh one
    with op.batch_alter_table("sessions", recreate="always" if _is_sqlite() else "never") as sessions:
        sessions.add_column(sa.Column("model_choice", sa.String()))
    op.create_index(
        "runs_broken",
        "runs",
        ["created_at", "id"],
        sqlite_where=sa.text("status IN ('failed', 'cancelled', 'interrupted')"),
    )
    op.create_table(
        "response_chains",
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("conversation", sa.String()),
        sa.Column("used_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("session_id"),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], ondelete="CASCADE"),
    )
    op.create_index("response_chains_by_use", "response_chains", ["owner", "used_at"])
    op.create_index("response_chains_by_name", "response_chains", ["owner", "conversation"], unique=True)
    op.create_table(
        "responses",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("previous_response_id", sa.String()),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("input", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["session_id"], ["response_chains.session_id"], ondelete="CASCADE"),
    )
    op.create_index("responses_of_run", "responses", ["run_id"], unique=True)
    op.create_index("responses_of_chain", "responses", ["session_id", "created_at"])
    op.create_table(
        "callbacks",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.Float()),
        sa.Column("delivered_at", sa.Float()),
        sa.Column("last_error", sa.Text()),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], ondelete="CASCADE"),
    )
    op.create_index("callbacks_of_run", "callbacks", ["run_id"])
    op.create_index("callbacks_due", "callbacks", ["next_attempt_at"])
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("schedule", sa.Text(), nullable=False),
        sa.Column("timezone", sa.String(), nullable=False),
        sa.Column("anchor", sa.Float(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("deliver", sa.Text(), nullable=False),
        sa.Column("skills", sa.Text(), nullable=False),
        sa.Column("repeat", sa.Integer()),
        sa.Column("model", sa.String()),
        sa.Column("enabled_toolsets", sa.Text()),
        sa.Column("workdir", sa.Text()),
        sa.Column("catch_up", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.Column("paused_at", sa.Float()),
        sa.Column("fired", sa.Integer(), nullable=False),
        sa.Column("last_due", sa.Float()),
        sa.Column("next_due", sa.Float()),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("jobs_due", "jobs", ["next_due"])
    op.create_index("jobs_of_owner", "jobs", ["owner", "created_at"])
    op.create_table(
        "job_runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.Column("is_manual", sa.Boolean(), nullable=False),
        sa.Column("fired_at", sa.Float(), nullable=False),
        sa.Column("run_id", sa.String()),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("detail", sa.Text()),
        sa.Column("deliver", sa.Text(), nullable=False),
        sa.Column("delivery_attempts", sa.Integer(), nullable=False),
        sa.Column("delivery_due", sa.Float()),
        sa.Column("delivered_at", sa.Float()),
        sa.Column("delivery_error", sa.Text()),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], ondelete="SET NULL"),
        sqlite_autoincrement=True,
    )
    op.create_index("job_runs_of_job", "job_runs", ["job_id", "id"])
    op.create_index("job_runs_of_run", "job_runs", ["run_id"])
    op.create_index("job_runs_to_deliver", "job_runs", ["delivery_due"])
    op.create_table(
        "keys",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("scopes", sa.String(), nullable=False),
        sa.Column("tool_items", sa.String()),
        sa.Column("budget_usd", sa.Float()),
        sa.Column("spent_usd", sa.Float(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("last_used_at", sa.Float()),
        sa.Column("revoked_at", sa.Float()),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("keys_by_name", "keys", ["name"], unique=True, sqlite_where=sa.text("revoked_at IS NULL"))
    op.create_index("keys_by_digest", "keys", ["digest"], unique=True)
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("detail", sa.Text()),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("audit_by_time", "audit", ["at"])
    op.create_table(
        "files",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float()),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("files_of_owner", "files", ["owner", "created_at", "id"])


def downgrade() -> None:
    for table in ("files", "audit", "keys", "job_runs", "jobs", "callbacks", "responses", "response_chains"):
        op.drop_table(table)
    op.drop_index("runs_broken", "runs")
    with op.batch_alter_table("sessions", recreate="always" if _is_sqlite() else "never") as sessions:
        sessions.drop_column("model_choice")


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"
