"""Alembic's revisions. `hermes.store.revisions` runs them; docs/reference/store.md says how to add one."""
