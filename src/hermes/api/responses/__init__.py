"""/v1/responses: the public Responses API."""
