"""What people look for, and the place of a message where it was found. Linear in the text, whatever it says.

Words are compared as the index compares them: in any case, without their accents.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

CHARACTERS = 160
BEFORE = 40
"""How many of them stand before the words that were found."""

SIGN = "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
"""Of scripts that are written without spaces: Thai, Lao, Myanmar, Khmer, kana, ideographs."""


@dataclass(frozen=True, slots=True)
class Term:
    """One or more words in this order; the last may go on, unless it ends in a sign of `SIGN`."""

    text: str

    @property
    def is_prefix(self) -> bool:
        return re.fullmatch(SIGN, self.text[-1]) is None


MOST_TERMS = 16


def terms_of(query: str) -> tuple[Term, ...]:
    """`red "green blue" 你好`: each word, or what stands within quotes. Nothing in it is syntax beside the quotes, and
    what is neither letter nor digit is not looked for. Empty where there is nothing to look for."""
    texts = (phrase or word for phrase, word in _QUERY.findall(query))
    words = (" ".join(_WORD.findall(text)) for text in texts)
    return tuple(Term(text) for text in dict.fromkeys(words) if text)[:MOST_TERMS]


def snippet(text: str, terms: Sequence[Term]) -> str:
    """Plain text: the words around the first term, on one line."""
    found = re.search("|".join(map(_pattern, terms)), _fold(text))
    start = max(0, found.start() - BEFORE) if found else 0
    end = start + CHARACTERS
    shown = " ".join(text[start:end].split())
    return ("…" if start else "") + shown + ("…" if end < len(text) else "")


def _pattern(term: Term) -> str:
    words = r"[\W_]*".join(re.escape(word) for word in _fold(term.text).split())
    is_sign = re.match(SIGN, term.text) is not None
    return words if is_sign else rf"(?<![^\W_]){words}|(?<={SIGN}){words}"


def _fold(text: str) -> str:
    """Lower case without accents, character for character: a place in it is the same place in the text."""
    lower = text.lower()
    if len(lower) != len(text):
        lower = "".join([low if len(low := character.lower()) == 1 else character for character in text])
    return lower if lower.isascii() else lower.translate(_bases())


@cache
def _bases() -> dict[int, str]:
    """A letter with accents → the letter."""
    bases = {}
    for number in range(0xC0, 0x2000):
        base = unicodedata.normalize("NFD", chr(number))[0]
        if base != chr(number):
            bases[number] = base
    return bases


_QUERY = re.compile(r'"([^"]*)"|([^\s"]+)')
_WORD = re.compile(r"[^\W_]+")
