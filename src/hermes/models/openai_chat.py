"""Any server that speaks OpenAI's chat completions, streamed.

No object is made for a chunk: what arrives in one read of the socket becomes at most one delta of each kind
(docs/adr/0021).
"""

from __future__ import annotations

import asyncio
import base64
import errno
import io
import logging
from collections.abc import AsyncIterator, Mapping

import aiohttp
from yarl import URL

from hermes.core.clock import Clock, SystemClock
from hermes.core.errors import ConfigError, StreamCut, UpstreamError, UpstreamRejected, UpstreamUnreachable
from hermes.core.model import ModelItem, ModelRequest

from . import prices
from .connection import open_session
from .openai_answer import Answer
from .openai_body import BodyBuilder, Dialect
from .upstream import Refusal, read_refusal, upstream_error, without_secret

log = logging.getLogger(__name__)

_LARGE_BODY = 2**20
_LONGEST_ERROR_BODY = 2**16
_END_SECONDS = 0.05
"""How long the end of the response is waited for after [DONE], so that the connection can be used again."""
_TAIL_SECONDS = 5.0
"""How long a silent server is waited for once its finish reason is known: only usage or [DONE] can still come."""


class OpenAIChatModel:
    """One model of one server.

    `reasoning_effort` is sent where the request says none. `key_name` is what a person would have to mend when the key
    is refused. `idle_seconds` is the longest silence inside an answer, `first_byte_seconds` before it.
    The session is shared by all models of an event loop; without one the model opens its own, and `close` closes it.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        api_key: str | None = None,
        provider: str = "openai",
        session: aiohttp.ClientSession | None = None,
        clock: Clock | None = None,
        context_length: int | None = None,
        reasoning_effort: str | None = None,
        takes_images: bool = True,
        takes_audio: bool = False,
        headers: Mapping[str, str] | None = None,
        proxy: str | None = None,
        key_name: str = "the API key",
        connect_seconds: float = 10.0,
        first_byte_seconds: float = 120.0,
        idle_seconds: float = 120.0,
    ) -> None:
        self.name = name
        self.provider = provider
        self._context_length = context_length
        self.takes_images = takes_images
        self.takes_audio = takes_audio
        self._url, basic = _endpoint(base_url)
        self.base_url = str(self._url.with_query(None).parent.parent).rstrip("/")
        self._api_key = api_key or None
        self._key_name = key_name
        self._clock: Clock = clock or SystemClock()
        self._session = session
        self._owns_session = session is None
        self._proxy = proxy
        self._headers = {"Content-Type": "application/json", "Accept": "text/event-stream", **(headers or {})}
        if self._api_key is not None:
            self._headers["Authorization"] = f"Bearer {self._api_key}"
        elif basic is not None:
            self._headers["Authorization"] = basic
        self._connect_seconds = connect_seconds
        self._first_byte_seconds = first_byte_seconds
        self._idle_seconds = idle_seconds
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_seconds, sock_read=first_byte_seconds)
        self._dialect = Dialect.of(self._url.host or "", reasoning_effort)
        self._body = BodyBuilder(name, signs_calls=self._dialect.signs_calls)
        self._may_be_stale = False

    @property
    def context_length(self) -> int | None:
        return self._context_length or prices.context_length(self.provider, self.name)

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelItem]:
        answer = Answer()
        response, ignored = await self._open(request)
        try:
            content = response.content
            if _is_json(response):
                for item in answer.feed_whole(await response.read()):
                    yield item
            is_tail = False
            while not answer.is_ended:
                data = await content.readany()
                for item in answer.feed(data) if data else answer.close():
                    yield item
                if not data:
                    break
                if answer.is_in_tail and not is_tail:
                    is_tail = True
                    _limit_silence(response, _TAIL_SECONDS)
            if answer.refusal is None and not content.at_eof():
                await _end(content)
        except (aiohttp.ClientError, OSError) as exc:
            for item in self._rest(answer, response):
                yield item
            if not answer.has_finished and not answer.is_ended:
                raise self._cut(exc) from exc
        finally:
            if not response.closed:
                response.close()
        if answer.refusal is not None:
            raise self._error(answer.refusal, answer.refusal.status)
        if answer.gap is not None:
            raise StreamCut(f"{self.provider} {answer.gap} ({self.name} at {self.base_url})")
        self._may_be_stale = True
        done = answer.done(self.name, ignored)
        if answer.extras:
            self._body.remember(answer.extras)
        yield done

    async def close(self) -> None:
        if self._owns_session and self._session is not None:
            await self._session.close()
            self._session = None

    async def _open(self, request: ModelRequest) -> tuple[aiohttp.ClientResponse, tuple[str, ...]]:
        """The response with status 200, and the caller's parameters that this server does not take."""
        while True:
            fields, ignored = self._dialect.fields(request)
            response = await self._post(self._body.build(request, fields))
            if response.status == 200:
                if response.headers.get("Content-Type", "").startswith("text/html"):
                    response.close()
                    raise UpstreamRejected(
                        f"{self.base_url} answers with a web page, not with a model: "
                        "a base_url of an OpenAI-compatible API mostly ends in /v1",
                        status=200,
                    )
                if self._idle_seconds != self._first_byte_seconds:
                    _limit_silence(response, self._idle_seconds)
                return response, ignored
            refusal = await self._refusal(response)
            if response.status in (400, 422) and self._dialect.learn(refusal, fields):
                self._tell_of_lost_effort(request, fields)
                continue
            raise self._error(refusal, response.status, response.headers, request.params)

    def _tell_of_lost_effort(self, request: ModelRequest, sent: Mapping[str, object]) -> None:
        """Once: what was learned is not sent again. A caller's own is told to the caller."""
        name = "reasoning_effort"
        if name in sent and request.params.get(name) is None and name not in self._dialect.fields(request)[0]:
            log.warning("%s of %s does not take %s %s: it is left out", self.name, self.provider, name, sent[name])

    async def _post(self, body: bytes) -> aiohttp.ClientResponse:
        if self._session is None:
            self._session = open_session()
        while True:
            try:
                return await self._session.post(
                    self._url,
                    data=body if len(body) < _LARGE_BODY else io.BytesIO(body),
                    headers=self._headers,
                    timeout=self._timeout,
                    proxy=self._proxy,
                    allow_redirects=False,
                )
            except aiohttp.SocketTimeoutError as exc:
                raise self._unreachable(f"not a byte within {self._first_byte_seconds:g} s") from exc
            except aiohttp.ConnectionTimeoutError as exc:
                raise self._unreachable(f"no connection within {self._connect_seconds:g} s") from exc
            except aiohttp.ClientConnectorError as exc:
                raise self._unreachable(_reason(exc)) from exc
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as exc:
                if not self._may_be_stale:
                    raise self._unreachable("it closed the connection without an answer") from exc
                self._may_be_stale = False  # a kept connection that the server closed meanwhile: once more, afresh
            except (aiohttp.ClientError, OSError) as exc:
                raise self._unreachable(str(exc) or type(exc).__name__) from exc

    async def _refusal(self, response: aiohttp.ClientResponse) -> Refusal:
        if 300 <= response.status < 400:
            response.close()
            return Refusal(f"it redirects to {response.headers.get('Location')!r}; set that as base_url")
        try:
            body = await response.content.read(_LONGEST_ERROR_BODY)
            return read_refusal(body)
        except (aiohttp.ClientError, OSError):
            return Refusal("")
        finally:
            response.release()

    def _rest(self, answer: Answer, response: aiohttp.ClientResponse) -> list[ModelItem]:
        """What arrived together with the break: aiohttp's own reads raise before they give it."""
        return answer.feed(b"".join(response.content._buffer))

    def _error(
        self,
        refusal: Refusal,
        status: int | None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, object] | None = None,
    ) -> UpstreamError:
        return upstream_error(
            refusal,
            status=status,
            provider=self.provider,
            address=self.base_url,
            model=self.name,
            headers=headers,
            now=self._clock.now(),
            secret=self._api_key,
            key_name=self._key_name,
            params=params,
        )

    def _cut(self, exc: Exception) -> StreamCut:
        what = "was silent for too long" if isinstance(exc, TimeoutError) else "broke off its answer"
        return StreamCut(f"{self.provider} {what} ({self.name} at {self.base_url})")

    def _unreachable(self, reason: str) -> UpstreamUnreachable:
        return UpstreamUnreachable(
            without_secret(f"no answer from {self.provider} at {self.base_url}: {reason}", self._api_key)
        )


