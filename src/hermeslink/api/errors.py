"""Every failure leaves as `{"ok": false, "error": {"code", "message"}}`; the tables say with which status."""

from __future__ import annotations

import math
from typing import Any, Literal

import orjson
from pydantic import BaseModel
from starlette.responses import Response

from hermes.core.errors import (
    Busy,
    Conflict,
    Draining,
    Forbidden,
    HermesError,
    HostNotAllowed,
    InvalidInput,
    NotFound,
    StoreUnavailable,
    TooLarge,
    Unauthorized,
    UnsupportedMedia,
    UpstreamError,
)
from hermeslink.hermes.problems import ServerRefused

STATUSES: dict[type[HermesError], int] = {
    InvalidInput: 400,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    UnsupportedMedia: 415,
    HostNotAllowed: 421,
    Busy: 429,
    Draining: 503,
    StoreUnavailable: 503,
    UpstreamError: 502,
    HermesError: 500,
}

CODES: dict[str, int] = {
    "method_not_allowed": 405,
    "request_timeout": 408,
    "range_not_satisfiable": 416,
    "validation_error": 422,
    "expose_failed": 502,
    "hermes_cron_job_invalid": 502,
    "hermes_api_server_unavailable": 503,
    "update_check_unavailable": 503,
}
"""Codes whose status is not that of their class."""


PASSED_ON = frozenset({400, 404, 409, 413, 422, 429})
"""Of an API server that refused: the client's own fault. Anything else it says is no concern of a client's."""


class ErrorBody(BaseModel):
    """`field` where one field of the request is at fault; `request_id` where the log says more under that id."""

    code: str
    message: str
    field: str | None = None
    request_id: str | None = None


class ErrorAnswer(BaseModel):
    ok: Literal[False] = False
    error: ErrorBody


class MethodNotAllowed(HermesError):
    code = "method_not_allowed"

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(f"{method} is not possible here; allowed: {allowed}")
        self.headers = {"Allow": allowed}


def status_of(error: HermesError) -> int:
    if isinstance(error, ServerRefused):
        return error.status if error.status in PASSED_ON else 502
    found = CODES.get(error.code)
    if found is not None:
        return found
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def is_inside(error: HermesError) -> bool:
    """Whether its message is for the log alone: a bug's, and that of a store, which names files of this machine."""
    return status_of(error) == 500 or isinstance(error, StoreUnavailable)


def error_body(error: HermesError, request_id: str | None = None) -> dict[str, Any]:
    """What is inside is never told to a client; the log has it under the request's id."""
    if is_inside(error):
        is_bug = status_of(error) == 500
        told: dict[str, Any] = {
            "code": HermesError.code if is_bug else error.code,
            "message": f"{'The request failed' if is_bug else 'The store fails'} inside the service; its log says why.",
            "request_id": request_id,
        }
    else:
        told = {"code": error.code, "message": error.message}
        if error.param is not None:
            told["field"] = error.param
    return {"ok": False, "error": told}


def error_response(error: HermesError, request_id: str | None = None) -> Response:
    status = status_of(error)
    headers: dict[str, str] = {}
    after = getattr(error, "retry_after_seconds", None)
    if after is not None and status in (429, 503):
        headers["Retry-After"] = str(max(1, math.ceil(after)))
    headers.update(getattr(error, "headers", {}))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(orjson.dumps(error_body(error, request_id)), status, headers, "application/json")
