"""How much a model thinks before it answers: the words for it, and which models are known to take which."""

from __future__ import annotations

from typing import Literal, get_args

from hermes.core.providers import LOCAL, canonical

Effort = Literal["none", "minimal", "low", "medium", "high"]
EFFORTS: tuple[Effort, ...] = get_args(Effort)

_ALL = EFFORTS
_FROM_MINIMAL: tuple[Effort, ...] = ("minimal", "low", "medium", "high")
_FROM_LOW: tuple[Effort, ...] = ("low", "medium", "high")
_OR_NONE: tuple[Effort, ...] = ("none", "low", "medium", "high")

_KNOWN: tuple[tuple[str, tuple[Effort, ...]], ...] = (
    # OpenAI's, as the profiles of pydantic-ai 2 have them (checked there against the live API, autumn 2026)
    ("gpt-6-astra", _FROM_LOW),
    ("gpt-6.1-sol", _FROM_LOW),
    ("gpt-6", _OR_NONE),
    ("gpt-5.5-pro", ("medium", "high")),
    ("gpt-5.4-pro", ("medium", "high")),
    ("gpt-5.3-chat", ("medium",)),
    ("gpt-5.2-pro", ("medium", "high")),
    ("gpt-5.2-chat", ("medium",)),
    ("gpt-5.1-chat", ("medium",)),
    ("gpt-5.1-codex", _FROM_LOW),
    ("gpt-5.", _OR_NONE),
    ("gpt-5-chat", ()),
    ("gpt-5-pro", ("high",)),
    ("gpt-5-codex", _FROM_LOW),
    ("gpt-5", _FROM_MINIMAL),
    ("gpt-oss", _FROM_LOW),
    ("gpt-4", ()),
    ("gpt-3.5", ()),
    ("chatgpt-4o", ()),
    ("o1-mini", ()),
    ("o1", _FROM_LOW),
    ("o3", _FROM_LOW),
    ("o4", _FROM_LOW),
    # told as a budget of thoughts, which has a step for each word
    ("claude-3-5", ()),
    ("claude-3-haiku", ()),
    ("claude-3-opus", ()),
    ("claude-", _ALL),
    ("gemini-2.0", ()),
    ("gemini-1", ()),
    ("gemini-", _FROM_MINIMAL),
)
"""Beginnings of names, the longer before the shorter. What stands in none is not known."""


def known_efforts(provider: str | None, model: str) -> tuple[Effort, ...] | None:
    """What the model takes; () for one that takes none, None where it is not known: then it is tried, and what the
    server refuses is left out."""
    place = canonical(provider) if provider else ""
    if place == "embedded":
        return ()
    name = model.lower().rpartition("/")[2]
    found = next((efforts for prefix, efforts in _KNOWN if name.startswith(prefix)), None)
    if place in LOCAL and found == ():  # a local server calls its models what it likes
        return None
    return found
