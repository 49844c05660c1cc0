"""Which API keys may open which door (spec: api-server section 10, security "open to the internet").

A key that can start a run is as strong as a shell on this machine.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

MIN_LOCAL_LENGTH = 16
MIN_OPEN_LENGTH = 32
MIN_DISTINCT = 8  # 32 random hexadecimal digits have fewer once in 20 million

# Printed in manuals, tutorials and examples; a scanner tries these first.
SAMPLE_KEYS = frozenset(
    {
        "abc123",
        "admin",
        "alice-secret",
        "api-key",
        "api_key",
        "apikey",
        "bob-secret",
        "change-me",
        "change-me-local-dev",
        "changeme",
        "default",
        "dummy",
        "example",
        "hermes",
        "hermes-agent",
        "hermes-local",
        "hunter2",
        "letmein",
        "local-dev",
        "my-api-key",
        "my-secret-key",
        "my-super-secret-key",
        "not-needed",
        "password",
        "secret",
        "secret-key",
        "sk-1234",
        "sk-1234567890",
        "sk-local",
        "super-secret",
        "super-secret-key",
        "test",
        "test-key",
        "token",
        "work-secret",
        "your-api-key",
        "your-api-key-here",
        "your-key-here",
        "your-secret-key",
        "your-secret-key-here",
        "your-strong-secret-key",
        "your_api_key",
        "your_secret_key",
    }
)


@dataclass(frozen=True, slots=True)
class KeyVerdict:
    """`text` is empty for `ok`, else one line that names the reason and the way out."""

    level: Literal["ok", "warning", "refusal"]
    text: str = ""

    @property
    def is_refused(self) -> bool:
        return self.level == "refusal"


def check_key(key: str | None, host: str, *, command: str = "hermes", is_exposed: bool = False) -> KeyVerdict:
    """May the API server start with this key on this address?

    `command` is how this home is called (`Home.command`); `is_exposed`: published beyond this machine by a tunnel.
    """
    mend = f"{command} config set API_SERVER_KEY $(openssl rand -hex 32)"
    if key is None or not key.strip():
        return KeyVerdict("refusal", f"API_SERVER_KEY is not set, and no key never starts; make one with: {mend}")
    if not key.isprintable():
        return KeyVerdict("refusal", f"API_SERVER_KEY holds characters no client can send; make another with: {mend}")
    if is_loopback(host) and not is_exposed:
        weakness = _local_weakness(key)
        if weakness is None:
            return KeyVerdict("ok")
        return KeyVerdict(
            "warning", f"API_SERVER_KEY {weakness}: fit for trying out on this machine only; a real one: {mend}"
        )
    weakness = open_weakness(key)
    if weakness is None:
        return KeyVerdict("ok")
    where = "beyond this machine" if is_exposed else f"on {host or 'every address'}"
    return KeyVerdict(
        "refusal",
        f"API_SERVER_KEY {weakness}, and {where} it must be random, {MIN_OPEN_LENGTH} characters or more; "
        f"make one with: {mend}",
    )


def is_loopback(host: str) -> bool:
    """Only this machine reaches it. No other name than localhost is believed, nor a short form of an address."""
    name = host.strip().lower()
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def open_weakness(key: str) -> str | None:
    """Why the key is not fit for an address that others reach; None when it is. Nothing can prove randomness."""
    sample = _sample(key)
    if sample is not None:
        return sample
    if len(key) < MIN_OPEN_LENGTH:
        return f"has {len(key)} characters"
    if len(set(key)) < MIN_DISTINCT:
        return f"has only {len(set(key))} different characters"
    if key in (key + key)[1:-1]:
        return "is one piece repeated"
    steps = [ord(right) - ord(left) for left, right in pairwise(key)]
    if sum(step in (-1, 0, 1) for step in steps) >= 0.8 * len(steps):
        return "counts through an alphabet"
    return None


def _local_weakness(key: str) -> str | None:
    sample = _sample(key)
    if sample is not None:
        return sample
    return f"has only {len(key)} characters" if len(key) < MIN_LOCAL_LENGTH else None


def _sample(key: str) -> str | None:
    plain = key.strip().lower()
    if plain in SAMPLE_KEYS:
        return "is printed in manuals"
    if any(sample in plain for sample in SAMPLE_KEYS if len(sample) >= MIN_DISTINCT):
        return "contains a key that is printed in manuals"
    return None
