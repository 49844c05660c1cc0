"""API keys: what a named key is, and what it may do.

The owner's key, API_SERVER_KEY, is no row of the store: its principal is always `OWNER` and may do everything.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from enum import StrEnum

from hermes.core.errors import InvalidInput

OWNER = "owner"
"""The id of whoever has API_SERVER_KEY, and of what is done on the machine itself."""

PREFIX = "hk_"
KEY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Scope(StrEnum):
    """What a route asks for. `chat` includes `read`, `admin` both."""

    READ = "read"
    CHAT = "chat"
    ADMIN = "admin"


INCLUDES: dict[Scope, frozenset[Scope]] = {
    Scope.READ: frozenset({Scope.READ}),
    Scope.CHAT: frozenset({Scope.READ, Scope.CHAT}),
    Scope.ADMIN: frozenset(Scope),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """The kept record; the key itself is not in it. `id` owns what the key makes and stays when the key is rotated.

    `budget_usd` None: no limit. Times are unix seconds; `revoked_at` is set for good.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    created_at: float
    tool_items: str | None = None
    budget_usd: float | None = None
    spent_usd: float = 0.0
    last_used_at: float | None = None
    revoked_at: float | None = None

    @property
    def left_usd(self) -> float | None:
        """None without a budget. Below zero when the last run cost more than was left."""
        return None if self.budget_usd is None else self.budget_usd - self.spent_usd


def new_secret() -> str:
    """256 random bits: nobody guesses one, so that a plain hash of it keeps it (docs/adr/0074)."""
    return PREFIX + secrets.token_hex(32)


def parse_scopes(text: str) -> frozenset[Scope]:
    """`chat,read` → the scopes with what they include. Raises InvalidInput naming the wrong word."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [word for word in words if word not in list(Scope)]
    if unknown or not words:
        wrong = f"{unknown[0]!r} is no scope" if unknown else "a key needs a scope"
        raise InvalidInput(f"{wrong}: choose from {', '.join(Scope)}", param="scope")
    return frozenset().union(*(INCLUDES[Scope(word)] for word in words))


def checked_name(name: str) -> str:
    """Raises InvalidInput for what cannot be a key's name."""
    if KEY_NAME.fullmatch(name) is None:
        raise InvalidInput(
            f"{name[:80]!r} cannot be a key's name: use letters, digits, ., _ and -, at most 64, a letter or digit "
            "first",
            param="name",
        )
    if name == OWNER:
        raise InvalidInput(
            "owner is the key in API_SERVER_KEY; give it a new value with: hermes keys rotate owner", param="name"
        )
    return name
