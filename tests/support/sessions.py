"""What tools see of sessions, without a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hermes.core.errors import NotFound
from hermes.core.ports import Recalled, Whose
from hermes.core.todo import Todo


@dataclass
class FakeSessions:
    """A `SessionRecall` that gives `found` and keeps what it was asked, and a `TodoKeeper`; `gone` are deleted ones."""

    found: Recalled = field(default_factory=lambda: Recalled([]))
    raises: Exception | None = None
    asked: list[tuple[object, ...]] = field(default_factory=list)
    lists: dict[str, tuple[Todo, ...]] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()

    async def recall(self, whose: Whose, query: str, *, limit: int, session_id: str | None = None) -> Recalled:
        return self._answer("recall", whose, query, limit, session_id)

    async def last_said(self, whose: Whose, session_id: str, *, limit: int) -> Recalled:
        return self._answer("last_said", whose, session_id, limit)

    async def recent(self, whose: Whose, *, limit: int) -> Recalled:
        return self._answer("recent", whose, limit)

    async def change_todos(self, session_id: str, change: Callable[[Sequence[Todo]], Sequence[Todo]]) -> Sequence[Todo]:
        if session_id in self.gone:
            raise NotFound(f"no session {session_id!r}: it was deleted", code="session_not_found")
        self.lists[session_id] = tuple(change(self.lists.get(session_id, ())))
        return self.lists[session_id]

    def _answer(self, *asked: object) -> Recalled:
        self.asked.append(asked)
        if self.raises is not None:
            raise self.raises
        return self.found
