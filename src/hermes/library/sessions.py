"""Which session a call belongs to. Used on the background loop only, so nothing here is locked."""

from __future__ import annotations

from collections import Counter, OrderedDict

from hermes.core.ids import new_id

KEPT_OPEN = 8
"""Conversations of one agent that can still be gone on with: their directory and background processes live."""


class Sessions:
    """A named agent has one session (one for each task_id). Otherwise a call without a history begins a new one, and a
    call with a history goes on in the latest, so that the terminal stands where it stood."""

    def __init__(self, name: str | None) -> None:
        self.name = name
        self._latest: OrderedDict[str, str] = OrderedDict()
        self._in_use: Counter[str] = Counter()
        self.last_message_ids: dict[str, int] = {}
        self.current = name
        """The latest; other threads may read it."""

    def enter(self, task_id: str | None, *, goes_on: bool) -> tuple[str, list[str]]:
        """The session, and those that are over now."""
        task = task_id or ""
        over: list[str] = []
        known = self._latest.pop(task, None)
        if self.name is not None:
            session = f"{self.name}:{task}" if task else self.name
        elif known is not None and goes_on:
            session = known
        else:
            session = new_id("sess")
            over += [known] if known is not None else []
        self._latest[task] = self.current = session
        self._in_use[session] += 1
        while len(self._latest) > KEPT_OPEN:
            over.append(self._latest.popitem(last=False)[1])
        return session, [one for one in over if self._is_over(one)]

    def leave(self, session: str) -> list[str]:
        self._in_use[session] -= 1
        if self._in_use[session] <= 0:
            del self._in_use[session]
        return [session] if self._is_over(session) else []

    def _is_over(self, session: str) -> bool:
        is_over = session not in self._in_use and session not in self._latest.values()
        if is_over:
            self.last_message_ids.pop(session, None)
        return is_over
