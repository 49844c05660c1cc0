"""Sessions as their owner sees them: list, search, make, change, fork, delete. Runs add to them through hermes.runs.

Each look-up has the owner's id: somebody else's session is as unknown as none (NotFound `session_not_found`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hermes.core.clock import Clock
from hermes.core.errors import Conflict, InvalidInput, NotFound
from hermes.core.ids import is_session_id, new_id
from hermes.core.ports import Recalled, Said, Summary, Whose
from hermes.core.session import KeptMessage, Session
from hermes.core.todo import Todo
from hermes.store import fork as fork_store
from hermes.store import recall as recall_store
from hermes.store import search as search_store
from hermes.store import session_list, turns
from hermes.store import sessions as session_store
from hermes.store import summaries as summary_store
from hermes.store import todos as todo_store
from hermes.store.database import Connection, Database
from hermes.store.encoding import clean, from_json
from hermes.store.search import ANY, Filter, Hit
from hermes.store.session_list import Listing

CATCH_UP_SECONDS = 2.0
"""How long a search waits for the index; what is missing then is told."""
SEARCHES_AT_ONCE = 2
"""Of the store's four readers. A search may look through every message of an owner; were they all to do that, no key
could be looked up meanwhile, and nobody would get in."""
REST_SECONDS = 0.05
"""Between two batches of the housekeeping, so that turns get the writer."""

MAX_TITLE_CHARACTERS = 200
MAX_SYSTEM_PROMPT_CHARACTERS = 100_000
RESERVED_IDS = frozenset({"search"})
"""Ids whose address is something else."""


@dataclass(frozen=True, slots=True)
class SessionPage:
    """`summaries` are JSON texts (`store.session_list.summary`). `last_place`: (last_active, id) of the last one."""

    summaries: Sequence[str]
    has_more: bool

    @property
    def last_place(self) -> tuple[float, str] | None:
        if not self.summaries:
            return None
        last = from_json(self.summaries[-1])
        return last["last_active"], last["id"]


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Oldest first. `has_more`: there are further ones in the direction of the question."""

    messages: Sequence[KeptMessage]
    has_more: bool


@dataclass(frozen=True, slots=True)
class Found:
    """`pending`: how many messages were not in the index yet and may be missing among the hits; 0 when it is whole."""

    hits: Sequence[Hit]
    has_more: bool
    pending: int = 0


