"""/api/sessions."""
