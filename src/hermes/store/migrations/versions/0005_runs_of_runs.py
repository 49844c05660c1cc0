"""Runs that another run delegated work to"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("runs", recreate="always" if _is_sqlite() else "never") as runs:
        runs.add_column(sa.Column("parent_run_id", sa.String()))
    op.execute("CREATE INDEX runs_of_parent ON runs (parent_run_id) WHERE parent_run_id IS NOT NULL")


def downgrade() -> None:
    op.execute("DROP INDEX runs_of_parent")
    with op.batch_alter_table("runs", recreate="always" if _is_sqlite() else "never") as runs:
        runs.drop_column("parent_run_id")


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"
