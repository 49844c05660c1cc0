"""Who asks, and what the key may do. Nothing gets to the router without a key unless it is in `PUBLIC_PATHS`.

Wrong keys are slowed down, by address and over all addresses (docs/adr/0041); nobody is shut out for good.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hermes.core.clock import Clock
from hermes.core.errors import Unauthorized
from hermes.core.guesses import Guesses
from hermes.core.hosts import is_loopback_name
from hermes.core.key import OWNER
from hermes.core.key import Scope as Scope  # what routes ask for
from hermes.core.peers import Peer, Peers, Tunnel

log = logging.getLogger(__name__)

DOCS_FILES = ("docs.css", "docs.js", "swagger-ui-bundle.js", "swagger-ui.css")
"""What the page at /docs loads, which no key can come with."""

PUBLIC_PATHS = frozenset({"/", "/docs", "/health", "/v1/health", *(f"/docs/{name}" for name in DOCS_FILES)})

MAX_KEY_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Principal:
    """The key that asks. `id` owns what it makes, and stays when the key is rotated; `name` is what a person calls it.

    `is_local_only`: too weak for anything but a direct connection from this machine. `tool_items` is the key's own
    `responses.tool_items`. `digest` is what the ring found it by: another when the key is rotated.
    """

    id: str
    name: str
    scopes: frozenset[Scope] = frozenset(Scope)
    is_local_only: bool = False
    tool_items: str | None = None
    digest: bytes = field(default=b"", repr=False, compare=False)

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes


class KeyRing(Protocol):
    """Finds a key by the SHA-256 of its bytes, in a time that does not tell how much of it was right."""

    async def find(self, digest: bytes) -> Principal | None: ...


class OwnerKey:
    """The ring of API_SERVER_KEY alone. `replace` changes the key for the next request."""

    def __init__(self, key: str, *, is_local_only: bool = False) -> None:
        self.replace(key, is_local_only=is_local_only)

    def replace(self, key: str, *, is_local_only: bool = False) -> None:
        self.digest = digest_of(key.encode("utf-8"))
        self._owner = Principal(OWNER, OWNER, is_local_only=is_local_only, digest=self.digest)

    async def find(self, digest: bytes) -> Principal | None:
        return self._owner if hmac.compare_digest(digest, self.digest) else None


def digest_of(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


@dataclass(slots=True)
class Gatekeeper:
    """Authenticates requests. `trusted_proxies`: whose X-Forwarded-For names the client. `tunnel`: what `expose` has
    put in front."""

    keys: KeyRing
    clock: Clock
    trusted_proxies: Sequence[str] = ()
    tunnel: Callable[[], Tunnel] = lambda: "none"
    guesses: Guesses = field(init=False)
    peers: Peers = field(init=False)
    _warned_at: float | None = None

    def __post_init__(self) -> None:
        self.guesses = Guesses(self.clock)
        self.peers = Peers(self.trusted_proxies, self.tunnel)

    async def check(
        self, peer: Sequence[object] | None, headers: Mapping[bytes, bytes], http_version: str = "1.1"
    ) -> Principal:
        """Raises Unauthorized, or Busy `too_many_attempts` while this address has to wait."""
        came = self.peers.of(peer, headers, http_version)
        if came.is_local and not is_loopback_name(headers.get(b"host", b"localhost").decode("latin-1")):
            came = Peer(came.address, is_local=False)  # a tunnel that says nothing, but for the name that was asked for
        key = sent_key(headers)
        digest = digest_of(key) if key is not None and len(key) <= MAX_KEY_BYTES else None
        if not came.is_local:
            self.guesses.check(came.address, digest)
        if digest is None:
            raise Unauthorized("Invalid API key")
        found = await self.keys.find(digest)
        if found is not None and found.is_local_only and not came.is_local:
            self._tell_weak_key()
            found = None
        if found is None:
            self.guesses.wrong(came.address, digest)
            raise Unauthorized("Invalid API key")
        self.guesses.right(came.address, digest)
        return found

    def _tell_weak_key(self) -> None:
        now = self.clock.monotonic()
        if self._warned_at is None or now - self._warned_at > 60:
            self._warned_at = now
            log.warning(
                "the API key was right, but it is too weak for a request that did not come straight from this "
                "machine, and was refused; make a good one: hermes config set API_SERVER_KEY $(openssl rand -hex 32)"
            )


def sent_key(headers: Mapping[bytes, bytes]) -> bytes | None:
    """`Authorization: Bearer KEY` (the scheme in any case) or `x-api-key: KEY`."""
    authorization = headers.get(b"authorization")
    if authorization is not None:
        scheme, _, key = authorization.strip().partition(b" ")
        if scheme.lower() == b"bearer" and key.strip():
            return key.strip()
    key = headers.get(b"x-api-key", b"").strip()
    return key or None
