"""The place in a message where it was found, with marks around the words. Linear in the text, whatever it says.

Words are compared as the index compares them: in any case, without their accents.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

MARKS = (">>>", "<<<")
CHARACTERS = 200
BEFORE = 60
"""How many of them stand before the first word that was found."""


@dataclass(frozen=True, slots=True)
class Term:
    """One or more words in this order; `is_prefix`: the last of them may go on."""

    text: str
    is_prefix: bool = False


def marker(terms: Sequence[Term]) -> Callable[[str], str]:
    """A function from a message's text to its snippet. Plain text, not HTML."""
    pattern = re.compile("|".join(map(_pattern, terms)))

    def marked(text: str) -> str:
        folded = fold(text)
        first = pattern.search(folded)
        start = max(0, first.start() - BEFORE) if first else 0
        end = min(len(text), start + CHARACTERS)
        pieces = ["…"] if start else []
        at = start
        for found in pattern.finditer(folded, start, end):
            pieces += [text[at : found.start()], MARKS[0], text[found.start() : found.end()], MARKS[1]]
            at = found.end()
        pieces += [text[at:end], "…" if end < len(text) else ""]
        return "".join(pieces)

    return marked


def fold(text: str) -> str:
    """Lower case without accents, character for character: a place in it is the same place in the text."""
    lower = text.lower()
    if len(lower) != len(text):
        lower = "".join([low if len(low := character.lower()) == 1 else character for character in text])
    return lower if lower.isascii() else lower.translate(_bases())


def words_of(text: str) -> list[str]:
    """What the index takes for words."""
    return _WORD.findall(text)


def is_written_without_spaces(text: str) -> bool:
    """Thai, Lao, Khmer, Myanmar, kana, ideographs: the index takes a whole sentence of them for one word."""
    return _WITHOUT_SPACES.search(text) is not None


def _pattern(term: Term) -> str:
    text = fold(term.text)
    if is_written_without_spaces(text):
        return re.escape(text)
    words = r"[\W_]+".join(map(re.escape, words_of(text)))
    return rf"(?<![^\W_]){words}" + (r"[^\W_]*" if term.is_prefix else r"(?![^\W_])")


_WORD = re.compile(r"[^\W_]+")
_WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


@cache
def _bases() -> dict[int, str]:
    """A letter with accents → the letter."""
    bases = {}
    for number in range(0xC0, 0x2000):
        base = unicodedata.normalize("NFD", chr(number))[0]
        if base != chr(number):
            bases[number] = base
    return bases
