"""Where a person writes to the agent: history, several lines, completion of /commands. prompt_toolkit does it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from hermes.cli.context import repaired
from hermes.cli.keyboard import interrupts
from hermes.home.files import open_private

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import Completer
    from prompt_toolkit.key_binding import KeyBindings

    from hermes.cli.live import Terminal
    from hermes.home.paths import Home


class Prompt(Protocol):
    async def read(self, begun: str = "") -> str:
        """What was written. Raises EOFError for Ctrl-D in an empty prompt, KeyboardInterrupt for Ctrl-C in one."""


def open_prompt(home: Home, terminal: Terminal, commands: Mapping[str, str]) -> Prompt:
    return EditedPrompt(home, terminal, commands) if terminal.can_move else PlainPrompt(terminal)


class EditedPrompt:
    """`commands` maps each /command to its line of help. What was written is kept in the home, readable by its owner
    alone."""

    def __init__(self, home: Home, terminal: Terminal, commands: Mapping[str, str]) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.history import FileHistory

        os.close(open_private(home.history_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
        self._mark = "❯ " if terminal.is_unicode else "> "
        self._session: PromptSession[str] = PromptSession(
            history=FileHistory(str(home.history_file)),
            completer=_completer(commands),
            complete_while_typing=True,
            key_bindings=_keys(),
            multiline=True,
            prompt_continuation=lambda width, line, wrapped: " " * width,
            enable_history_search=False,
            reserve_space_for_menu=4,
        )

    async def read(self, begun: str = "") -> str:
        """`begun` is there already. In a prompt that is not empty, Ctrl-C empties it."""
        return repaired(await self._session.prompt_async(self._mark, default=begun)).strip()


class PlainPrompt:
    """A line as the terminal itself edits it."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    async def read(self, begun: str = "") -> str:
        mark = "❯ " if self._terminal.is_unicode else "> "
        lines: list[str] = []
        while True:
            self._terminal.out.write(mark if not lines else "  ")
            self._terminal.out.flush()
            line = await _line()
            lines.append(line.removesuffix("\\"))
            if not line.endswith("\\"):
                return "\n".join(lines).strip()


async def _line() -> str:
    """One of stdin, without its end. Ctrl-C and Ctrl-D as `Prompt.read` has them."""
    loop = asyncio.get_running_loop()
    heard: asyncio.Future[str] = loop.create_future()

    def hear() -> None:
        line = sys.stdin.buffer.readline()
        if not heard.done():
            if line:
                heard.set_result(line.decode("utf-8", "replace").rstrip("\r\n"))
            else:
                heard.set_exception(EOFError())

    def interrupt() -> None:
        if not heard.done():
            heard.set_exception(KeyboardInterrupt())

    loop.add_reader(sys.stdin.fileno(), hear)
    with interrupts(interrupt):
        try:
            return await heard
        finally:
            loop.remove_reader(sys.stdin.fileno())


def _completer(commands: Mapping[str, str]) -> Completer:
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document

    class Commands(Completer):
        def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
            text = document.text
            if text.startswith("/") and " " not in text and "\n" not in text:
                for name, about in commands.items():
                    if name.startswith(text):
                        yield Completion(name, start_position=-len(text), display_meta=about)

    return Commands()


def _keys() -> KeyBindings:
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.key_binding.key_processor import KeyPressEvent

    keys = KeyBindings()
    bind: Callable[..., Callable[[Callable[[KeyPressEvent], None]], object]] = keys.add

    def enter(event: KeyPressEvent) -> None:
        """A backslash at the end goes on in the next line."""
        buffer = event.current_buffer
        if buffer.document.text_before_cursor.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        elif buffer.text.strip():
            buffer.validate_and_handle()

    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    def interrupt(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt, style="class:aborting")

    bind("enter")(enter)
    bind("escape", "enter")(new_line)
    bind("c-c")(interrupt)
    return keys
