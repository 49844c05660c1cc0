"""The three tokens (spec: link-api, section 2). Each is 32 random bytes; only their SHA-256 is kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode

RANDOM_BYTES = 32
ACCESS_PREFIX = "hlat_"
REFRESH_PREFIX = "hlrt_"


def new_connect_token() -> str:
    return _text(secrets.token_bytes(RANDOM_BYTES))


def new_access_token() -> str:
    return ACCESS_PREFIX + _text(secrets.token_bytes(RANDOM_BYTES))


def new_refresh_token() -> str:
    return REFRESH_PREFIX + _text(secrets.token_bytes(RANDOM_BYTES))


def new_salt() -> str:
    return secrets.token_hex(RANDOM_BYTES)


def successor(refresh_token: str, salt: str) -> str:
    """The refresh token that follows. Whoever lost the answer gets the same one again; neither the database, which has
    the salt, nor somebody with the old token can tell it alone."""
    return REFRESH_PREFIX + _text(hmac.digest(refresh_token.encode(), salt.encode(), "sha256"))


def hash_of(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def is_same(one_hash: str, other_hash: str) -> bool:
    return hmac.compare_digest(one_hash, other_hash)


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
