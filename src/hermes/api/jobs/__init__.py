"""/api/jobs."""
