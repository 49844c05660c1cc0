"""The editor's side of an engine (`hermes acp`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hermes import __version__
from hermes.app.engine import Engine, open_engine
from hermes.core.errors import ToolFailed
from hermes.core.toolset import TOOLS, Risk
from hermes.home.paths import Home
from hermes.home.settings import Settings
from hermes.runs.node import Identity
from hermes.store import sessions as session_store
from hermes.toolsets import disk
from hermes.toolsets.paths import Reach

if TYPE_CHECKING:
    from hermes.acp.services import Services

PLATFORM = "acp"
SHOWN_BYTES = 1 << 20
"""Of a file that is replaced: what is larger is shown as if it were new."""
READS_AND_WRITES = "file"
"""Offered where nothing may be written: the mode's gate refuses the half of it that writes."""


async def serve_editor(home: Home, settings: Settings, environ: Mapping[str, str]) -> None:
    """The engine of a home, in an editor's process, beside the gateway that may run on the same home."""
    from hermes.acp.serve import serve

    identity = Identity(PLATFORM, str(home.path))
    async with open_engine(settings, home=home, environ=environ, platform=PLATFORM, identity=identity) as engine:
        await serve(build_acp(engine))


def build_acp(engine: Engine) -> Services:
    """What the protocol needs of an engine. The engine's agent gets the gate that holds the modes of sessions."""
    from hermes.acp.modes import Modes
    from hermes.acp.services import Services

    async def parent_of(session_id: str) -> str | None:
        session = await engine.database.read(session_store.get, session_id)
        return None if session is None else session.parent_session_id

    modes = Modes(read_text=_reader(engine), parent_of=parent_of)
    engine.agent.make_gate = modes.around(engine.agent.make_gate)
    return Services(
        runner=engine.runner,
        sessions=engine.sessions,
        database=engine.database,
        models=engine.models,
        files=engine.files,
        agent=engine.agent,
        clock=engine.clock,
        modes=modes,
        reading_toolsets=lambda: _reading_toolsets(engine),
        servers=engine.registry.servers,
        version=__version__,
        command=engine.home.command if engine.home is not None else "hermes",
        direct_models=engine.settings.direct_model_requests,
    )


def _reader(engine: Engine) -> Callable[[Path], str | None]:
    """What the file tools could read of a file, for the editor to show what changes."""
    roots = tuple(Path(root).expanduser() for root in engine.settings.file.roots)
    reach = Reach(engine.home.path if engine.home is not None else None, roots)

    def read(path: Path) -> str | None:
        try:
            return disk.read_bytes(path, reach, SHOWN_BYTES).decode("utf-8")
        except (ToolFailed, UnicodeDecodeError):
            return None

    return read


def _reading_toolsets(engine: Engine) -> tuple[str, ...]:
    """Of what the agent is offered here, the toolsets that only read."""
    return tuple(
        state.name
        for state in engine.registry.toolsets(engine.agent.toolsets, is_setting=True)
        if state.is_enabled and (state.name == READS_AND_WRITES or all(_only_reads(tool) for tool in state.tools))
    )


def _only_reads(tool: str) -> bool:
    info = TOOLS.get(tool)
    return info is not None and info.risk is Risk.READ