class Sessions:
    """`forget` is told of each deleted session, so that what its tools hold is let go; and of each new one, since one
    that was dropped with its responses, or in another process, may have had that id.
    """

    def __init__(
        self, database: Database, clock: Clock, forget: Callable[[str], Awaitable[object]] | None = None
    ) -> None:
        self._database = database
        self._clock = clock
        self._forget = forget
        self._searches = asyncio.Semaphore(SEARCHES_AT_ONCE)

    async def list(self, owner: str, listing: Listing) -> SessionPage:
        """The most recently active first."""
        one_more = replace(listing, limit=listing.limit + 1)
        found = await self._database.read(session_list.summaries, owner, one_more)
        return SessionPage(found[: listing.limit], len(found) > listing.limit)

    async def get(self, owner: str, session_id: str) -> Session:
        return await self._database.read(_owned, owner, session_id)

    async def create(
        self,
        owner: str,
        source: str,
        *,
        session_id: str | None = None,
        title: str | None = None,
        model_choice: str | None = None,
        system_prompt: str | None = None,
    ) -> Session:
        """Raises InvalidInput (`invalid_session_id`, `invalid_title`, `invalid_system_prompt`), Conflict
        `session_exists`. `model_choice` is not checked here: what a model may be called is the way in's to know."""
        now = self._clock.now()
        session = Session(
            id=checked_id(session_id),
            owner=owner,
            source=source,
            started_at=now,
            last_active=now,
            title=checked_title(title),
            model_choice=model_choice,
            system_prompt=_checked_prompt(system_prompt),
        )
        await self._database.write(session_store.create, session, durable=True)
        if session_id is not None:
            await self._let_go(session_id)
        return session

    async def change(self, owner: str, session_id: str, values: Mapping[str, str | None]) -> Session:
        """`values` of `title` and `end_reason`; None takes it away. A reason ends the session, which is a label: it
        can be gone on with. Raises InvalidInput `invalid_title`, or naming end_reason."""
        changed: dict[str, Any] = {}
        if "title" in values:
            changed["title"] = checked_title(values["title"])
        if "end_reason" in values:
            reason = _checked_line(values["end_reason"], "end_reason", "invalid_request")
            changed["end_reason"] = reason
            changed["ended_at"] = None if reason is None else self._clock.now()
        if not changed:
            return await self.get(owner, session_id)
        return await self._database.write(_change, owner, session_id, changed, durable=True)

    async def delete(self, owner: str, session_id: str) -> None:
        """With its messages, runs and events, and the sessions of those that it delegated. Raises Conflict
        `session_busy` while a run in one of them is open."""
        for deleted in await self._database.write(_delete, owner, session_id, durable=True):
            await self._let_go(deleted)

    async def messages(
        self,
        owner: str,
        session_id: str,
        *,
        limit: int,
        after_id: int = 0,
        before_id: int | None = None,
        offset: int = 0,
        is_newest: bool = False,
    ) -> MessagePage:
        """`is_newest`: the last ones of what lies between the two ids, and further ones are older."""

        def read(conn: Connection) -> list[KeptMessage]:
            _owned(conn, owner, session_id)
            return session_store.messages(
                conn, session_id, after_id, limit + 1, before_id=before_id, offset=offset, is_newest=is_newest
            )

        found = await self._database.read(read)
        has_more = len(found) > limit
        return MessagePage(found[1:] if has_more and is_newest else found[:limit], has_more)

    async def messages_of_run(self, session_id: str, run_id: str) -> Sequence[KeptMessage]:
        """What a run was asked, said and did. The caller knows the run to be the owner's."""
        return await self._database.read(session_store.messages_of_run, session_id, run_id)

    async def fork(
        self,
        owner: str,
        session_id: str,
        *,
        new_session_id: str | None = None,
        title: str | None = None,
        at_message_id: int | None = None,
    ) -> Session:
        """A copy that goes on by itself, with all messages or those up to one; see `store.fork.fork`. Its usage begins
        at nothing and the source's runs are not copied. Raises what `create` does."""
        copy_id, copy_title, now = checked_id(new_session_id), checked_title(title), self._clock.now()

        def copy(conn: Connection) -> Session:
            source = _owned(conn, owner, session_id)
            made = Session(
                id=copy_id,
                owner=owner,
                source=source.source,
                started_at=now,
                last_active=now,
                title=copy_title or (f"{source.title} (fork)" if source.title else None),
                model=source.model,
                model_choice=source.model_choice,
                user_id=source.user_id,
                session_key=source.session_key,
                system_prompt=source.system_prompt,
                parent_session_id=source.id,
            )
            return fork_store.fork(conn, source, made, at_message_id)

        made = await self._database.write(copy, durable=True)
        if new_session_id is not None:
            await self._let_go(new_session_id)
        return made

    async def search(
        self, owner: str, query: str, *, limit: int = 20, before_id: int | None = None, only: Filter = ANY
    ) -> Found:
        """Messages that hold every word of the query (`store.search.parse`), the newest first; `before_id` is the id
        of the last one seen. The index catches up first. Raises InvalidInput naming q."""
        terms = search_store.parse(query)
        pending = await self.catch_up(CATCH_UP_SECONDS)
        async with self._searches:
            hits = await self._database.read(
                lambda conn: search_store.find(conn, owner, terms, limit=limit + 1, before_id=before_id, only=only)
            )
        return Found(hits[:limit], len(hits) > limit, pending)

    async def recall(self, whose: Whose, query: str, *, limit: int, session_id: str | None = None) -> Recalled:
        """For the agent itself: see `core.ports.SessionRecall`."""
        if session_id is not None:
            await self._database.read(_told_to, whose, session_id)
        only = Filter(
            session_id=session_id,
            session_key=whose.session_key,
            but_session_id=whose.session_id if session_id is None else None,
            but_run_id=whose.run_id,
            is_said=True,
            include_stateless=True,
        )
        found = await self.search(whose.owner, query, limit=limit, only=only)
        said = [
            Said(
                session_id=hit.session_id,
                title=hit.title or "",
                role=hit.role,
                created_at=hit.created_at,
                text=hit.snippet,
            )
            for hit in found.hits
        ]
        return Recalled(said, found.has_more, found.pending)

    async def last_said(self, whose: Whose, session_id: str, *, limit: int) -> Recalled:
        def read(conn: Connection) -> Recalled:
            title = _told_to(conn, whose, session_id).title or ""
            kept = recall_store.last_said(conn, session_id, limit=limit + 1, but_run_id=whose.run_id)
            said = [
                Said(
                    session_id=session_id,
                    title=title,
                    role=one.message.role,
                    created_at=one.created_at,
                    text=one.message.text,
                )
                for one in kept[-limit:]
            ]
            return Recalled(said, len(kept) > limit)

        return await self._database.read(read)

    async def recent(self, whose: Whose, *, limit: int) -> Recalled:
        found = await self._database.read(
            lambda conn: recall_store.recent(
                conn,
                whose.owner,
                limit=limit + 1,
                but_session_id=whose.session_id,
                session_key=whose.session_key,
            )
        )
        said = [
            Said(
                session_id=one.id,
                title=one.title or "",
                role="session",
                created_at=one.last_active,
                text=one.preview,
            )
            for one in found[:limit]
        ]
        return Recalled(said, len(found) > limit)

    async def change_todos(self, session_id: str, change: Callable[[Sequence[Todo]], Sequence[Todo]]) -> Sequence[Todo]:
        """For the agent itself: see `core.ports.TodoKeeper`."""
        now = self._clock.now()

        def write(conn: Connection) -> Sequence[Todo]:
            if session_store.get(conn, session_id) is None:
                raise NotFound(f"no session {session_id!r}: it was deleted", code="session_not_found")
            before = todo_store.get(conn, session_id)
            after = tuple(change(before))
            if after != before:
                todo_store.put(conn, session_id, after, now)
            return after

        return await self._database.write(write)

    async def catch_up(self, most_seconds: float, *, rest_seconds: float = 0.0) -> int:
        """Brings the search index up to date, in small writes. Returns how many messages are still missing."""
        until = self._clock.monotonic() + most_seconds
        while pending := await self._database.read(search_store.pending):
            if self._clock.monotonic() >= until or not await self._database.write(search_store.catch_up):
                return pending
            if rest_seconds:
                await self._clock.sleep(rest_seconds)
        return 0

    async def tidy(self) -> None:
        """What the housekeeping does for the search: an index with words of vanished messages is made anew."""
        if await self._database.read(search_store.has_orphans):
            await self._database.write(search_store.drop)
        await self.catch_up(float("inf"), rest_seconds=REST_SECONDS)

    async def _let_go(self, session_id: str) -> None:
        if self._forget is not None:
            await self._forget(session_id)


