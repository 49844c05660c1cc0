"""Nodes, facts, bytes of files, todos; partial indexes on PostgreSQL, too"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_PARTIAL = (
    ("INDEX", "runs_open", "runs (created_at)", "finished_at IS NULL"),
    ("INDEX", "runs_broken", "runs (created_at, id)", "status IN ('failed', 'cancelled', 'interrupted')"),
    ("UNIQUE INDEX", "keys_by_name", "keys (name)", "revoked_at IS NULL"),
)


def upgrade() -> None:
    with op.batch_alter_table("runs", recreate="always" if _is_sqlite() else "never") as runs:
        runs.add_column(sa.Column("node", sa.String()))
        runs.add_column(sa.Column("steered_at", sa.Float()))
    op.execute("UPDATE runs SET steered_at = updated_at WHERE id IN (SELECT run_id FROM steers)")
    if not _is_sqlite():  # earlier revisions made them over all rows there
        for kind, name, columns, where in _PARTIAL:
            op.execute(f"DROP INDEX {name}")
            op.execute(f"CREATE {kind} {name} ON {columns} WHERE {where}")
    op.create_table(
        "nodes",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("home", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("url", sa.String()),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("beat", sa.Integer(), nullable=False),
        sa.Column("beat_at", sa.Float(), nullable=False),
        sa.Column("is_draining", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "facts",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "file_chunks",
        sa.Column("file_id", sa.String(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("file_id", "n"),
        sa.ForeignKeyConstraint(["file_id"], ["files.id"], ondelete="CASCADE"),
    )
    op.create_table(
        "session_todos",
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("items", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("session_id"),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], ondelete="CASCADE"),
    )
    # earlier versions left these behind runs that did not end by themselves
    op.execute("DELETE FROM started_calls WHERE run_id IN (SELECT id FROM runs WHERE finished_at IS NOT NULL)")
    op.execute(
        "UPDATE approvals SET resolved_at = expires_at, choice = 'deny', outcome = 'policy' "
        "WHERE resolved_at IS NULL AND run_id IN (SELECT id FROM runs WHERE finished_at IS NOT NULL)"
    )
    op.create_table(
        "session_summaries",
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("covers", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("session_id"),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], ondelete="CASCADE"),
    )


def downgrade() -> None:
    for table in ("session_summaries", "session_todos", "file_chunks", "facts", "nodes"):
        op.drop_table(table)
    with op.batch_alter_table("runs", recreate="always" if _is_sqlite() else "never") as runs:
        runs.drop_column("node")


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"
