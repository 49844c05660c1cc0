"""What /openapi.json says of every route of a kind: its headers in and out, and the errors that need no saying."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from hermes.api import headers as names
from hermes.api.documented import Documentation

if TYPE_CHECKING:
    from hermes.api.routes import ApiRoute

DESCRIPTION = """One agent for every client that speaks OpenAI's formats.

Every route but those marked *without a key* wants `Authorization: Bearer KEY` or `x-api-key: KEY`. Every error has the
same envelope; `code` is stable, and *docs/reference/errors.md* says what each means. Every answer carries
`X-Request-Id`: the caller's own, or one made here. GET has HEAD beside it unless it streams, and every path has
OPTIONS. JSON bodies are at most 10 MiB and 100 levels deep, uploads 50 MiB."""

TAGS = {
    "/v1/chat": "chat",
    "/v1/responses": "responses",
    "/v1/runs": "runs",
    "/v1/files": "files",
    "/api/sessions": "sessions",
    "/api/jobs": "jobs",
}

# by name in the table of routes
STARTS_A_RUN = frozenset(
    {"chat_completions", "responses", "responses_compact", "runs", "session_chat", "session_chat_stream"}
)
ANSWERS_WITH_THE_RUN = frozenset({"chat_completions", "responses", "responses_compact", "session_chat"})
TAKES_A_SESSION = frozenset({"chat_completions", "responses", "runs"})
MAY_DETACH = frozenset({"chat_completions", "responses", "responses_compact"})  # the others always go on
TAKES_A_KEY_OF_ITS_OWN = frozenset({"job_run"})
READS_ON = frozenset({"run_events"})

EVERYWHERE = ("invalid_host", "host_not_allowed", "body_too_large", "internal_error", "store_unavailable")
WITH_A_KEY = ("invalid_api_key", "insufficient_scope", "too_many_attempts")
WITH_A_BODY = ("invalid_request", "invalid_json", "unsupported_media_type", "request_timeout")
OF_A_START = (
    "invalid_session_id",
    "invalid_session_key",
    "invalid_idempotency_key",
    "idempotency_key_conflict",
    "rate_limit_exceeded",
    "no_model",
    "embedded_model_missing",
    "embedded_model_no_room",
    "embedded_model_wrong",
    "config_error",
    "gateway_draining",
)
OF_A_RUN = (
    "context_length_exceeded",
    "limit_reached",
    "run_cancelled",
    "run_interrupted",
    "upstream_rate_limited",
    "upstream_error",
    "upstream_auth",
    "upstream_rejected",
    "upstream_unreachable",
    "upstream_stream_cut",
)

SESSION_ID_PATTERN = r"^[A-Za-z0-9._:-]{1,256}$"

HEADERS_IN: dict[str, dict[str, Any]] = {
    names.SESSION_ID: {
        "description": "The session to go on with; one of this id is made where there is none.",
        "schema": {"type": "string", "pattern": SESSION_ID_PATTERN},
    },
    names.SESSION_KEY: {
        "description": "Scopes long-term memory.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 256},
    },
    names.IDEMPOTENCY_KEY: {
        "description": "The same key and body: the same answer, for 24 h. The run goes on without the connection.",
        "schema": {"type": "string", "pattern": r"^[\x21-\x7e]{1,255}$"},
    },
    names.DETACH: {
        "description": "`true`: the run goes on when the connection closes, and after a restart.",
        "schema": {"type": "string", "enum": ["true", "false", "1", "0"]},
    },
    names.TOOL_ITEMS: {
        "description": "How the server's own tools appear in the answer.",
        "schema": {"type": "string", "enum": ["function_call", "mcp_call"]},
    },
    "Last-Event-ID": {
        "description": "The number of the last event that was read; the next ones follow.",
        "schema": {"type": "string", "pattern": "^[0-9]{1,15}$"},
    },
}

COMPONENT_HEADERS: dict[str, dict[str, Any]] = {
    names.REQUEST_ID: {"description": "The request's id, as in the log.", "required": True},
    names.SESSION_ID: {"description": "The session that the run belongs to."},
    names.SESSION_KEY: {"description": "As it was sent."},
    names.RUN_ID: {"description": "The run: GET /v1/runs/{run_id}."},
    names.WARNINGS: {"description": "What was not done as asked, or denied with nobody there to ask."},
    names.IDEMPOTENCY_REPLAYED: {"description": "`true`: this answer was given before."},
    "Retry-After": {"description": "Seconds."},
    "x-should-retry": {"description": "`false`: the same request cannot succeed later. The OpenAI SDKs follow it."},
    "WWW-Authenticate": {"description": "`Bearer`.", "required": True},
}
for _said in COMPONENT_HEADERS.values():
    _said["schema"] = {"type": "string"}


class ErrorBody(BaseModel):
    """`code` is stable; `message` is for a person."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    message: str
    type: str
    param: str | None
    code: str


class ErrorEnvelope(BaseModel):
    """Every error of every route. `detail`, the message again, is on /api/jobs only."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    error: ErrorBody
    detail: str = ""


ERROR_ENVELOPE = ErrorEnvelope.__name__


def tag_of(path: str) -> str:
    return next((tag for start, tag in TAGS.items() if path.startswith(start)), "server")


def headers_in(route: ApiRoute) -> Iterator[tuple[str, dict[str, Any]]]:
    wanted: list[str] = []
    if route.name in STARTS_A_RUN:
        wanted = [names.SESSION_KEY, names.IDEMPOTENCY_KEY]
    if route.name in TAKES_A_SESSION:
        wanted.append(names.SESSION_ID)
    if route.name in MAY_DETACH:
        wanted.append(names.DETACH)
    if route.name == "responses":
        wanted.append(names.TOOL_ITEMS)
    if route.name in TAKES_A_KEY_OF_ITS_OWN:
        wanted.append(names.IDEMPOTENCY_KEY)
    if route.name in READS_ON:
        wanted.append("Last-Event-ID")
    return ((name, HEADERS_IN[name]) for name in wanted)


def headers_out(route: ApiRoute, status: int) -> dict[str, dict[str, str]]:
    told = [names.REQUEST_ID]
    if status < 400 and route.name in STARTS_A_RUN:
        told += [names.SESSION_ID, names.SESSION_KEY, names.RUN_ID, names.WARNINGS, names.IDEMPOTENCY_REPLAYED]
    if status < 400 and route.name in TAKES_A_KEY_OF_ITS_OWN:
        told.append(names.IDEMPOTENCY_REPLAYED)
    if status == 401:
        told.append("WWW-Authenticate")
    if status in (429, 503):
        told.append("Retry-After")
    if status == 409 or status >= 500:
        told.append("x-should-retry")
    return {name: {"$ref": f"#/components/headers/{name}"} for name in told}


def errors_of(route: ApiRoute, documentation: Documentation) -> list[str]:
    """Codes that follow from what kind of route it is; its own are in its documentation."""
    told = [*EVERYWHERE]
    if route.scope is not None:
        told += WITH_A_KEY
    if route.method != "GET":
        told.append("origin_not_allowed")
    if documentation.body is not None:
        told += WITH_A_BODY
    elif documentation.query is not None or any(headers_in(route)):
        told.append("invalid_request")
    if route.name in STARTS_A_RUN:
        told += OF_A_START
    if route.name in ANSWERS_WITH_THE_RUN:
        told += OF_A_RUN
    return told
