"""The error tree. The edge (api, cli) maps a class to a status once; rules only raise.

HermesError
├── InvalidInput            400  the request is wrong: `param` names the field
│   ├── TooLarge            413
│   └── UnsupportedMedia    415
├── Unauthorized            401
├── Forbidden               403
├── NotFound                404
├── Conflict                409
├── HostNotAllowed          421
├── Busy                    429  the line is full
├── Draining                503  the gateway is stopping
├── BudgetExceeded          429  the key has spent what it may
├── ProfileElsewhere        503  the profile's own gateway serves it
├── ConfigError             CLI exit 2
│   └── ConfigUnreadable    CLI exit 2
├── StoreUnavailable        503
│   ├── StoreCorrupt        503
│   └── Fenced              503  other nodes took this one for dead; never told to a client
├── NoModel                 503  nothing answers: the message says how to connect one
├── ToolFailed              told to the model, never to the client as an HTTP error
├── LimitReached            a step, token, second or money limit of the run
└── UpstreamError           502  the language model's server failed
    ├── UpstreamAuth        502
    ├── UpstreamRateLimited 429
    ├── UpstreamRejected    502  (400 where the provider blames the caller's own parameters)
    ├── UpstreamUnreachable 502
    └── StreamCut           502  it broke off in the middle of an answer
"""

from __future__ import annotations


class HermesError(Exception):
    """`message` names the thing and the way out; `code` is the stable word clients match on."""

    code = "internal_error"

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code


class InvalidInput(HermesError):
    code = "invalid_request"


class TooLarge(InvalidInput):
    code = "body_too_large"


class UnsupportedMedia(InvalidInput):
    code = "unsupported_media_type"


class Unauthorized(HermesError):
    code = "invalid_api_key"


class Forbidden(HermesError):
    code = "forbidden"


class NotFound(HermesError):
    code = "not_found"


class Conflict(HermesError):
    code = "conflict"


class HostNotAllowed(HermesError):
    """`host` is the name that was asked for, in its normal form."""

    code = "host_not_allowed"

    def __init__(self, message: str, *, host: str = "") -> None:
        super().__init__(message)
        self.host = host


class Busy(HermesError):
    """`retry_after_seconds` goes out as Retry-After."""

    code = "rate_limit_exceeded"

    def __init__(
        self,
        message: str,
        *,
        retry_after_seconds: float = 1.0,
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message, code=code, param=param)
        self.retry_after_seconds = retry_after_seconds


class Draining(Busy):
    code = "gateway_draining"


class BudgetExceeded(HermesError):
    """Of the key that asks. It does not pass by waiting."""

    code = "budget_exceeded"


class ProfileElsewhere(HermesError):
    """Only somebody with a key of the profile is told."""

    code = "profile_elsewhere"


class ConfigError(HermesError):
    code = "config_error"


class ConfigUnreadable(ConfigError):
    """A file of the home, by its `name` alone; `line` is the one at fault, None where it is not about one. The message
    has the path, and may have words of the file: secrets."""

    def __init__(self, message: str, name: str, line: int | None = None) -> None:
        super().__init__(message)
        self.name = name
        self.line = line


class StoreUnavailable(HermesError):
    code = "store_unavailable"


class StoreCorrupt(StoreUnavailable):
    code = "store_corrupt"


class Fenced(StoreUnavailable):
    """The node writes no more about the runs it had: they are another's."""


class NoModel(HermesError):
    code = "no_model"


class ToolFailed(HermesError):
    """The message goes to the model as the tool's result."""

    code = "tool_failed"


class LimitReached(HermesError):
    """`limit` is max_steps, max_tokens, max_seconds or max_usd."""

    code = "limit_reached"

    def __init__(self, message: str, *, limit: str) -> None:
        super().__init__(message, param=limit)
        self.limit = limit


class UpstreamError(HermesError):
    """`status` is what the model's server answered, None where it did not answer at all.

    `is_retryable`: the same request may succeed later. `retry_after_seconds`: what the server asked for.
    """

    code = "upstream_error"
    is_retryable = True

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after_seconds: float | None = None,
        is_retryable: bool | None = None,
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message, code=code, param=param)
        self.status = status
        self.retry_after_seconds = retry_after_seconds
        if is_retryable is not None:
            self.is_retryable = is_retryable


class UpstreamAuth(UpstreamError):
    code = "upstream_auth"
    is_retryable = False


class UpstreamRateLimited(UpstreamError):
    code = "upstream_rate_limited"


class UpstreamRejected(UpstreamError):
    code = "upstream_rejected"
    is_retryable = False


class UpstreamUnreachable(UpstreamError):
    code = "upstream_unreachable"


class StreamCut(UpstreamError):
    code = "upstream_stream_cut"
