"""A request as tokens: the fixed prefix, then the caller's instructions and as much of the newest history as fits.

Texts of people and tools are cut into tokens without control tokens, so that nothing in them can end a message.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import orjson

from hermes.core.message import FilePart, Message, TextPart, ToolCall

from .examples import examples_for, opening, shown_result, turns
from .grammar import SAY, written
from .offer import Offer, first_words, signature

Tokenize = Callable[[str, bool], Awaitable[list[int]]]
"""Text to tokens; whether control tokens in it count as such."""

SYSTEM_TOKENS = 1_000
NEWEST_RESULT_TOKENS = 1_200
OLDER_RESULT_TOKENS = 250
NEWEST_USER_TOKENS = 2_000
OLDER_TEXT_TOKENS = 600
CUT = "\n[… the middle is left out …]\n"
START = "The user begins."
START_WITH_TOOLS = "Nothing of the examples exists. For a poem or code without a file name use say. The user begins."
MAX_CHARACTERS_A_TOKEN = 12
REQUEST_CHARACTERS = 300
KEPT_TEXTS = 512


@dataclass(frozen=True, slots=True)
class Prompt:
    """`prefix_length` tokens at the start are the same for every request with these tools."""

    tokens: list[int]
    prefix_length: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Marks:
    start: list[int]
    end: list[int]


@dataclass(frozen=True, slots=True)
class _Entry:
    """One message as it will be written. `limit` is how many tokens it may have; `starts` a place to cut before."""

    role: str
    text: str
    limit: int
    starts: bool


class Composer:
    """Makes prompts; remembers the tokens of the texts it has seen lately, since a history comes again and again."""

    def __init__(self, tokenize: Tokenize, context_length: int) -> None:
        self._tokenize = tokenize
        self._context_length = context_length
        self._kept: OrderedDict[str, list[int]] = OrderedDict()
        self._marks: _Marks | None = None

    async def prefix(self, offer: Offer) -> list[int]:
        """Rules, tools and examples."""
        tokens = await self._message("system", opening(offer))
        for example in examples_for(offer):
            for role, text in turns(example):
                tokens += await self._message(role, text)
        return tokens

    async def compose(self, messages: Sequence[Message], offer: Offer, reserve: int) -> Prompt:
        """The whole prompt, with `reserve` tokens left free for the answer."""
        warnings: list[str] = []
        prefix = await self.prefix(offer)
        system, cut = await self._cut(_system_text(messages, offer), SYSTEM_TOKENS)
        if cut:
            warnings.append(f"the instructions were cut to {SYSTEM_TOKENS} tokens for the built-in model")
        head = [*prefix, *await self._wrapped("system", system)]
        answer = await self._start("assistant")
        room = self._context_length - len(head) - len(answer) - reserve
        entries, unseen = _entries(messages)
        if unseen:
            warnings.append("the built-in model reads text only: " + ", ".join(unseen) + " were left out")
        body, dropped, shortened = await self._newest(entries, room)
        if dropped:
            warnings.append(f"{dropped} older messages did not fit into the built-in model's context and were left out")
        if shortened:
            warnings.append("long texts were cut in the middle for the built-in model")
        return Prompt([*head, *body, *answer], len(prefix), tuple(warnings))

    async def _newest(self, entries: Sequence[_Entry], room: int) -> tuple[list[int], int, bool]:
        """The last entries that fit, from a message of the user's on; the last such message is always there."""
        last_user = max((i for i, entry in enumerate(entries) if entry.starts), default=0)
        shortened = False
        written_entries: list[list[int]] = []
        for entry in entries:
            tokens, cut = await self._cut(entry.text, entry.limit)
            shortened |= cut and entry.limit in (NEWEST_USER_TOKENS, NEWEST_RESULT_TOKENS)
            written_entries.append(await self._wrapped(entry.role, tokens))
        first_step = last_user + 1
        used = sum(len(tokens) for tokens in written_entries[last_user:])
        while used > room and first_step < len(entries) - 1:
            used -= len(written_entries[first_step])
            first_step += 1
        start = last_user
        for i in range(last_user - 1, -1, -1):
            used += len(written_entries[i])
            if used > room:
                break
            if entries[i].starts:
                start = i
        kept = [*written_entries[start : last_user + 1], *written_entries[first_step:]]
        return [token for part in kept for token in part], len(entries) - len(kept), shortened

    async def _message(self, role: str, text: str) -> list[int]:
        return await self._wrapped(role, await self._tokens(text))

    async def _wrapped(self, role: str, tokens: Sequence[int]) -> list[int]:
        return [*await self._start(role), *tokens, *(await self._markers()).end]

    async def _start(self, role: str) -> list[int]:
        return [*(await self._markers()).start, *await self._tokens(f"{role}\n")]

    async def _markers(self) -> _Marks:
        if self._marks is None:
            self._marks = _Marks(await self._tokenize("<|im_start|>", True), await self._tokenize("<|im_end|>\n", True))
        return self._marks

    async def _cut(self, text: str, limit: int) -> tuple[list[int], bool]:
        """The tokens of the text; of a text that is too long its beginning and its end."""
        if is_long := len(text) > limit * 2 * MAX_CHARACTERS_A_TOKEN:  # not worth cutting into tokens
            text = text[: limit * MAX_CHARACTERS_A_TOKEN] + text[-limit * MAX_CHARACTERS_A_TOKEN :]
        tokens = await self._tokens(text)
        if len(tokens) <= limit and not is_long:
            return tokens, False
        mark = await self._tokens(CUT)
        half = (limit - len(mark)) // 2
        return [*tokens[:half], *mark, *tokens[-half:]], True

    async def _tokens(self, text: str) -> list[int]:
        if text in self._kept:
            self._kept.move_to_end(text)
            return self._kept[text]
        tokens = await self._tokenize(text, False)
        self._kept[text] = tokens
        if len(self._kept) > KEPT_TEXTS:
            self._kept.popitem(last=False)
        return tokens


