"""What may be written next, beyond what was offered: rules that cost no tokens and mend what this model gets wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hermes.core.message import Message, ToolCall
from hermes.core.model import ModelRequest

from .grammar import SAY, Step
from .offer import Offer

MAX_CALLS = 6
"""After so many calls for one request it has to say something: it does not find out of a circle by itself."""

_ENDINGS = (
    "txt md rst csv tsv json jsonl yaml yml toml ini cfg conf log py js ts jsx tsx sh bash rb go rs c h cpp java kt cs "
    "php html css xml sql env lock tex ipynb"
)
NAMES_A_FILE = re.compile(
    rf"(?<![\w@:/.])(?!(?:node|next|nuxt|vue|react|three|express)\.js\b)[\w/-]*\w\.(?:{'|'.join(_ENDINGS.split())})\b(?!\.\w)"
    r"|(?:^|[\s'\"`(])(?:~|\.{1,2})?/[\w.-]+",
    re.IGNORECASE,
)

MAKES_SOMETHING = re.compile(r"\b(?:write|create|make|new|save|put|store|generate|draft)\b", re.IGNORECASE)


def wanted(request: ModelRequest) -> str | None:
    """The one tool that must be called, if there is one."""
    return None if request.tool_choice in ("auto", "none", "required") else request.tool_choice


def allowed(request: ModelRequest, offer: Offer) -> tuple[Offer, bool]:
    """What of the offer may be called now, and whether it may speak instead."""
    if (tool := wanted(request)) is not None:
        return offer.only(tool), False
    if request.tool_choice == "none" or offer.is_empty:
        return Offer(), True
    if request.tool_choice == "required":
        return offer, False
    calls = _calls_of_this_turn(request.messages)
    if len(calls) >= MAX_CALLS:
        return Offer(), True
    can_look = {"terminal", "read_file"} & set(offer.known)
    if calls or not can_look:
        return offer, True
    return _first_step(offer, _request_text(request.messages))


def _first_step(offer: Offer, request: str) -> tuple[Offer, bool]:
    """Left alone it tells what is in a file that it has not seen, changes what it has not read, replaces what it should
    change, and makes up what it should take from another file."""
    files = set(NAMES_A_FILE.findall(request))
    if not files:
        return offer.without("patch"), True
    if len(files) == 1 and MAKES_SOMETHING.search(request):
        return offer.without("patch"), False
    return offer.without("patch", "write_file"), False


def repeats(request: ModelRequest, offer: Offer, step: Step) -> bool:
    """Whether it makes the call again whose result it has just got."""
    calls = _calls_of_this_turn(request.messages)
    if step.name == SAY or not calls:
        return False
    return offer.call(step.name, step.value) == (calls[-1].name, calls[-1].arguments)


def _request_text(messages: Sequence[Message]) -> str:
    return next((message.text for message in reversed(messages) if message.role == "user"), "")


def _calls_of_this_turn(messages: Sequence[Message]) -> list[ToolCall]:
    """The calls since the user last said something."""
    last = max((i for i, message in enumerate(messages) if message.role == "user"), default=-1)
    return [call for message in messages[last + 1 :] for call in message.tool_calls]
