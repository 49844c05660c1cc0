"""Runs of a person at this terminal: an engine of the home in this process, beside a gateway that may serve the same.

Processes that share a home know each other by the rows and locks of its database (docs/adr/0115), so this needs no
gateway and minds none. Tools work in the directory the person is in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hermes.core.errors import Conflict, NotFound, StoreUnavailable
from hermes.core.key import OWNER
from hermes.core.message import Message
from hermes.core.run import Ask, Limits, Run, RunRequest

if TYPE_CHECKING:
    from hermes.app import Engine
    from hermes.cli.context import Call
    from hermes.core.event import KeptEvent
    from hermes.core.session import Session
    from hermes.home.paths import Home
    from hermes.home.settings import Settings

SOURCE = "cli"
PLATFORM = "cli"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a person asked for at the start. None: what the settings say."""

    model: str | None = None
    toolsets: tuple[str, ...] | None = None
    max_steps: int | None = None


@dataclass(slots=True)
class Talk:
    """One conversation. `session_id` None: the next turn begins a session. `model` beats the session's own."""

    engine: Engine
    home: Home
    wishes: Wishes
    session_id: str | None = None
    model: str | None = None

    async def start(self, text: str, *, ask: Ask, max_steps: int | None = None) -> Run:
        """Raises what `Runner.start` does: NoModel, InvalidInput, Conflict `session_busy`."""
        run = await self.engine.runner.start(
            RunRequest(
                owner=OWNER,
                source=SOURCE,
                messages=(Message("user", text),),
                session_id=self.session_id,
                model=self.model,
                toolsets=self.wishes.toolsets,
                limits=Limits(max_steps=max_steps or self.wishes.max_steps),
                ask=ask,
                may_wait_forever=True,
                workdir=str(Path.cwd()),
            )
        )
        self.session_id = run.session_id
        return run

    def follow(self, run: Run) -> AsyncIterator[KeptEvent]:
        return self.engine.runner.follow(run.id)

    async def stop(self, run: Run) -> None:
        with suppress(Conflict):  # it has ended, or is ending
            await self.engine.runner.stop(run.id, OWNER)

    async def answer(self, run: Run, approval_id: str, choice: str) -> None:
        with suppress(Conflict):  # its time was over, or somebody else was quicker: the run has told so
            await self.engine.runner.answer(run.id, OWNER, choice, approval_id=approval_id)

    async def clarify(self, run: Run, clarify_id: str, text: str) -> None:
        with suppress(Conflict):
            await self.engine.runner.clarify(OWNER, run.id, text, clarify_id)

    async def steer(self, run: Run, text: str) -> bool:
        """False: the run takes nothing more."""
        try:
            await self.engine.runner.steer(run.id, OWNER, text)
        except Conflict:
            return False
        return True

    async def resume(self, session_id: str) -> Session:
        """Raises NotFound."""
        try:
            session = await self.engine.sessions.get(OWNER, session_id)
        except NotFound:
            message = f"no session {session_id!r}; list them with: {self.home.command} sessions list"
            raise NotFound(message, code="session_not_found") from None
        self.session_id = session.id
        return session

    async def newest(self) -> Session:
        """Goes on with the last session of this command. Raises NotFound."""
        from hermes.store.encoding import from_json
        from hermes.store.session_list import Listing

        page = await self.engine.sessions.list(OWNER, Listing(limit=1, source=SOURCE))
        if not page.summaries:
            raise NotFound("there is no session of this command yet; begin one without --continue")
        return await self.resume(from_json(page.summaries[0])["id"])

    async def name(self, title: str) -> str:
        """Gives the session its title, and makes it where there is none yet. Raises InvalidInput."""
        sessions = self.engine.sessions
        if self.session_id is None:
            session = await sessions.create(OWNER, SOURCE, title=title)
            self.session_id = session.id
        else:
            session = await sessions.change(OWNER, self.session_id, {"title": title})
        return session.title or ""


@asynccontextmanager
async def open_talk(
    call: Call, wishes: Wishes, *, progress: Callable[[str, int, int], None] | None = None
) -> AsyncIterator[Talk]:
    """Makes the home where there is none. A model that is named is taken, whatever `direct_model_requests` says: it is
    the owner who asks. Raises ConfigError and StoreUnavailable."""
    from hermes.app import open_engine
    from hermes.home.own_process import hide_secrets
    from hermes.home.paths import create_home
    from hermes.home.settings import load_settings
    from hermes.runs.node import Identity

    home = call.home()
    await asyncio.to_thread(create_home, home)
    settings = load_settings(home, call.environ).model_copy(update={"direct_model_requests": True})
    hide_secrets(settings, call.environ)
    _quiet_logs(call, settings)
    async with open_engine(
        settings,
        home=home,
        environ=call.environ,
        platform=PLATFORM,
        identity=Identity("cli", str(home.path)),
        progress=progress,
    ) as engine:
        with suppress(StoreUnavailable):  # told by the next one
            await engine.runner.tell_interrupted()
        yield Talk(engine, home, wishes, model=wishes.model)


def _quiet_logs(call: Call, settings: Settings) -> None:
    """What matters is in a run's events: a warning amid an answer helps nobody. HERMES_DEBUG=1 shows everything."""
    import logging

    if call.environ.get("HERMES_DEBUG") == "1":
        from hermes.core.redact import Redactor
        from hermes.home.logs import configure_logging
        from hermes.home.settings import secret_values

        redactor = Redactor(secret_values(settings, {**call.environ, **settings.environ}))
        configure_logging(None, "debug", redactor=redactor)
    else:
        logging.getLogger().addHandler(logging.NullHandler())
