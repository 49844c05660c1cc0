"""The API servers of the profiles: one for each, found by what its .env says at every call."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import aiohttp

from hermes.core.clock import Clock, SystemClock
from hermes.core.errors import ConfigError, NotFound
from hermes.home.paths import DEFAULT_PROFILE, Home
from hermes.home.profiles import get_profile, list_profiles
from hermeslink.hermes.capabilities import Capabilities, read_capabilities
from hermeslink.hermes.client import exchange, open_session, read_object
from hermeslink.hermes.events import EventStream, RemoteEvent, TooLong, read_event
from hermeslink.hermes.places import Place, places_of, stamp_of
from hermeslink.hermes.problems import NotReached, RunGone, ServerRefused, ServerUnauthorized, ServerUnavailable

KNOWN_SECONDS = 60.0
"""How long a server is believed to be what it said."""
STATE_SECONDS = 3.0
SEARCH_SECONDS = 5.0
"""How long one place may take to say what it is."""

STREAM_CLOSED = "stream closed"
"""The comment behind which nothing comes any more."""

_ID = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._:-]{1,256}\Z")


@dataclass(frozen=True, slots=True)
class ServerState:
    """`issue`: what is wrong and how to mend it. `version`: the server's, where it says so. `settings`: what it says of
    settings that were changed and do not count yet."""

    state: Literal["online", "offline", "unauthorized"]
    issue: str | None = None
    version: str | None = None
    settings: str | None = None


class ApiServers:
    """Of all profiles below `hermes_root`. Use as a context manager: its sockets are closed behind it.

    `environ` speaks for the default profile, as it does for its gateway.
    """

    def __init__(self, hermes_root: Path, clock: Clock | None = None, environ: Mapping[str, str] | None = None) -> None:
        self.hermes_root = hermes_root
        self._clock = clock or SystemClock()
        self._environ = os.environ if environ is None else environ
        self._servers: dict[str, ApiServer] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> ApiServers:
        self._session = open_session()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    def profiles(self) -> list[str]:
        """The default first, the others by name."""
        return [home.name for home in list_profiles(self.hermes_root)]

    def of(self, profile: str = DEFAULT_PROFILE) -> ApiServer:
        """Raises NotFound `profile_not_found`. That it is here does not say that it answers."""
        home = self.home(profile)
        if self._session is None:
            raise RuntimeError("ApiServers is entered before it is used")
        server = self._servers.get(profile)
        if server is None:
            server = self._servers[profile] = ApiServer(home, self._session, self._clock, self._environ)
        return server

    def home(self, profile: str) -> Home:
        """Raises NotFound `profile_not_found`, for what cannot be a name, too."""
        try:
            home = get_profile(self.hermes_root, profile)
        except (ConfigError, NotFound) as exc:
            self._servers.pop(profile, None)
            raise NotFound(f"no profile {profile[:64]!r}", code="profile_not_found") from exc
        if home.is_profile and home.path.is_symlink():
            raise NotFound(f"no profile {profile[:64]!r}", code="profile_not_found")
        return home


@dataclass(frozen=True, slots=True)
class _Found:
    place: Place
    capabilities: Capabilities
    stamp: object
    at: float


class ApiServer:
    """Of one profile. Every call raises ServerUnavailable, ServerUnauthorized or ServerRefused (`problems`)."""

    def __init__(self, home: Home, session: aiohttp.ClientSession, clock: Clock, environ: Mapping[str, str]) -> None:
        self.home = home
        self._session = session
        self._clock = clock
        self._environ = environ
        self._found: _Found | None = None
        self._searching = asyncio.Lock()

    @property
    def profile(self) -> str:
        return self.home.name

    # --- what it is ---

    async def capabilities(self) -> Capabilities:
        return (await self._find()).capabilities

    async def state(self) -> ServerState:
        """How it is at this moment. Never raises one of its problems."""
        try:
            async with asyncio.timeout(STATE_SECONDS):
                found = await self._find(is_fresh=True)
                return await self._told(found.place)
        except ServerUnauthorized as error:
            return ServerState("unauthorized", error.message)
        except (ServerUnavailable, ServerRefused) as error:
            return ServerState("offline", error.message)
        except TimeoutError:
            return ServerState("offline", "the API server does not answer in time")

    async def models(self) -> dict[str, Any]:
        """The list as the server has it."""
        return await self._ask("GET", "/v1/models")

    async def skills(self) -> dict[str, Any]:
        """The list as the server has it."""
        return await self._ask("GET", "/v1/skills")

    async def toolsets(self) -> dict[str, Any]:
        """The list as the server has it: the model is offered the tools of those that are enabled."""
        return await self._ask("GET", "/v1/toolsets")

    # --- runs ---

    async def start_run(
        self, body: Mapping[str, Any], idempotency_key: str | None = None, session_id: str | None = None
    ) -> str:
        """Its id. `body` as POST /v1/runs takes it. With a key, the same call again gives the same run.

        ServerRefused `idempotency_key_conflict`: the key is another body's.
        """
        sent = {**body} if session_id is None else {**body, "session_id": session_id}
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        is_repeatable = idempotency_key is not None and (await self.capabilities()).is_idempotent
        answer = await self._ask("POST", "/v1/runs", sent, headers=headers, may_repeat=is_repeatable)
        run_id = answer.get("run_id") or answer.get("id")
        if not isinstance(run_id, str) or _ID.match(run_id) is None:
            raise ServerUnavailable("the API server started a run and gave no id of it")
        return run_id

    async def run(self, run_id: str) -> dict[str, Any]:
        """The run's object. Raises RunGone."""
        with _of_run(run_id):
            return await self._ask("GET", f"/v1/runs/{_segment(run_id)}")

    async def follow(self, run_id: str, after: int = 0) -> AsyncGenerator[RemoteEvent, None]:
        """Every event behind `after`, as they come; ends behind the run's last one. Close it when you leave before.

        Raises RunGone, and ServerUnavailable when the stream breaks off: follow again behind the last event seen.
        """
        with _of_run(run_id):
            path = f"/v1/runs/{_segment(run_id)}/events"
            headers = {"Accept": "text/event-stream"}
            if after:
                path += f"?after={after}"
                headers["Last-Event-ID"] = str(after)
            async with (
                self._exchange("GET", path, headers=headers, seconds=None, may_repeat=True) as response,
                aclosing(_events_of(response)) as events,
            ):
                async for event in events:
                    if event.seq > after:
                        yield event

    async def approve(self, run_id: str, approval_id: str, choice: str, reason: str | None = None) -> dict[str, Any]:
        """`choice`: once, session, always, deny. Raises RunGone; ServerRefused 409 `approval_not_pending`."""
        body = {"choice": choice, "approval_id": approval_id}
        if reason:
            body["reason"] = reason
        with _of_run(run_id):
            return await self._ask("POST", f"/v1/runs/{_segment(run_id)}/approval", body)

    async def clarify(self, run_id: str, question_id: str, answer: str) -> None:
        """Raises RunGone; ServerRefused 409 `clarify_not_pending` or `clarify_not_active`."""
        with _of_run(run_id):
            await self._ask(
                "POST", f"/v1/runs/{_segment(run_id)}/clarify", {"answer": answer, "clarify_id": question_id}
            )

    async def stop(self, run_id: str) -> None:
        """Raises RunGone; ServerRefused 409 `run_not_active` when it has ended or is stopping."""
        with _of_run(run_id):
            await self._ask("POST", f"/v1/runs/{_segment(run_id)}/stop", {})

    # --- jobs and sessions ---

    async def jobs(
        self, method: str, path: str = "", body: Mapping[str, Any] | None = None, query: str = ""
    ) -> dict[str, Any]:
        """`path` behind /api/jobs: "", "/ID", "/ID/pause" …; its parts are checked here. Raises NotFound."""
        parts = path.strip("/").split("/") if path.strip("/") else []
        if any(_ID.match(part) is None for part in parts):
            raise NotFound("no such job", code="job_not_found")
        there = "/api/jobs" + "".join(f"/{part}" for part in parts) + (f"?{query}" if query else "")
        return await self._ask(method, there, body)

    async def session(self, session_id: str) -> dict[str, Any]:
        """The session's object. Raises ServerRefused 404 `session_not_found`."""
        return _unwrapped(await self._ask("GET", f"/api/sessions/{_segment(session_id)}"), "session")

    async def rename_session(self, session_id: str, title: str) -> None:
        await self._ask("PATCH", f"/api/sessions/{_segment(session_id)}", {"title": title})

    # --- the way there ---

    async def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        may_repeat: bool = False,
    ) -> dict[str, Any]:
        is_read = method == "GET"
        async with self._exchange(method, path, body=body, headers=headers, may_repeat=may_repeat or is_read) as answer:
            return await read_object(answer)

    @asynccontextmanager
    async def _exchange(self, method: str, path: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """At the place where it was last; when it is not there any more, at the one where it is."""
        try:
            async with AsyncExitStack() as stack:
                yield await self._reached(stack, method, path, options)
        except ServerUnavailable:
            self._found = None
            raise

    async def _reached(
        self, stack: AsyncExitStack, method: str, path: str, options: Mapping[str, Any]
    ) -> aiohttp.ClientResponse:
        known, found = self._found, await self._find()
        try:
            return await stack.enter_async_context(exchange(self._session, found.place, method, path, **options))
        except (NotReached, ServerUnauthorized):
            if known is not found:  # it was found a moment ago
                raise
            self._found = None
        found = await self._find()
        return await stack.enter_async_context(exchange(self._session, found.place, method, path, **options))

    async def _find(self, *, is_fresh: bool = False) -> _Found:
        """The place that answers to the profile's key."""
        stamp = stamp_of(self.home)
        known = None if is_fresh else self._known(stamp)
        if known is not None:
            return known
        async with self._searching if not is_fresh else nullcontext():
            known = None if is_fresh else self._known(stamp)
            if known is None:
                known = self._found = await self._search(stamp)
            return known

    def _known(self, stamp: object) -> _Found | None:
        found = self._found
        if found is None or found.stamp != stamp or self._clock.monotonic() - found.at > KNOWN_SECONDS:
            return None
        return found

    async def _search(self, stamp: object) -> _Found:
        """Raises what the first place said; that a key is refused says more than that nothing is there."""
        problems: list[ServerUnavailable] = []
        for place in dict.fromkeys(await asyncio.to_thread(places_of, self.home, self._environ)):
            try:
                return _Found(place, await self._said_at(place), stamp, self._clock.monotonic())
            except ServerUnavailable as error:
                problems.append(error)
            except ServerRefused as error:
                problems.append(ServerUnavailable(error.message))
        self._found = None
        refused = [problem for problem in problems if isinstance(problem, ServerUnauthorized)]
        raise (refused or problems or [ServerUnavailable(f"no API server answers for the profile {self.profile}")])[0]

    async def _said_at(self, place: Place) -> Capabilities:
        """One that has models and says nothing of itself promises nothing; of a shared one, that is not enough."""
        try:
            return read_capabilities(await self._looked_at(place, "/v1/capabilities"))
        except ServerRefused as error:
            if error.status != 404 or place.is_shared:
                raise
        await self._looked_at(place, "/v1/models")
        return Capabilities()

    async def _looked_at(self, place: Place, path: str) -> dict[str, Any]:
        async with exchange(self._session, place, "GET", path, seconds=SEARCH_SECONDS, may_repeat=True) as response:
            return await read_object(response)

    async def _told(self, place: Place) -> ServerState:
        """What the server that answers says of itself; another than ours may say little."""
        for path in ("/health/detailed", "/health"):
            with suppress(ServerUnavailable, ServerRefused):
                told = await self._looked_at(place, path)
                return ServerState("online", None, _text(told, "version"), _text(told, *SETTINGS_CHECK))
        return ServerState("online")


SETTINGS_CHECK = ("readiness", "checks", "settings", "detail")


def _text(told: object, *names: str) -> str | None:
    """A text in an answer, None where there is none."""
    for name in names:
        told = told.get(name) if isinstance(told, dict) else None
    return told if isinstance(told, str) else None


async def _events_of(response: aiohttp.ClientResponse) -> AsyncGenerator[RemoteEvent, None]:
    """Raises ServerUnavailable when they end before the run does."""
    stream, count, has_ended = EventStream(), 0, False
    async for chunk in response.content.iter_any():
        try:
            blocks = stream.feed(chunk)
        except TooLong as exc:
            raise ServerUnavailable("the API server sent an event without an end") from exc
        for block in blocks:
            if block.comment is not None:
                has_ended = has_ended or block.comment == STREAM_CLOSED
                continue
            event = read_event(block, count + 1)
            if event is None:
                continue
            if event.type == "error":  # of the stream: the run may go on
                raise ServerUnavailable(_message(event.data) or "the API server could not go on with a stream")
            count += 1
            has_ended = has_ended or event.is_final
            yield event
    if not has_ended:
        raise ServerUnavailable("the API server broke off in the middle of a run's events")


@contextmanager
def _of_run(run_id: str) -> Iterator[None]:
    """What a 404 means where a run was asked for."""
    if _ID.match(run_id) is None:
        raise RunGone("no such run")
    try:
        yield
    except ServerRefused as error:
        if error.status != 404:
            raise
        raise RunGone("the API server knows no such run any more") from error


def _segment(text: str) -> str:
    """As part of a path. Raises NotFound for what would be another path."""
    if _ID.match(text) is None:
        raise NotFound("no such id")
    return text


def _unwrapped(answer: dict[str, Any], name: str) -> dict[str, Any]:
    inner = answer.get(name)
    return inner if isinstance(inner, dict) else answer


def _message(data: Mapping[str, Any]) -> str | None:
    error = data.get("error")
    message = error.get("message") if isinstance(error, dict) else None
    return message if isinstance(message, str) else None
