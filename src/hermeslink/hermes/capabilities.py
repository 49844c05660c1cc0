"""What an API server says of itself at /v1/capabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Capabilities:
    """`features` by their published names. A server that has no such route promises nothing."""

    model: str | None = None
    platform: str | None = None
    features: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_sessions_on_runs(self) -> bool:
        """A run may name a session, whose history and title the server keeps; else each run brings the history."""
        return bool(self.features.get("session_continuity_header")) and bool(self.features.get("session_resources"))

    @property
    def is_idempotent(self) -> bool:
        """The same Idempotency-Key gives the same run."""
        return bool(self.features.get("idempotency"))


def read_capabilities(answer: Mapping[str, Any]) -> Capabilities:
    """Of the body of /v1/capabilities; what is of another shape than expected counts as not said."""
    features = answer.get("features")
    return Capabilities(
        _text(answer.get("model")), _text(answer.get("platform")), features if isinstance(features, Mapping) else {}
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
