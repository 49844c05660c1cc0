"""What begins with a slash in a chat: commands about the conversation, not words to the agent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from hermes.cli.context import plain, table
from hermes.cli.render import one_line
from hermes.core.errors import HermesError, InvalidInput
from hermes.core.key import OWNER

if TYPE_CHECKING:
    from hermes.cli.talk import Talk

HISTORY_MESSAGES = 200
LISTED = 20


@dataclass(slots=True)
class Chat:
    """What commands may change. `listed`: the ids of the last list of sessions, for `/resume 2`."""

    talk: Talk
    shows_reasoning: bool = True
    leaves: bool = False
    listed: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Command:
    """`run` gets what stands behind the name, and gives the text for the person. Raises HermesError."""

    name: str
    takes: str
    about: str
    run: Callable[[Chat, str], Awaitable[str]]


def parse(text: str) -> tuple[str, str] | None:
    """The command and its argument; None for a message, such as one that begins with a path."""
    name, _, rest = text.partition(" ")
    if not text.startswith("/") or "/" in name[1:] or "\n" in name:
        return None
    return name, rest.strip()


async def run(chat: Chat, name: str, argument: str) -> str:
    """Raises InvalidInput for a name that is no command."""
    command = NAMES.get(name)
    if command is None:
        raise InvalidInput(f"no command {name}; see /help")
    return await command.run(chat, argument)


async def _help(chat: Chat, argument: str) -> str:
    rows = [(f"{one.name} {one.takes}".strip(), one.about) for one in COMMANDS]
    keys = "Alt-Enter, or a backslash at the end: a new line. Ctrl-C: stop the turn. Ctrl-D: leave."
    told = "What you write while a turn runs is told to the agent before its next step."
    return f"{table(rows)}\n\n{keys}\n{told}"


async def _new(chat: Chat, argument: str) -> str:
    chat.talk.session_id = None
    if argument:
        return f"A new session: {await chat.talk.name(argument)}"
    return "A new session begins with your next message."


async def _title(chat: Chat, argument: str) -> str:
    if argument:
        return f"This session is called {await chat.talk.name(argument)!r} now."
    if chat.talk.session_id is None:
        return "No session yet; /title TEXT begins one."
    session = await chat.talk.engine.sessions.get(OWNER, chat.talk.session_id)
    return f"{session.id}  {plain(session.title or 'without a title')}"


async def _model(chat: Chat, argument: str) -> str:
    models = chat.talk.engine.models
    if argument:
        opened = await models.resolve(argument)
        chat.talk.model = argument
        return f"{opened.name} answers in this chat from now on."
    if chat.talk.model is not None:
        return f"{(await models.resolve(chat.talk.model)).name} (chosen in this chat)"
    await models.choose()
    choice = models.choice
    if choice is None:
        raise HermesError("there is no model; connect one with: hermes setup")
    others = f"\nNames that may be chosen: {', '.join(models.names)}" if models.names else ""
    return f"{choice.model} of {choice.provider}: {choice.why}{others}"


async def _tools(chat: Chat, argument: str) -> str:
    engine, asked = chat.talk.engine, chat.talk.wishes.toolsets
    states = engine.registry.toolsets(engine.agent.toolsets if asked is None else asked, is_setting=asked is None)
    rows = [
        (state.name, "on" if state.is_enabled else "off", state.problem or ", ".join(state.tools)) for state in states
    ]
    return f"{table(rows)}\nSwitch them with: hermes tools enable NAME --platform cli"


async def _sessions(chat: Chat, argument: str) -> str:
    from hermes.store.encoding import from_json
    from hermes.store.session_list import Listing

    page = await chat.talk.engine.sessions.list(OWNER, Listing(limit=LISTED, words=argument or None))
    found = [from_json(summary) for summary in page.summaries]
    chat.listed = [one["id"] for one in found]
    if not found:
        return "No sessions here."
    rows = [
        (
            f"{number}.",
            datetime.fromtimestamp(one["last_active"]).astimezone().strftime("%Y-%m-%d %H:%M"),
            one["source"],
            one["id"],
            one_line(one["title"] or one.get("preview") or ""),
        )
        for number, one in enumerate(found, 1)
    ]
    return f"{table(rows)}\nGo on with one of them: /resume NUMBER or /resume ID"


async def _resume(chat: Chat, argument: str) -> str:
    if not argument:
        return await _sessions(chat, "")
    if argument.isdecimal() and 1 <= int(argument) <= len(chat.listed):
        argument = chat.listed[int(argument) - 1]
    session = await chat.talk.resume(argument)
    return await told(chat, last=4) or f"{session.id} is empty."


async def _history(chat: Chat, argument: str) -> str:
    return await told(chat, last=HISTORY_MESSAGES) or "Nothing was said yet."


async def told(chat: Chat, *, last: int) -> str:
    """The last messages of the session, for a person; empty when there are none."""
    if chat.talk.session_id is None:
        return ""
    page = await chat.talk.engine.sessions.messages(OWNER, chat.talk.session_id, limit=last, is_newest=True)
    parts = []
    for kept in page.messages:
        message = kept.message
        calls = [f"[calls {call.name}] {one_line(call.arguments, 120)}" for call in message.tool_calls]
        text = one_line(message.text, 120) if message.role == "tool" else plain(message.text).strip()
        parts += [f"{message.role}: {part}" for part in [text, *calls] if part]
    more = [f"… what was said before: hermes sessions show {chat.talk.session_id}"] if page.has_more else []
    return "\n\n".join([*more, *parts])


async def _usage(chat: Chat, argument: str) -> str:
    if chat.talk.session_id is None:
        return "Nothing was used yet."
    session = await chat.talk.engine.sessions.get(OWNER, chat.talk.session_id)
    usage = session.usage
    cost = "" if usage.cost_usd is None else f", {usage.cost_usd:.4f} USD"
    return (
        f"{session.message_count} messages, {session.tool_call_count} tool calls, {usage.api_calls} model calls\n"
        f"{usage.input_tokens:,} tokens in ({usage.cache_read_tokens:,} from a cache), "
        f"{usage.output_tokens:,} out{cost}"
    )


async def _reasoning(chat: Chat, argument: str) -> str:
    if argument not in ("", "on", "off"):
        raise InvalidInput("/reasoning takes on or off")
    chat.shows_reasoning = not chat.shows_reasoning if not argument else argument == "on"
    return f"What the model thinks is {'shown' if chat.shows_reasoning else 'hidden'}."


async def _quit(chat: Chat, argument: str) -> str:
    chat.leaves = True
    return ""


COMMANDS: tuple[Command, ...] = (
    Command("/help", "", "Show this.", _help),
    Command("/new", "[TITLE]", "Begin a new session.", _new),
    Command("/title", "[TEXT]", "Show or give the session's title.", _title),
    Command("/model", "[NAME]", "Show the model, or take another one in this chat.", _model),
    Command("/tools", "", "Show what the agent can do here.", _tools),
    Command("/sessions", "[WORDS]", "List sessions, the newest first.", _sessions),
    Command("/resume", "[ID]", "Go on with a session.", _resume),
    Command("/history", "", "Show what was said in this session.", _history),
    Command("/usage", "", "Show what this session used.", _usage),
    Command("/reasoning", "[on|off]", "Show or hide what the model thinks.", _reasoning),
    Command("/quit", "", "Leave; the session stays.", _quit),
)

NAMES = {command.name: command for command in COMMANDS} | {"/exit": COMMANDS[-1]}
