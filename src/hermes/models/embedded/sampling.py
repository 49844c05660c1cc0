"""The caller's parameters in llama.cpp's words, and those among them that the built-in model cannot honour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .grammar import Schema

DEFAULT_ANSWER_TOKENS = 1_536
MAX_ANSWER_TOKENS = 3_000
DEFAULT_TEMPERATURE = 0.0
"""The likeliest call is the best one at this size."""

FORWARDED = frozenset({"temperature", "top_p", "seed", "presence_penalty", "frequency_penalty"})
HANDLED = FORWARDED | {"max_tokens", "max_completion_tokens", "stop", "response_format", "user", "metadata"}


@dataclass(frozen=True, slots=True)
class Sampling:
    """`answer` is the schema that the answer's text must have as JSON, None for plain text."""

    body: Mapping[str, Any]
    max_tokens: int
    stop: tuple[str, ...]
    answer: Schema | None
    ignored: tuple[str, ...]


def sampling(params: Mapping[str, Any]) -> Sampling:
    given = {name: value for name, value in params.items() if value is not None}
    asked = given.get("max_completion_tokens", given.get("max_tokens", DEFAULT_ANSWER_TOKENS))
    stop = given.get("stop", ())
    ignored = [name for name in given if name not in HANDLED and not _means_nothing(name, given[name])]
    return Sampling(
        body={"temperature": DEFAULT_TEMPERATURE, **{name: given[name] for name in given if name in FORWARDED}},
        max_tokens=max(1, min(int(asked), MAX_ANSWER_TOKENS)),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        answer=_answer(given.get("response_format")),
        ignored=tuple(ignored),
    )


def _means_nothing(name: str, value: object) -> bool:
    """It makes one call at a time, which is what `parallel_tool_calls` allows or forbids."""
    return name == "parallel_tool_calls" or (name == "n" and value == 1)


def _answer(response_format: object) -> Schema | None:
    match response_format:
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return schema
        case {"type": "json_object" | "json_schema"}:
            return {"type": "object"}
    return None


@dataclass(slots=True)
class Until:
    """Passes text on up to the first stop string, which may come in pieces: what could be its start waits."""

    stop: Sequence[str]
    is_over: bool = field(default=False, init=False)
    _waiting: str = field(default="", init=False)

    def feed(self, text: str) -> str:
        if self.is_over:
            return ""
        text = self._waiting + text
        ends = [at for word in self.stop if word and (at := text.find(word)) >= 0]
        if ends:
            self.is_over, self._waiting = True, ""
            return text[: min(ends)]
        keep = max((_overlap(text, word) for word in self.stop), default=0)
        self._waiting = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """What was held back, when the text has ended."""
        text, self._waiting = self._waiting, ""
        return text


def _overlap(text: str, word: str) -> int:
    """How many characters at the end of the text are the beginning of the word."""
    return next((n for n in range(min(len(word) - 1, len(text)), 0, -1) if text.endswith(word[:n])), 0)
