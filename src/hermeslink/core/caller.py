"""Who asks."""

from __future__ import annotations

from dataclasses import dataclass

from hermeslink.core.device import Scope


@dataclass(frozen=True, slots=True)
class Caller:
    """`is_local`: a process of this machine, by nobody's proxy."""

    device_id: str
    scope: Scope
    address: str = ""
    is_local: bool = False

    @property
    def is_admin(self) -> bool:
        return self.scope == Scope.ADMIN
