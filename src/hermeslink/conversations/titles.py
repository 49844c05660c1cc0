"""The title of a conversation that nobody gave one: the first thing that was said, in short.

A rule and no model: a title is there when the first answer is, costs nothing, and says what the person remembers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

LONGEST = 60

_MARKS = re.compile(r"```.*?```|`|\*\*|__|^[^\S\n]*(?:#+|>|[-*])\s+", re.S | re.M)
_GREETING = re.compile(r"(?:hi|hello|hey|hallo|good (?:morning|evening|afternoon)|你好|您好)\s*[,.!，。！]+\s*", re.I)
_END = re.compile(r"(?<=[.!?])\s|(?<=[。！？])|\n")


def title_of(question: str, answer: str, filenames: Sequence[str] = ()) -> str | None:
    """Of the first exchange. None: nothing was said that makes a title."""
    for text in (question, *filenames[:1], answer):
        title = _short(text)
        if title:
            return title
    return None


def agreed(ours: str, theirs: str | None, common: str | None) -> str:
    """The title of both, where a conversation and its session each have one and `common` is what both last had: what
    was changed since counts, ours before theirs."""
    if not theirs or ours != common:
        return ours
    return theirs


def _short(text: str) -> str:
    plain = _MARKS.sub(" ", text).strip()
    rest = _GREETING.sub("", plain, count=1) if _GREETING.match(plain) else plain
    line = " ".join(_END.split(rest.strip() or plain, maxsplit=1)[0].split())
    if len(line) <= LONGEST:
        return line.rstrip(" .,;:，。；：")
    cut = line[: LONGEST - 1]
    at_word = cut.rpartition(" ")[0]
    return (at_word if len(at_word) > LONGEST // 2 else cut).rstrip(" .,;:，。；：") + "…"
