"""/v1/runs."""