def _endpoint(base_url: str) -> tuple[URL, str | None]:
    """The address of chat completions, and the Authorization header for a user in the URL."""
    try:
        url = URL(base_url.strip())
    except ValueError as exc:
        raise ConfigError(f"model.base_url {base_url!r} is no address", param="model.base_url") from exc
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError(f"model.base_url {base_url!r} must start with http:// or https://", param="model.base_url")
    basic = None
    if url.user is not None:
        pair = f"{url.user}:{url.password or ''}".encode()
        basic = f"Basic {base64.b64encode(pair).decode()}"
        url = url.with_user(None)
    path = url.path.rstrip("/").removesuffix("/chat/completions")
    return url.with_path(f"{path}/chat/completions", keep_query=True), basic


def _is_json(response: aiohttp.ClientResponse) -> bool:
    return response.headers.get("Content-Type", "").startswith("application/json")


def _limit_silence(response: aiohttp.ClientResponse, seconds: float) -> None:
    connection = response.connection
    if connection is not None and connection.protocol is not None:  # None: the whole answer is here already
        connection.protocol.read_timeout = seconds
        connection.protocol.start_timeout()


async def _end(content: aiohttp.StreamReader) -> None:
    try:
        async with asyncio.timeout(_END_SECONDS):
            while not content.at_eof():
                await content.readany()
    except TimeoutError:
        pass


def _reason(exc: aiohttp.ClientConnectorError) -> str:
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        return "the host name is not known"
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted ({exc.certificate_error})"
    if exc.errno == errno.ECONNREFUSED or isinstance(exc.os_error, ConnectionRefusedError):
        return "connection refused"
    return exc.strerror or str(exc.os_error) or "connection failed"
