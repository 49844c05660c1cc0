"""Which session of an id a node knows: one that another node deleted may come again, as another key's.

What the tools, the gate and the memory hold for a session is this process's own, and the one that deletes a session can
let go of its own part only. So whoever conducts a run asks whether it is still the same session.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable

from hermes.core.session import Session

REMEMBERED = 10_000


class Incarnations:
    """`close` lets go of whatever is held here for a session of that id."""

    def __init__(self, close: Callable[[str], Awaitable[object]]) -> None:
        self._close = close
        self._known: OrderedDict[str, float] = OrderedDict()
        self._expected: set[str] = set()

    async def expect(self, session_id: str) -> None:
        """A session that is not kept yet is prepared here: what is held from now on is its own."""
        await self._close(session_id)
        self._expected.add(session_id)

    async def meet(self, session: Session) -> None:
        """Before its first turn here nothing is held for it: what is, was an earlier session's."""
        if self._known.get(session.id) != session.started_at and session.id not in self._expected:
            await self._close(session.id)
        self._expected.discard(session.id)
        self._known[session.id] = session.started_at
        self._known.move_to_end(session.id)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
