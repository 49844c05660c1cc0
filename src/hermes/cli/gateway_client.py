"""The running gateway of a home, for commands that need what only it has: its runs, its keys at work, its jobs."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hermes.core.errors import HermesError
from hermes.home.locks import running_gateway
from hermes.home.paths import Home
from hermes.home.settings import load_settings

TIMEOUT_SECONDS = 30.0


class GatewayRefused(HermesError):
    """The gateway answered with an error; `code` and the message are its own, `status` the HTTP status."""

    code = "gateway_refused"

    def __init__(self, message: str, *, code: str | None, status: int) -> None:
        super().__init__(message, code=code)
        self.status = status


@dataclass(frozen=True, slots=True)
class GatewayClient:
    """`url` without a path. Every call raises GatewayRefused, or HermesError `gateway_unreachable`."""

    url: str
    key: str

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        return self.call("GET", path, query=query)

    def post(self, path: str, body: object = None) -> Any:
        return self.call("POST", path, body)

    def call(self, method: str, path: str, body: object = None, *, query: Mapping[str, Any] | None = None) -> Any:
        """The answer's JSON; None where it has none."""
        with self._answer(method, path, body, query, TIMEOUT_SECONDS) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def events(self, path: str, query: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """The `data` of each event of a stream, to its end."""
        with self._answer("GET", path, None, query, None) as answer:
            for line in answer:
                if line.startswith(b"data: {"):
                    yield json.loads(line[6:])

    @contextmanager
    def _answer(
        self, method: str, path: str, body: object, query: Mapping[str, Any] | None, timeout: float | None
    ) -> Iterator[http.client.HTTPResponse]:
        where = urllib.parse.urlsplit(self.url)
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        path = where.path.rstrip("/") + path  # a profile may be served under /p/NAME of another's gateway
        target = f"{path}?{urllib.parse.urlencode(asked)}" if asked else path
        headers = {"Authorization": f"Bearer {self.key}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = http.client.HTTPConnection(where.hostname or "127.0.0.1", where.port, timeout=timeout)
        try:
            connection.request(method, target, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            if answer.status >= 400:
                raise _refusal(answer)
            yield answer
        except (OSError, http.client.HTTPException) as error:
            raise HermesError(
                f"the gateway at {self.url} does not answer: {error}", code="gateway_unreachable"
            ) from error
        finally:
            connection.close()


def gateway_client(home: Home, environ: Mapping[str, str]) -> GatewayClient | None:
    """None when no gateway of this home runs, or it has no listener yet."""
    process = running_gateway(home.pid_file)
    if process is None or process.url is None:
        return None
    # under /p/NAME of the default's gateway, the environment speaks for the default profile alone
    settings = load_settings(home, {} if process.is_guest else environ, is_lenient=True)
    url = process.url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    return GatewayClient(url, settings.api_server.key or "")


def need_gateway(home: Home, environ: Mapping[str, str]) -> GatewayClient:
    """Raises HermesError `gateway_not_running` with the command that starts it."""
    client = gateway_client(home, environ)
    if client is None:
        raise HermesError(
            f"the gateway does not run, and this needs it; start it with: {home.command} gateway start",
            code="gateway_not_running",
        )
    return client


def _refusal(answer: http.client.HTTPResponse) -> GatewayRefused:
    text = answer.read(65_536)
    try:
        error = json.loads(text)["error"]
        return GatewayRefused(error["message"], code=error.get("code"), status=answer.status)
    except (ValueError, KeyError, TypeError):
        return GatewayRefused(f"the gateway answered {answer.status}", code=None, status=answer.status)
