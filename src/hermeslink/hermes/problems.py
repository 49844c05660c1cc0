"""What can go wrong between Link and an API server."""

from __future__ import annotations

from hermes.core.errors import HermesError, NotFound


class ServerUnavailable(HermesError):
    """Nothing answers there now, or it stopped in the middle. The same may succeed later."""

    code = "hermes_api_server_unavailable"


class NotReached(ServerUnavailable):
    """Not even a connection: nothing was sent."""


class ServerUnauthorized(ServerUnavailable):
    """It answers, and refuses the key that the profile's .env has. It passes when the two are the same again."""


class ServerRefused(HermesError):
    """It answered with `status`, `code` and a message of its own: asking again changes nothing, but for a 429."""

    code = "hermes_api_server_refused"

    def __init__(
        self,
        status: int,
        code: str | None,
        message: str,
        *,
        param: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message, code=code, param=param)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class RunGone(NotFound):
    """The API server knows no such run, or none any more."""

    code = "run_not_found"
