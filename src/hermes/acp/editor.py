"""The methods of the protocol: what an editor asks of the agent, each parsed, asked and answered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from acp import schema
from acp.interfaces import Agent, Client
from acp.meta import PROTOCOL_VERSION

from hermes.acp import options
from hermes.acp.content import Block, message_of
from hermes.acp.errors import told
from hermes.acp.modes import Mode
from hermes.acp.replay import replay
from hermes.acp.servers import Given, connect
from hermes.acp.services import Services
from hermes.acp.session import OpenSession, checked_folder, kept_model, listed
from hermes.acp.turn import Turn
from hermes.core.errors import Conflict, InvalidInput, NoModel, NotFound
from hermes.core.ids import new_id
from hermes.core.key import OWNER

Servers = Sequence[Given]

AUTH_METHOD = "home"
CLOSE_SECONDS = 1.0


class Editor(Agent):
    """One editor: its sessions and their turns. `on_connect` gives the side that is asked back."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._sessions: dict[str, OpenSession] = {}
        self._client: Client | None = None
        self._name = "editor"
        self._has_forms = False

    def on_connect(self, conn: Client) -> None:
        self._client = conn

    @told
    async def initialize(
        self,
        protocol_version: int,
        client_capabilities: schema.ClientCapabilities | None = None,
        client_info: schema.Implementation | None = None,
        **kwargs: Any,
    ) -> schema.InitializeResponse:
        """What works with the model that the home has now."""
        if client_info is not None:
            self._name = client_info.title or client_info.name
        asks = client_capabilities.elicitation if client_capabilities is not None else None
        self._has_forms = asks is not None and asks.form is not None
        takes_images = takes_audio = False
        try:
            model = await self._services.models.resolve(None)
        except NoModel:
            pass  # `session/new` says what to do
        else:
            takes_images, takes_audio = model.takes_images, model.takes_audio
        return schema.InitializeResponse(
            protocol_version=PROTOCOL_VERSION,
            agent_info=schema.Implementation(name="hermes", title="Hermes", version=self._services.version),
            agent_capabilities=schema.AgentCapabilities(
                load_session=True,
                prompt_capabilities=schema.PromptCapabilities(
                    image=takes_images, audio=takes_audio, embedded_context=True
                ),
                mcp_capabilities=schema.McpCapabilities(http=True, sse=True),
                session_capabilities=schema.SessionCapabilities(
                    list=schema.SessionListCapabilities(),
                    fork=schema.SessionForkCapabilities(),
                    resume=schema.SessionResumeCapabilities(),
                    close=schema.SessionCloseCapabilities(),
                ),
            ),
            auth_methods=[
                schema.AuthMethodAgent(
                    id=AUTH_METHOD,
                    name="The model of this Hermes home",
                    description=f"The language model is chosen outside the editor: run `{self._services.command} "
                    "model` in a terminal, then restart the agent.",
                )
            ],
        )

    @told
    async def authenticate(self, method_id: str, **kwargs: Any) -> schema.AuthenticateResponse:
        """Nobody logs in: whoever starts the process owns the home. Raises NoModel where no model answers."""
        if method_id != AUTH_METHOD:
            raise InvalidInput(f"no way to authenticate {method_id!r}; there is {AUTH_METHOD}", param="methodId")
        await self._services.models.resolve(None)
        return schema.AuthenticateResponse()

    @told
    async def new_session(
        self,
        cwd: str,
        additional_directories: list[str] | None = None,
        mcp_servers: Servers | None = None,
        **kwargs: Any,
    ) -> schema.NewSessionResponse:
        """It is in the store from its first prompt on."""
        folder = checked_folder(cwd)
        await self._services.models.resolve(None)
        session = await self._open(new_id("sess"), folder, mcp_servers)
        return schema.NewSessionResponse(
            session_id=session.id,
            modes=options.modes_of(self._services, session),
            config_options=options.options_of(self._services, session),
        )

    @told
    async def load_session(
        self,
        cwd: str,
        session_id: str,
        mcp_servers: Servers | None = None,
        additional_directories: list[str] | None = None,
        **kwargs: Any,
    ) -> schema.LoadSessionResponse:
        """Any session of the home, told again from its beginning."""
        session = await self._open_kept(session_id, checked_folder(cwd), mcp_servers)
        async for update in replay(self._services.database, session_id, session.workdir):
            await self._asked.session_update(session_id, update)
        return schema.LoadSessionResponse(
            modes=options.modes_of(self._services, session),
            config_options=options.options_of(self._services, session),
        )

    @told
    async def resume_session(
        self,
        session_id: str,
        cwd: str,
        additional_directories: list[str] | None = None,
        mcp_servers: Servers | None = None,
        **kwargs: Any,
    ) -> schema.ResumeSessionResponse:
        """`load_session` for an editor that still shows what was said."""
        session = await self._open_kept(session_id, checked_folder(cwd), mcp_servers)
        return schema.ResumeSessionResponse(
            modes=options.modes_of(self._services, session),
            config_options=options.options_of(self._services, session),
        )

    @told
    async def fork_session(
        self,
        session_id: str,
        cwd: str,
        additional_directories: list[str] | None = None,
        mcp_servers: Servers | None = None,
        **kwargs: Any,
    ) -> schema.ForkSessionResponse:
        folder = checked_folder(cwd)
        copy = await self._services.sessions.fork(OWNER, session_id)
        session = await self._open(copy.id, folder, mcp_servers)
        source = self._sessions.get(session_id)
        session.model = source.model if source is not None else copy.model_choice
        self._services.modes.set(session.id, self._services.modes.of(session_id))
        return schema.ForkSessionResponse(
            session_id=session.id,
            modes=options.modes_of(self._services, session),
            config_options=options.options_of(self._services, session),
        )

    @told
    async def list_sessions(
        self, cwd: str | None = None, cursor: str | None = None, **kwargs: Any
    ) -> schema.ListSessionsResponse:
        return await listed(self._services, cwd, cursor)

    @told
    async def close_session(self, session_id: str, **kwargs: Any) -> schema.CloseSessionResponse:
        """Its turn and its processes end; what was said stays in the store."""
        session = self._session(session_id)
        if session.turn is not None:
            await session.turn.cancel("closed in the editor")
            await session.turn.done.wait()
        self._sessions.pop(session_id, None)
        self._services.modes.forget(session_id)
        await self._services.agent.close_session(session_id)
        return schema.CloseSessionResponse()

    @told
    async def set_session_mode(self, session_id: str, mode_id: str, **kwargs: Any) -> schema.SetSessionModeResponse:
        session = self._session(session_id)
        self._services.modes.set(session_id, options.parse_mode(mode_id))
        chosen = options.options_of(self._services, session)
        await self._asked.session_update(
            session_id, schema.ConfigOptionUpdate(session_update="config_option_update", config_options=chosen)
        )
        return schema.SetSessionModeResponse()

    @told
    async def set_config_option(
        self, config_id: str, session_id: str, value: str | bool, **kwargs: Any
    ) -> schema.SetSessionConfigOptionResponse:
        session = self._session(session_id)
        if not isinstance(value, str):
            raise InvalidInput(f"{config_id}: the value is the name of one of its options", param="value")
        match config_id:
            case options.MODE:
                mode = options.parse_mode(value)
                self._services.modes.set(session_id, mode)
                await self._asked.session_update(
                    session_id, schema.CurrentModeUpdate(session_update="current_mode_update", current_mode_id=mode)
                )
            case options.MODEL:
                await options.choose_model(self._services, session, value)
            case _:
                raise InvalidInput(
                    f"no option {config_id!r}; there are {options.MODE}, {options.MODEL}", param="configId"
                )
        return schema.SetSessionConfigOptionResponse(config_options=options.options_of(self._services, session))

    @told
    async def prompt(self, session_id: str, prompt: Sequence[Block], **kwargs: Any) -> schema.PromptResponse:
        """One turn at a time a session: a second prompt meanwhile is refused."""
        session = self._session(session_id)
        if session.turn is not None:
            raise Conflict("a turn is going on in this session; cancel it first, or wait for its end")
        turn = session.turn = Turn(self._services, session, self._asked, self._name, has_forms=self._has_forms)
        try:
            return await turn.run(message_of(prompt))
        finally:
            session.turn = None
            turn.done.set()

    async def cancel(self, session_id: str, **kwargs: Any) -> None:
        session = self._sessions.get(session_id)
        if session is not None and session.turn is not None:
            await session.turn.cancel()

    async def close(self) -> None:
        """The editor is gone: whatever it began ends as cancelled."""
        turns = [session.turn for session in self._sessions.values() if session.turn is not None]
        if not turns:
            return
        ending = [asyncio.create_task(_ended(turn)) for turn in turns]
        await asyncio.wait(ending, timeout=CLOSE_SECONDS)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    @property
    def _asked(self) -> Client:
        assert self._client is not None
        return self._client

    def _session(self, session_id: str) -> OpenSession:
        session = self._sessions.get(session_id)
        if session is None:
            raise NotFound(f"the session {session_id!r} is not open here; open it with session/load")
        return session

    async def _open(self, session_id: str, folder: Path, servers: Servers | None) -> OpenSession:
        await self._services.runner.open_session(session_id)
        notes = await connect(self._services.servers, session_id, servers or (), folder)
        self._services.modes.set(session_id, Mode.DEFAULT)
        session = self._sessions.setdefault(session_id, OpenSession(session_id, folder))  # a turn may have begun
        session.workdir, session.notes = folder, tuple(notes)
        return session

    async def _open_kept(self, session_id: str, folder: Path, mcp_servers: Servers | None) -> OpenSession:
        """Raises NotFound `session_not_found`, and Conflict while a turn of it goes on here."""
        earlier = self._sessions.get(session_id)
        if earlier is not None and earlier.turn is not None:
            raise Conflict("a turn is going on in this session; cancel it first, or wait for its end")
        kept = await self._services.sessions.get(OWNER, session_id)
        session = await self._open(session_id, folder, mcp_servers)
        session.model = await kept_model(self._services, kept)
        return session

    async def ext_method(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        from acp.exceptions import RequestError

        raise RequestError.method_not_found(f"_{method}")

    async def ext_notification(self, method: str, params: dict[str, Any]) -> None:
        """None is known here; the protocol wants them ignored."""


async def _ended(turn: Turn) -> None:
    await turn.cancel("the editor went away")
    await turn.done.wait()
