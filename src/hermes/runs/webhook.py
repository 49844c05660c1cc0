"""A signed POST to a URL that somebody else chose (spec: api-server section 5, callback_url; security, SSRF).

docs/runs.md says how a receiver verifies it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from hermes.core.addresses import AddressRefused, Resolver, Target, check_url, split_url
from hermes.core.clock import Clock
from hermes.core.errors import InvalidInput

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10.0
MAX_URL_CHARACTERS = 2048
MAX_RETRY_AFTER_SECONDS = 3600.0

SIGNATURE = "X-Hermes-Signature"
TIMESTAMP = "X-Hermes-Timestamp"
DELIVERY = "X-Hermes-Delivery"
EVENT = "X-Hermes-Event"


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of one try. `problem` is empty where the receiver took it (2xx).

    `is_refused_for_good`: 410, nothing more is wanted there. `retry_after_seconds`: what the receiver asked for.
    """

    problem: str = ""
    is_refused_for_good: bool = False
    retry_after_seconds: float = 0.0

    @property
    def is_taken(self) -> bool:
        return not self.problem


class Webhooks:
    """`secret` gives the signing secret, and makes it where there is none: it is asked once, in a thread.

    `hosts` (`host` or `host:port`) may be of the owner's own network and may be asked over plain http; every other URL
    must be https and lead to a public address.
    """

    def __init__(
        self,
        clock: Clock,
        secret: Callable[[], str],
        *,
        hosts: Collection[str] = (),
        resolve: Resolver | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._clock = clock
        self._make_secret = secret
        self._hosts = frozenset(host.strip().lower() for host in hosts)
        self._resolve = resolve
        self._timeout_seconds = timeout_seconds
        self._secret: asyncio.Future[bytes] | None = None

    async def check(self, url: str, param: str = "callback_url") -> Target:
        """Raises InvalidInput `invalid_callback_url`."""
        try:
            return await self._target(url)
        except AddressRefused as refused:
            raise InvalidInput(f"{param}: {refused.message}", code="invalid_callback_url", param=param) from refused

    async def secret(self) -> bytes:
        """The signing secret. Made and written to the home's .env where there was none."""
        if self._secret is None:
            self._secret = asyncio.ensure_future(asyncio.to_thread(lambda: self._make_secret().encode()))
        try:
            return await asyncio.shield(self._secret)
        except Exception:
            self._secret = None  # a full disk now: the next one tries again
            raise

    async def send(self, url: str, body: bytes, *, delivery_id: str, event: str) -> Answered:
        """One try. Never raises for what the receiver, or the way to it, does wrong. `body` is JSON."""
        secret = await self.secret()
        timestamp = str(int(self._clock.now()))
        headers = {
            "Content-Type": "application/json",
            SIGNATURE: signature(secret, timestamp, body),
            TIMESTAMP: timestamp,
            DELIVERY: delivery_id,
            EVENT: event,
        }
        try:
            target = await self._target(url)
            return await _post(target, body, headers, self._timeout_seconds)
        except AddressRefused as refused:
            return Answered(refused.message)
        except TimeoutError:
            return Answered(f"no answer within {self._timeout_seconds:g} s")
        except OSError as error:  # aiohttp's errors of connecting are OSErrors
            return Answered(f"cannot connect: {error.strerror or type(error).__name__}")

    async def _target(self, url: str) -> Target:
        if len(url) > MAX_URL_CHARACTERS:
            raise AddressRefused(f"the URL has more than {MAX_URL_CHARACTERS} characters")
        _, host, port = split_url(url, ("http", "https"))
        is_own = bool({host, f"{host}:{port}", f"[{host}]", f"[{host}]:{port}"} & self._hosts)
        schemes = ("http", "https") if is_own else ("https",)
        return await check_url(url, schemes=schemes, allow_private=is_own, resolve=self._resolve)


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """`sha256=` and the HMAC, in hexadecimal digits, of the timestamp, a dot and the body as sent."""
    return "sha256=" + hmac.new(secret, timestamp.encode("ascii") + b"." + body, hashlib.sha256).hexdigest()


async def _post(target: Target, body: bytes, headers: dict[str, str], timeout_seconds: float) -> Answered:
    import aiohttp

    from hermes.pinned import open_pinned

    session, url = open_pinned(target, timeout_seconds)
    try:
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            status, retry_after = response.status, response.headers.get("Retry-After", "")
    except (aiohttp.ClientOSError, aiohttp.ServerTimeoutError):
        raise
    except aiohttp.ClientError as error:
        return Answered(f"no answer in HTTP: {type(error).__name__}")
    finally:
        await session.close()
    if 200 <= status < 300:
        return Answered()
    if 300 <= status < 400:
        return Answered(f"it answered {status}; redirects are not followed")
    if status == 410:
        return Answered("it answered 410: it wants no more", is_refused_for_good=True)
    wait = float(retry_after) if re.fullmatch(r"[0-9]{1,6}", retry_after) else 0.0
    return Answered(f"it answered {status}", retry_after_seconds=min(wait, MAX_RETRY_AFTER_SECONDS))
