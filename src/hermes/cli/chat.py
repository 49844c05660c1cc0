"""`hermes` without a command, at a terminal: a chat. Its sessions are the store's, so every other way in sees them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from hermes.cli.context import plain
from hermes.cli.keyboard import interrupts
from hermes.cli.live import PlainTurnView, Terminal, TurnView, View, terminal_of
from hermes.cli.slash import COMMANDS, Chat, parse, run, told
from hermes.cli.talk import Talk, Wishes, open_talk
from hermes.core.errors import HermesError, NoModel
from hermes.core.run import Ask

if TYPE_CHECKING:
    from hermes.cli.context import Call
    from hermes.cli.prompt import Prompt


def chat(call: Call, wishes: Wishes, *, resume: str | None = None, is_continued: bool = False) -> None:
    """Returns when the person leaves. Raises ConfigError, NotFound for a session that is not there, NoModel."""
    asyncio.run(_chat(call, wishes, resume, is_continued))


async def _chat(call: Call, wishes: Wishes, resume: str | None, is_continued: bool) -> None:
    terminal = terminal_of(call.environ)
    home = call.home()
    is_new = not home.exists()
    progress = _Progress()
    async with open_talk(call, wishes, progress=progress) as talk:
        here = Chat(talk)
        if resume is not None:
            await talk.resume(resume)
        elif is_continued:
            await talk.newest()
        if is_new:
            _say(terminal, f"Made a home in {home.path}.")
        _say(terminal, await _model_line(talk))
        _say(terminal, "/help shows what you can do; Ctrl-D leaves.\n")
        earlier = await told(here, last=4)
        if earlier:
            _say(terminal, f"{earlier}\n")
        from hermes.cli.prompt import open_prompt

        prompt = open_prompt(home, terminal, {command.name: command.about for command in COMMANDS})
        with interrupts(lambda: None):  # between a turn and a prompt, which both hear it
            await _converse(here, prompt, terminal, progress)
        if talk.session_id is not None:
            _say(terminal, f"Go on with: {home.command} --resume {talk.session_id}")


async def _converse(chat: Chat, prompt: Prompt, terminal: Terminal, progress: _Progress) -> None:
    begun = ""
    is_leaving = False
    while not chat.leaves:
        try:
            text = await prompt.read(begun)
        except EOFError:
            return
        except KeyboardInterrupt:
            if is_leaving:
                return
            is_leaving = True
            _say(terminal, "Ctrl-C once more, or Ctrl-D, leaves.")
            continue
        begun, is_leaving = "", False
        try:
            command = parse(text)
            if command is not None:
                _say(terminal, await run(chat, *command))
            elif text:
                begun, chat.leaves = await _turn(chat, text, terminal, progress)
        except HermesError as error:
            _say(terminal, f"{error.message}")


async def _turn(chat: Chat, text: str, terminal: Terminal, progress: _Progress) -> tuple[str, bool]:
    """What the person had begun to write when it ended, and whether he leaves. Raises what `Talk.start` does."""
    from hermes.cli.conversing import Conversing

    presses: asyncio.Queue[None] = asyncio.Queue()
    with interrupts(lambda: presses.put_nowait(None)):
        started = await chat.talk.start(text, ask=Ask.WAIT)
        view: View
        if terminal.can_move:
            view = TurnView(terminal, shows_reasoning=chat.shows_reasoning)
        else:
            view = PlainTurnView(terminal, shows_reasoning=chat.shows_reasoning)
        progress.view = view
        try:
            ended = await Conversing(chat.talk, started, view, presses).to_its_end()
        finally:
            progress.view = None
            view.close()
    _say(terminal, "")
    return ended.typed, ended.leaves


async def _model_line(talk: Talk) -> str:
    """Raises NoModel with the ways to one."""
    models = talk.engine.models
    if talk.model is not None:
        return f"Model: {(await models.resolve(talk.model)).name}"
    await models.choose()
    choice = models.choice
    if choice is None:
        try:
            return f"Model: {(await models.resolve(None)).name}"
        except NoModel as error:
            raise NoModel(f"{error.message}\nOr be asked: {talk.home.command} setup") from None
    name = choice.model if choice.model == choice.provider else f"{choice.model} of {choice.provider}"
    hint = "; it is small and often wrong, a better one: hermes setup" if choice.source == "embedded" else ""
    return f"Model: {plain(name)} ({choice.why}){hint}"


class _Progress:
    """What takes long before the built-in model answers is told in the status line of the turn that waits for it."""

    def __init__(self) -> None:
        self.view: View | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        if self.view is not None:
            self.view.doing(f"{what}: {100 * done // total if total else 100} %")


def _say(terminal: Terminal, text: str) -> None:
    with suppress(UnicodeEncodeError):
        print(text, file=terminal.out, flush=True)