def _system_text(messages: Sequence[Message], offer: Offer) -> str:
    parts = [message.text.strip() for message in messages if message.role == "system" and message.text.strip()]
    if offer.others:
        parts.append("More tools:")
        parts += [
            f"{signature(key, offer.schemas[key])} {first_words(tool.description)}".rstrip()
            for key, tool in offer.others.items()
        ]
    parts.append(START if offer.is_empty else START_WITH_TOOLS)
    return "\n".join(parts)


def _entries(messages: Sequence[Message]) -> tuple[list[_Entry], list[str]]:
    told = [message for message in messages if message.role != "system"]
    last_user = max((i for i, message in enumerate(told) if message.role == "user"), default=-1)
    last_result = max((i for i, message in enumerate(told) if message.role == "tool"), default=-1)
    names = {call.id: call.name for message in told for call in message.tool_calls}
    unseen: dict[str, None] = {}
    request = ""
    entries: list[_Entry] = []
    for i, message in enumerate(told):
        unseen.update(dict.fromkeys(_unseen(message)))
        if message.role == "tool":
            tool = message.name or names.get(message.tool_call_id or "", "the tool")
            limit = NEWEST_RESULT_TOKENS if i == last_result else OLDER_RESULT_TOKENS
            entries.append(_Entry("user", shown_result(tool, message.text, request), limit, starts=False))
        elif message.role == "user":
            request = message.text[:REQUEST_CHARACTERS]
            limit = NEWEST_USER_TOKENS if i == last_user else OLDER_TEXT_TOKENS
            entries.append(_Entry("user", message.text_with_files, limit, starts=True))
        else:
            calls = [_call_text(call) for call in message.tool_calls]
            texts = calls or [written(SAY, message.text)]
            entries += [_Entry("assistant", text, OLDER_TEXT_TOKENS, starts=False) for text in texts]
    return entries, list(unseen)


def _call_text(call: ToolCall) -> str:
    try:
        arguments = orjson.loads(call.arguments or "{}")
    except ValueError:
        arguments = {}
    return written(call.name, arguments)


def _unseen(message: Message) -> list[str]:
    if isinstance(message.content, str):
        return []
    kinds = {"ImagePart": "images", "AudioPart": "sound", "FilePart": "files"}
    return [
        kinds[type(part).__name__]
        for part in message.content
        if not isinstance(part, TextPart) and not (isinstance(part, FilePart) and part.text is not None)
    ]
