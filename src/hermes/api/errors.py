"""Every error leaves in OpenAI's envelope; the one table says with which status.

`x-should-retry: false` is understood by the OpenAI SDKs, which repeat 409, 429 and 5xx by themselves: a request that
cannot succeed, or whose run has already used tools, must not be repeated behind the caller's back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from starlette.responses import Response

from hermes.core.errors import HermesError

INVALID = "invalid_request_error"
PERMISSION = "permission_error"
RATE = "rate_limit_error"
SERVER = "server_error"
UPSTREAM = "upstream_error"


class Rule(NamedTuple):
    """`may_retry`: whether the same request can succeed later by itself; None leaves it to the client."""

    status: int
    type: str
    may_retry: bool | None = None


# A code that is not here has the status of its class's own code, which is.
RULES: dict[str, Rule] = {
    # the request is wrong
    "invalid_request": Rule(400, INVALID),
    "invalid_json": Rule(400, INVALID),
    "invalid_host": Rule(400, INVALID),
    "invalid_session_id": Rule(400, INVALID),
    "invalid_session_key": Rule(400, INVALID),
    "invalid_title": Rule(400, INVALID),
    "invalid_system_prompt": Rule(400, INVALID),
    "invalid_system_message": Rule(400, INVALID),
    "missing_message": Rule(400, INVALID),
    "unsupported_session_field": Rule(400, INVALID),
    "invalid_idempotency_key": Rule(400, INVALID),
    "invalid_content_part": Rule(400, INVALID),
    "invalid_image_url": Rule(400, INVALID),
    "unsupported_content_type": Rule(400, INVALID),
    "unsupported_parameter": Rule(400, INVALID),
    "unknown_toolset": Rule(400, INVALID),
    "context_length_exceeded": Rule(400, INVALID),
    "invalid_approval_choice": Rule(400, INVALID),
    "invalid_callback_url": Rule(400, INVALID),
    "invalid_schedule": Rule(400, INVALID),
    "invalid_timezone": Rule(400, INVALID),
    "invalid_delivery": Rule(400, INVALID),
    "address_refused": Rule(400, INVALID),
    "response_not_background": Rule(400, INVALID),
    "invalid_api_key": Rule(401, INVALID),
    "forbidden": Rule(403, PERMISSION),
    "insufficient_scope": Rule(403, PERMISSION),
    "origin_not_allowed": Rule(403, PERMISSION),
    "not_found": Rule(404, INVALID),
    "model_not_found": Rule(404, INVALID),
    "run_not_found": Rule(404, INVALID),
    "job_not_found": Rule(404, INVALID),
    "previous_response_not_found": Rule(404, INVALID),
    "session_not_found": Rule(404, INVALID),
    "response_not_found": Rule(404, INVALID),
    "file_not_found": Rule(404, INVALID),
    "method_not_allowed": Rule(405, INVALID),
    "request_timeout": Rule(408, INVALID),
    "conflict": Rule(409, INVALID, may_retry=False),
    "idempotency_key_conflict": Rule(409, INVALID, may_retry=False),
    "approval_not_pending": Rule(409, INVALID, may_retry=False),
    "approval_not_active": Rule(409, INVALID, may_retry=False),
    "clarify_not_pending": Rule(409, INVALID, may_retry=False),
    "clarify_not_active": Rule(409, INVALID, may_retry=False),
    "run_not_active": Rule(409, INVALID, may_retry=False),
    "run_not_accepting_steer": Rule(409, INVALID, may_retry=False),
    "session_exists": Rule(409, INVALID, may_retry=False),
    "session_busy": Rule(409, INVALID, may_retry=False),
    "response_in_progress": Rule(409, INVALID, may_retry=False),
    "conversation_taken": Rule(409, INVALID, may_retry=False),
    "job_completed": Rule(409, INVALID, may_retry=False),
    "run_cancelled": Rule(409, INVALID, may_retry=False),
    "body_too_large": Rule(413, INVALID),
    "file_quota_exceeded": Rule(413, INVALID, may_retry=False),
    "range_not_satisfiable": Rule(416, INVALID),
    "unsupported_media_type": Rule(415, INVALID),
    "host_not_allowed": Rule(421, INVALID),
    "limit_reached": Rule(422, INVALID),
    "too_many_attempts": Rule(429, RATE),
    "rate_limit_exceeded": Rule(429, RATE),
    "budget_exceeded": Rule(429, RATE, may_retry=False),
    "upstream_rate_limited": Rule(429, RATE),
    # we, or what we depend on
    "internal_error": Rule(500, SERVER, may_retry=False),
    "config_error": Rule(500, SERVER, may_retry=False),
    "tool_failed": Rule(500, SERVER, may_retry=False),
    "upstream_error": Rule(502, UPSTREAM),
    "upstream_auth": Rule(502, UPSTREAM, may_retry=False),
    "upstream_rejected": Rule(502, UPSTREAM, may_retry=False),
    "upstream_unreachable": Rule(502, UPSTREAM),
    "upstream_stream_cut": Rule(502, UPSTREAM),
    "no_model": Rule(503, SERVER, may_retry=False),
    "embedded_model_missing": Rule(503, SERVER, may_retry=False),
    "embedded_model_no_room": Rule(503, SERVER, may_retry=False),
    "embedded_model_wrong": Rule(503, SERVER, may_retry=False),
    "gateway_draining": Rule(503, SERVER),
    "profile_elsewhere": Rule(503, SERVER, may_retry=False),
    "run_interrupted": Rule(503, SERVER),
    "store_unavailable": Rule(503, SERVER),
    "store_corrupt": Rule(503, SERVER, may_retry=False),
}

RETRY_AFTER_SECONDS = {"gateway_draining": 5.0, "run_interrupted": 5.0, "rate_limit_exceeded": 1.0}


class MethodNotAllowed(HermesError):
    code = "method_not_allowed"

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(f"{method} is not possible here; allowed: {allowed}")
        self.headers = {"Allow": allowed}


def rule_of(error: HermesError) -> Rule:
    found = RULES.get(error.code)
    if found is not None:
        return found
    for kind in type(error).__mro__:
        found = RULES.get(getattr(kind, "code", ""))
        if found is not None:
            return found
    return RULES["internal_error"]


def rule_of_kept(error: Mapping[str, Any]) -> Rule:
    """For errors that were kept as data (`RunFailed.error`); a code nobody knows any more is the server's fault.

    A provider that rejects a parameter which the caller himself set blames the caller, and so do we.
    """
    code = error.get("code")
    if code == "upstream_rejected" and error.get("param"):
        return Rule(400, INVALID)
    return RULES.get(str(code), RULES["internal_error"])


def envelope(message: str, code: str, rule: Rule, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": rule.type, "param": param, "code": code}}


def error_envelope(error: HermesError) -> dict[str, Any]:
    return envelope(error.message, error.code, rule_of(error), error.param)


def error_response(error: HermesError, path: str = "") -> Response:
    """Clients of /api/jobs read `detail`, so there it stands beside the envelope."""
    rule = rule_of(error)
    body = error_envelope(error) | ({"detail": error.message} if "/api/jobs" in path else {})
    headers = {**retry_headers(rule, error.code, getattr(error, "retry_after_seconds", None))}
    headers.update(getattr(error, "headers", {}))
    if rule.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(_dump(body), rule.status, headers, "application/json")


def kept_error_response(
    error: Mapping[str, Any], *, used_tools: bool = False, headers: Mapping[str, str] | None = None
) -> Response:
    """The answer for a run that failed: `error` is `RunFailed.error`."""
    code = str(error.get("code") or "internal_error")
    rule = rule_of_kept(error)
    told = retry_headers(rule, code, error.get("retry_after"))
    if used_tools:
        told["x-should-retry"] = "false"
    return Response(_dump(kept_envelope(error)), rule.status, {**(headers or {}), **told}, "application/json")


def kept_envelope(error: Mapping[str, Any]) -> dict[str, Any]:
    code = str(error.get("code") or "internal_error")
    return envelope(str(error.get("message", "")), code, rule_of_kept(error), error.get("param"))


def retry_headers(rule: Rule, code: str, retry_after_seconds: float | None) -> dict[str, str]:
    headers: dict[str, str] = {}
    after = retry_after_seconds if retry_after_seconds is not None else RETRY_AFTER_SECONDS.get(code)
    if after is not None and rule.status in (429, 503):
        headers["Retry-After"] = str(max(1, math.ceil(after)))
    if rule.may_retry is not None:
        headers["x-should-retry"] = "true" if rule.may_retry else "false"
    return headers


def _dump(value: dict[str, Any]) -> bytes:
    return orjson.dumps(value)
