"""The process's side: pipes, signals, and an end within two seconds."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress

from acp.agent.connection import AgentSideConnection

from hermes.acp.editor import Editor
from hermes.acp.pipes import open_pipes
from hermes.acp.services import Services

log = logging.getLogger(__name__)

ANSWER_SECONDS = 0.3
"""How long the answers to an editor that goes may take, once what it asked for has ended."""


async def serve(services: Services) -> None:
    """Until the editor closes stdin, or SIGTERM or SIGINT comes: then the turns end as cancelled."""
    pipes = await open_pipes()
    editor = Editor(services)
    connection = AgentSideConnection(editor, pipes, listening=False, use_unstable_protocol=True)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):  # Windows: Ctrl+C arrives as KeyboardInterrupt
            loop.add_signal_handler(number, stopped.set)
    listening = asyncio.create_task(connection.listen())
    waiting = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait({listening, waiting}, return_when=asyncio.FIRST_COMPLETED)
        await editor.close()
        await pipes.settled(ANSWER_SECONDS)
    finally:
        waiting.cancel()
        listening.cancel()
        await asyncio.gather(waiting, listening, return_exceptions=True)
        with suppress(ConnectionError):
            await connection.close()
    log.info("the editor is gone")