def checked_id(session_id: str | None) -> str:
    """A new one where none is given. Raises InvalidInput `invalid_session_id`."""
    if session_id is None:
        return new_id("sess")
    if not is_session_id(session_id) or session_id in RESERVED_IDS:
        raise InvalidInput(
            "id must be 1 to 256 of the characters A-Z a-z 0-9 . _ : - and not the word search",
            code="invalid_session_id",
            param="id",
        )
    return session_id


def checked_title(title: str | None) -> str | None:
    """One line without spaces around it; None for an empty one. Raises InvalidInput `invalid_title`."""
    return _checked_line(title, "title", "invalid_title")


def _checked_line(text: str | None, param: str, code: str) -> str | None:
    line = clean(text or "").strip()
    if len(line) > MAX_TITLE_CHARACTERS or any(ord(c) < 32 or 127 <= ord(c) < 160 for c in line):
        raise InvalidInput(
            f"{param} must be at most {MAX_TITLE_CHARACTERS} characters, none of them a control character",
            code=code,
            param=param,
        )
    return line or None


def _checked_prompt(prompt: str | None) -> str | None:
    if prompt is not None and len(prompt) > MAX_SYSTEM_PROMPT_CHARACTERS:
        raise InvalidInput(
            f"system_prompt has {len(prompt)} characters; the limit is {MAX_SYSTEM_PROMPT_CHARACTERS}",
            code="invalid_system_prompt",
            param="system_prompt",
        )
    return clean(prompt) if prompt and prompt.strip() else None


def _owned(conn: Connection, owner: str, session_id: str) -> Session:
    session = session_store.get(conn, session_id)
    if session is None or session.owner != owner:
        raise NotFound(f"no session {session_id!r}; GET /api/sessions lists them", code="session_not_found")
    return session


def _told_to(conn: Connection, whose: Whose, session_id: str) -> Session:
    """Its session, for a run that may be told of it."""
    session = session_store.get(conn, session_id)
    is_theirs = session is not None and session.owner == whose.owner
    if session is None or not is_theirs or whose.session_key not in (None, session.session_key):
        raise NotFound(f"no session {session_id!r}", code="session_not_found")
    return session


def _change(conn: Connection, owner: str, session_id: str, values: Mapping[str, Any]) -> Session:
    session = _owned(conn, owner, session_id)
    session_store.change(conn, session_id, values)
    return replace(session, **values)


def _delete(conn: Connection, owner: str, session_id: str) -> list[str]:
    turns.wait_for(conn, "session", session_id)  # a run may just begin there, on any node
    _owned(conn, owner, session_id)
    deleted = session_store.family(conn, session_id)
    for one in deleted:
        turns.wait_for(conn, "session", one)
        run_id = session_store.open_run(conn, one)
        if run_id is not None:
            raise Conflict(
                f"the session {one!r} has an open run; stop it first (POST /v1/runs/{run_id}/stop, "
                f"or hermes runs stop {run_id}), or wait for its end",
                code="session_busy",
            )
    session_store.delete(conn, session_id)
    return deleted


class KeptSummaries:
    """`core.ports.Summaries` of the sessions of a database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def latest(self, session_id: str) -> Summary | None:
        return await self._database.read(summary_store.latest, session_id)

    async def keep(self, session_id: str, summary: Summary) -> None:
        await self._database.write(summary_store.keep, session_id, summary, self._clock.now())
