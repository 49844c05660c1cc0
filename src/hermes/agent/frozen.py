"""Parts of the instructions that stay as they were when a session began, so that a provider's prefix cache holds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

MOST_SESSIONS = 4_096


class Frozen:
    """For the sessions that are spoken to. One that was not for long is told anew."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, dict[Hashable, str]] = OrderedDict()

    def text(self, session_id: str, part: Hashable, now: Callable[[], str]) -> str:
        """What the session was told of this part; `now` says it the first time."""
        told = self._sessions.setdefault(session_id, {})
        self._sessions.move_to_end(session_id)
        if len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        if part not in told:
            told[part] = now()
        return told[part]

    def forget(self, session_id: str) -> None:
        self._sessions.pop(session_id, None)
