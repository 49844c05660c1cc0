"""What the doctor tells."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    ERROR = "error"
    """It does not work, or it is open to others."""
    WARNING = "warning"
    """It works, and should not stay so."""
    NOTE = "note"
    """Good to know; nothing is wrong."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`name` is stable, for scripts. `mend` is a command to type, None where only a person can tell what is right."""

    name: str
    severity: Severity
    text: str
    mend: str | None = None

    @property
    def is_wrong(self) -> bool:
        return self.severity is not Severity.NOTE
