"""The text of a command and a place in it, and what a word is made of."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from hermes.agent.command import Unreadable

MAX_ALTERNATIVES = 256

PLAIN, QUOTED, EXPANDED = 0, 1, 2
"""How a character came into a word: only an expanded one splits it, only a plain one is a brace or a pattern."""

Char = tuple[str, int]

OPERATORS = (";;&", "&&", "||", ";;", ";&", "|&", ";", "&", "|", "\n", "(", ")")


@dataclass(slots=True)
class Cursor:
    """`at` is the place of the next character."""

    text: str
    at: int = 0

    def peek(self, count: int = 1) -> str:
        return self.text[self.at : self.at + count]

    def blanks(self) -> None:
        while self.at < len(self.text):
            if self.peek() in " \t":  # a carriage return is part of a word to a shell, and so is a # behind it
                self.at += 1
            elif self.peek(2) == "\\\n":
                self.at += 2
            elif self.peek() == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            else:
                return

    def operator(self) -> str:
        if self.peek(2) == "&>":
            return ""
        for operator in OPERATORS:
            if self.text.startswith(operator, self.at):
                self.at += len(operator)
                return operator
        return ""

    def until(self, closing: str, what: str) -> str:
        """The text up to `closing`, backslashes respected; the closing character is taken."""
        start = self.at
        while (c := self.peek()) != closing:
            if not c:
                raise Unreadable(f"{what} is never closed")
            self.at += 2 if c == "\\" else 1
        self.at += 1
        return self.text[start : self.at - 1]

    def raw_word(self) -> str:
        """A word as it is written, quotes and all."""
        start = self.at
        while (c := self.peek()) and c not in " \t\n;&|()<>":
            self.at += 1
            if c == "\\":
                self.at += 1
            elif c in "'\"":
                self.until(c, "a quote")
        return self.text[start : self.at]

    def balanced(self, opening: str, closing: str) -> str:
        """The text up to the bracket that closes, quotes respected; the bracket is taken."""
        start, depth = self.at, 1
        while depth:
            c = self.peek()
            if not c:
                raise Unreadable(f"a {opening} is never closed")
            self.at += 1
            if c == "\\":
                self.at += 1
            elif c == "'":
                self.single_quoted()
            elif c == '"':
                self.skip_double_quoted()
            elif c == opening:
                depth += 1
            elif c == closing:
                depth -= 1
        return self.text[start : self.at - 1]

    def single_quoted(self) -> str:
        start, end = self.at, self.text.find("'", self.at)
        if end < 0:
            raise Unreadable("a single quote is never closed")
        self.at = end + 1
        return self.text[start:end]

    def skip_double_quoted(self) -> None:
        while (c := self.peek()) != '"':
            if not c:
                raise Unreadable("a double quote is never closed")
            self.at += 2 if c == "\\" else 1
            if c == "$" and self.peek() == "(":
                self.at += 1
                self.balanced("(", ")")
        self.at += 1


def as_chars(text: str, kind: int) -> list[Char]:
    """Characters of one kind; a quoted text makes a word even where it is empty."""
    return [(c, kind) for c in text] or ([("", kind)] if kind == QUOTED else [])


def alternatives(chars: list[Char]) -> list[list[Char]]:
    """`a{b,c}` → `ab`, `ac`. Only plain braces with a plain comma count."""
    for start, char in enumerate(chars):
        if char != ("{", PLAIN):
            continue
        depth, commas = 0, []
        for end in range(start, len(chars)):
            if chars[end] == ("{", PLAIN):
                depth += 1
            elif chars[end] == (",", PLAIN) and depth == 1:
                commas.append(end)
            elif chars[end] == ("}", PLAIN):
                depth -= 1
                if depth == 0:
                    break
        else:
            continue
        if not commas:
            continue
        bounds = [start, *commas, end]
        found: list[list[Char]] = []
        for left, right in pairwise(bounds):
            found += alternatives(chars[:start] + chars[left + 1 : right] + chars[end + 1 :])
            if len(found) > MAX_ALTERNATIVES:
                break
        return found[:MAX_ALTERNATIVES]
    return [chars]


def is_one_pair(text: str) -> bool:
    """Whether a text is one pair of brackets with something in it."""
    if not text.startswith("("):
        return False
    cursor = Cursor(text, 1)
    try:
        cursor.balanced("(", ")")
    except Unreadable:
        return False
    return cursor.at == len(text)


def changed(value: str, operation: str) -> str | None:
    """A value after `/a/b`, `#a`, `%a`, `^^` or `,,`; None where that is not told by plain text."""
    if not operation or operation.startswith("["):
        return value
    if any(c in operation for c in "*?[$`'\""):
        return None
    if operation.startswith("/"):
        every = operation.startswith("//")
        old, _, new = operation.lstrip("/").partition("/")
        return value.replace(old, new) if every else value.replace(old, new, 1)
    if operation.startswith("#"):
        return value.removeprefix(operation.lstrip("#"))
    if operation.startswith("%"):
        return value.removesuffix(operation.lstrip("%"))
    return {"^^": value.upper(), ",,": value.lower()}.get(operation)
