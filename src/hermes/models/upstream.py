"""What a model's server says when it fails, as one of our errors.

| answer | error | asked again |
|---|---|---|
| 401, 403 | UpstreamAuth | no |
| 429 | UpstreamRateLimited | yes, unless the account has no money left |
| 400, 402, 404, 413, 422 and other 4xx | UpstreamRejected | no |
| 408, 409, 425, 5xx | UpstreamError | yes |
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from hermes.core.errors import UpstreamAuth, UpstreamError, UpstreamRateLimited, UpstreamRejected

_LONGEST_MESSAGE = 1000
_TRANSIENT = frozenset({408, 409, 425})
_NO_MONEY = re.compile(
    r"insufficient_quota|insufficient.{0,20}(credit|balance|quota|funds)|exceeded your current quota", re.IGNORECASE
)
_TOO_LONG = re.compile(
    r"context_length_exceeded|maximum context length|context (length|window|size)|prompt is too long"
    r"|too many (input )?tokens",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error body, whatever its shape. `code` and `param` are the provider's own words."""

    message: str
    code: str = ""
    param: str | None = None
    status: int | None = None


def read_refusal(body: bytes | str) -> Refusal:
    """Reads OpenAI's envelope, `{"error": "text"}`, FastAPI's `detail`, Google's list, or plain text."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
        return Refusal(_plain(text))
    return refusal_of(value)


def refusal_of(value: Any) -> Refusal:
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return Refusal(_plain(str(value)))
    error = value.get("error", value)
    if isinstance(error, str):
        return Refusal(_plain(error), code=_word(value.get("code") or value.get("error_type")))
    if not isinstance(error, dict):
        error = value
    detail = error.get("detail")
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        return _of_validation(detail[0])
    message = error.get("message") or detail or error.get("msg") or error.get("type") or ""
    if isinstance(message, dict):
        return refusal_of(message)
    code = error.get("code")
    param = error.get("param")
    return Refusal(
        _plain(message if isinstance(message, str) else orjson.dumps(message).decode()),
        code=_word(code if isinstance(code, str) and code else error.get("type")),
        param=param if isinstance(param, str) and param else None,
        status=_status(code) or _status(error.get("status")),
    )


def upstream_error(
    refusal: Refusal,
    *,
    status: int | None,
    provider: str,
    address: str,
    model: str,
    headers: Mapping[str, str] | None = None,
    now: float = 0.0,
    secret: str | None = None,
    key_name: str = "the API key",
    params: Mapping[str, Any] | None = None,
) -> UpstreamError:
    """`status` is None for an error in the middle of a stream that names none. `params` are what the caller set:
    the error's `param` names one of those or nothing. `secret` never gets into the message."""
    said = f": {refusal.message}" if refusal.message else ""
    number = f" ({status})" if status is not None else ""
    code = "context_length_exceeded" if _is_too_long(refusal, status) else None
    param = refusal.param if params is not None and refusal.param in params else None
    wait = retry_after(headers, now) if headers is not None else None

    def text(what: str) -> str:
        return without_secret(f"{provider} {what}{number}{said}", secret)

    if status in (401, 403):
        return UpstreamAuth(text(f"at {address} does not accept {key_name}"), status=status)
    if status == 429:
        is_broke = _NO_MONEY.search(f"{refusal.code} {refusal.message}") is not None
        return UpstreamRateLimited(
            text("limits its requests" if not is_broke else "has no credit left for this key"),
            status=status,
            retry_after_seconds=wait,
            is_retryable=not is_broke,
        )
    if status is not None and 400 <= status < 500 and status not in _TRANSIENT:
        return UpstreamRejected(text(f"rejected the request for {model}"), status=status, code=code, param=param)
    if status is not None and status < 400:
        return UpstreamError(text(f"at {address} gave an answer that is not one"), status=status, is_retryable=False)
    return UpstreamError(
        text(f"failed with {model}"),
        status=status,
        retry_after_seconds=wait,
        code=code,
        is_retryable=False if code else None,
    )


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds from `retry-after-ms`, or from `Retry-After` as a number or an HTTP date. None where neither is said."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    value = headers.get("Retry-After") or headers.get("retry-after")
    if not value:
        return None
    seconds = _number(value)
    if seconds is not None:
        return max(0.0, seconds)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (TypeError, ValueError):
        return None


def without_secret(text: str, secret: str | None) -> str:
    return text.replace(secret, "***") if secret else text


def _of_validation(problem: dict[str, Any]) -> Refusal:
    location = problem.get("loc")
    words = [str(word) for word in location if word != "body"] if isinstance(location, list) else []
    message = str(problem.get("msg", "invalid"))
    return Refusal(
        _plain(f"{'.'.join(words)}: {message}" if words else message),
        code=_word(problem.get("type")),
        param=words[0] if words else None,
    )


def _is_too_long(refusal: Refusal, status: int | None) -> bool:
    if status is not None and status not in (400, 413, 422, 500):
        return False
    return _TOO_LONG.search(f"{refusal.code} {refusal.message}") is not None


def _plain(text: str) -> str:
    if "<html" in text[:500].lower():
        title = re.search(r"<title>(.*?)</title>", text, re.I | re.S)
        text = title.group(1) if title else "an HTML page"
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + "…"


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _status(value: Any) -> int | None:
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    return value if isinstance(value, int) and 400 <= value <= 599 else None


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and math.isfinite(number) else None
