"""HTTP to one place: what came of a request, in Link's own words. All places share the sockets of one session."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import orjson
from yarl import URL

from hermes import __version__
from hermeslink.hermes.places import Place
from hermeslink.hermes.problems import NotReached, ServerRefused, ServerUnauthorized, ServerUnavailable

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 60.0
SILENCE_SECONDS = 45.0
"""Of a stream: an API server says something every ten seconds, if only a comment."""

_PERMANENT = frozenset({"no_model", "config_error"})
"""Codes of a 503 that waiting does not mend."""
_LONGEST_MESSAGE = 1000
_WRONG_KEY = (
    "the API server refuses the key of this profile's .env: restart the gateway, or put the key there that it was "
    "started with: hermes config set API_SERVER_KEY …"
)
_NO_KEY = (
    "this profile's .env has no key for the API server; make one: hermes config set API_SERVER_KEY "
    "$(openssl rand -hex 32)"
)
_NO_HEADER = (
    "the key in this profile's .env has a line break or another character that cannot be sent; make one: hermes "
    "config set API_SERVER_KEY $(openssl rand -hex 32)"
)


def open_session() -> aiohttp.ClientSession:
    """No limit of connections: each conversation that runs has one. No cookies, no proxy of the environment."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"hermeslink/{__version__}"},
        skip_auto_headers=("Accept-Encoding",),
        trust_env=False,
    )


@asynccontextmanager
async def exchange(
    session: aiohttp.ClientSession,
    place: Place,
    method: str,
    path: str,
    *,
    body: object = None,
    headers: Mapping[str, str] | None = None,
    seconds: float | None = ANSWER_SECONDS,
    silence_seconds: float = SILENCE_SECONDS,
    may_repeat: bool = False,
) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer, when it is a success. `path` is encoded already. `seconds` None: a stream.

    `may_repeat`: the same request twice is one; then a kept connection that had died meanwhile is no failure. Raises
    ServerUnavailable, ServerUnauthorized, ServerRefused, also while the answer is read.
    """
    sent = {**(headers or {})}
    if place.key:
        if not place.key.isprintable():
            raise ServerUnauthorized(_NO_HEADER)
        sent["Authorization"] = f"Bearer {place.key}"
    data = None
    if body is not None:
        data = orjson.dumps(body)
        sent["Content-Type"] = "application/json"
    patience = aiohttp.ClientTimeout(total=seconds, connect=CONNECT_SECONDS, sock_read=silence_seconds)
    sending = partial(
        session.request,
        method,
        _address(place, path),
        data=data,
        headers=sent,
        timeout=patience,
        allow_redirects=False,
    )
    try:
        response = await _answered(sending, may_repeat)
        async with response:
            if response.status >= 300:
                raise _refusal(place, response, await response.read())
            yield response
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as exc:
        raise NotReached(f"no API server answers at {place.url}; start it with: hermes gateway") from exc
    except TimeoutError as exc:
        raise ServerUnavailable(f"the API server at {place.url} does not answer in time") from exc
    except (aiohttp.ClientError, OSError) as exc:
        raise ServerUnavailable(f"the connection to the API server at {place.url} broke") from exc


async def read_object(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """Raises ServerUnavailable for what no API server says."""
    body = await response.read()
    try:
        answer = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise ServerUnavailable(f"what answers at {response.url.origin()} is no Hermes API server")
    return answer


def _address(place: Place, path: str) -> URL:
    """Raises ServerUnavailable for a host of the settings that is none."""
    try:
        return URL(place.url + path, encoded=True)
    except ValueError as exc:
        raise ServerUnavailable(f"{place.url} is no address of an API server: look at API_SERVER_HOST") from exc


async def _answered(
    sending: Callable[[], Awaitable[aiohttp.ClientResponse]], may_repeat: bool
) -> aiohttp.ClientResponse:
    try:
        return await sending()
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
        if not may_repeat:
            raise
    try:
        return await sending()
    except aiohttp.ClientConnectorError as exc:  # not NotReached: something was sent a moment ago
        raise aiohttp.ServerDisconnectedError from exc


def _refusal(place: Place, response: aiohttp.ClientResponse, body: bytes) -> ServerUnavailable | ServerRefused:
    status = response.status
    code, message, param = _read_refusal(body)
    if status == 401:
        return ServerUnauthorized(_WRONG_KEY if place.key else _NO_KEY)
    if status < 400 or (status in (502, 503, 504) and code not in _PERMANENT):
        return ServerUnavailable(message or f"the API server at {place.url} answers with status {status}")
    retry_after = _seconds(response.headers.get("Retry-After"))
    return ServerRefused(
        status,
        code,
        message or f"the API server answers with status {status}",
        param=param,
        retry_after_seconds=retry_after,
    )


def _read_refusal(body: bytes) -> tuple[str | None, str, str | None]:
    """Code, message and param of an envelope, as far as it is one; `detail` as other servers have it."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None, "", None
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict):
        code, message, param = error.get("code"), error.get("message"), error.get("param")
        return (
            code if isinstance(code, str) and code else None,
            message[:_LONGEST_MESSAGE] if isinstance(message, str) else "",
            param if isinstance(param, str) else None,
        )
    detail = error if isinstance(error, str) else answer.get("detail") if isinstance(answer, dict) else None
    return None, detail[:_LONGEST_MESSAGE] if isinstance(detail, str) else "", None


def _seconds(text: str | None) -> float | None:
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
