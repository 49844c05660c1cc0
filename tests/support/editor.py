"""An editor: the client of the Agent Client Protocol's own package in front of a real `hermes acp` process."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acp import PROTOCOL_VERSION, connect_to_agent, schema, text_block
from acp.client.connection import ClientSideConnection

from tests.acceptance.conftest import Gateway

LIMIT = 64 << 20
EXIT_SECONDS = 20.0

Update = Any


@dataclass
class Window:
    """What an editor shows, by session, and how its person answers: `answer` gives the id of an option, or None when
    the question is closed without an answer."""

    updates: dict[str, list[Update]] = field(default_factory=dict)
    questions: list[tuple[schema.ToolCallUpdate, list[schema.PermissionOption]]] = field(default_factory=list)
    answer: Callable[[schema.ToolCallUpdate], str | None] = lambda call: "once"
    words: str | None = None
    """What the person writes into a form; None closes it."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    hold: asyncio.Event | None = None
    """Set: questions are answered only when this is."""
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def on_connect(self, conn: object) -> None:
        pass

    async def session_update(self, session_id: str, update: Update, **kwargs: Any) -> None:
        self.updates.setdefault(session_id, []).append(update)
        async with self.changed:
            self.changed.notify_all()

    async def request_permission(
        self, session_id: str, tool_call: schema.ToolCallUpdate, options: Sequence[schema.PermissionOption], **_: Any
    ) -> schema.RequestPermissionResponse:
        self.questions.append((tool_call, list(options)))
        self.asked.set()
        if self.hold is not None:
            await self.hold.wait()
        chosen = self.answer(tool_call)
        if chosen is None:
            return schema.RequestPermissionResponse(outcome=schema.DeniedOutcome(outcome="cancelled"))
        return schema.RequestPermissionResponse(outcome=schema.AllowedOutcome(outcome="selected", option_id=chosen))

    async def create_elicitation(
        self, message: str, mode: schema.ElicitationMode, **kwargs: Any
    ) -> schema.CreateElicitationResponse:
        if self.words is None:
            return schema.CancelElicitationResponse(action="cancel")
        content = {"answer": schema.ElicitationContentValue(root=self.words)}
        return schema.AcceptElicitationResponse(action="accept", content=content)

    def of(self, session_id: str, *kinds: str) -> list[Update]:
        found = self.updates.get(session_id, [])
        return [one for one in found if not kinds or one.session_update in kinds]

    def text(self, session_id: str, kind: str = "agent_message_chunk") -> str:
        return "".join(one.content.text for one in self.of(session_id, kind))

    async def until(self, met: Callable[[], object], seconds: float = 20.0) -> None:
        async with asyncio.timeout(seconds), self.changed:
            await self.changed.wait_for(lambda: bool(met()))


@dataclass
class Desk:
    """A window in front of a running agent."""

    agent: ClientSideConnection
    window: Window
    process: asyncio.subprocess.Process
    errors: Path

    async def begin(self, **client: Any) -> schema.InitializeResponse:
        info = schema.Implementation(name="test-editor", title="Test editor", version="1")
        return await self.agent.initialize(PROTOCOL_VERSION, client_info=info, **client)

    async def new(self, cwd: Path, **more: Any) -> str:
        return (await self.agent.new_session(str(cwd), **more)).session_id

    async def say(self, session_id: str, text: str) -> schema.PromptResponse:
        return await self.agent.prompt(session_id, [text_block(text)])

    async def leave(self) -> int:
        """Closes stdin, as an editor does. The exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return await asyncio.wait_for(self.process.wait(), EXIT_SECONDS)


@contextlib.asynccontextmanager
async def acp_process(home: Gateway, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`hermes acp` in the home of a gateway, which may run or not."""
    with (home.home / "acp.stderr").open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "hermes",
            *options,
            "acp",
            cwd=home.workdir,
            env=home.environ,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            limit=LIMIT,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        # else it is closed by the collector, which warns
        process._transport.close()  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def open_editor(home: Gateway, *options: str) -> AsyncIterator[Desk]:
    """An editor that has said hello."""
    async with acp_process(home, *options) as process:
        window = Window()
        agent = connect_to_agent(window, process.stdin, process.stdout, use_unstable_protocol=True)  # type: ignore[arg-type]
        desk = Desk(agent, window, process, home.home / "acp.stderr")
        try:
            await desk.begin()
            yield desk
        finally:
            with contextlib.suppress(Exception):
                await desk.leave()
            await agent.close()
